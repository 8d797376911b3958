"""One match over real HTTP: media types, headers, conditional requests."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import orjson
import pytest
from support.quick_service import quick_world

from actors.http.auth.sessions import COOKIE
from bench.env import ServiceEnv
from sandbox.gc.matches.catalogue import Catalogue

pytestmark = pytest.mark.integration

MATCH = 7490235544
PATHS = (f"/match-details?match_id={MATCH}", f"/matches/{MATCH}")
PROTOBUF = "application/x-protobuf"
TOKEN = "an-admin-token-of-some-length"


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceEnv]:
    token_file: Path = tmp_path_factory.mktemp("admin") / "token"
    token_file.write_text(TOKEN)
    with quick_world(settings={"http": {"admin_token_file": str(token_file)}}) as running:
        yield running


@pytest.fixture
async def http(w: ServiceEnv) -> AsyncIterator[aiohttp.ClientSession]:
    """Return a client that adds no headers and decompresses nothing."""
    async with aiohttp.ClientSession(
        w.service.url,
        auto_decompress=False,
        skip_auto_headers=("Accept", "Accept-Encoding"),
    ) as session:
        yield session


@pytest.mark.parametrize("path", PATHS)
async def test_both_addresses_give_the_same_bytes(http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(path) as answer:
        body = await answer.read()
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["Vary"] == "Accept, Accept-Encoding"
        assert "Content-Encoding" not in answer.headers
    assert orjson.loads(body)["id"] == MATCH
    async with http.get(PATHS[0]) as other:
        assert await other.read() == body


@pytest.mark.parametrize("path", PATHS)
async def test_gzip_is_the_same_json_under_another_etag(
    http: aiohttp.ClientSession, path: str
) -> None:
    async with http.get(path) as plain, http.get(path, headers={"Accept-Encoding": "gzip"}) as got:
        assert got.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(await got.read()) == await plain.read()
        assert got.headers["ETag"] == plain.headers["ETag"].rstrip('"') + '-gzip"'


@pytest.mark.parametrize("path", PATHS)
async def test_protobuf_is_what_the_coordinator_sent(
    http: aiohttp.ClientSession, path: str
) -> None:
    async with http.get(path, headers={"Accept": PROTOBUF, "Accept-Encoding": "gzip"}) as got:
        body = await got.read()
        assert got.headers["Content-Type"] == PROTOBUF
        assert "Content-Encoding" not in got.headers
        assert got.headers["ETag"].endswith('-protobuf"')
    assert ("answered", body) == Catalogue(seed=0).answer(MATCH)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("form", [{}, {"Accept-Encoding": "gzip"}, {"Accept": PROTOBUF}])
async def test_who_has_it_already_gets_304_and_no_body(
    http: aiohttp.ClientSession, path: str, form: dict[str, str]
) -> None:
    async with http.get(path, headers=form) as first:
        etag = first.headers["ETag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        async with http.get(path, headers={**form, "If-None-Match": known}) as again:
            assert (again.status, await again.read()) == (304, b"")
            assert again.headers["ETag"] == etag
            assert {"Cache-Control", "Vary"} <= set(again.headers)
    for stale in ('"other"', etag.strip('"'), f"{etag[:-1]}x" + '"'):
        async with http.get(path, headers={**form, "If-None-Match": stale}) as again:
            assert again.status == 200


async def test_the_etag_of_one_form_is_not_that_of_another(http: aiohttp.ClientSession) -> None:
    async with http.get(PATHS[1]) as plain:
        headers = {"If-None-Match": plain.headers["ETag"], "Accept-Encoding": "gzip"}
    async with http.get(PATHS[1], headers=headers) as packed:
        assert packed.status == 200


@pytest.mark.parametrize("path", PATHS)
async def test_a_head_is_a_get_without_the_body(http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(path) as whole, http.head(path) as head:
        assert head.status == 200
        assert await head.read() == b""
        for name in ("ETag", "Content-Type", "Content-Length"):
            assert head.headers[name] == whole.headers[name]


async def test_who_accepts_nothing_that_there_is_hears_so_but_the_seed_never_said_that(
    http: aiohttp.ClientSession,
) -> None:
    async with http.get(PATHS[1], headers={"Accept": "text/html"}) as refused:
        assert refused.status == 406
        assert (await refused.json())["error"] == "not-acceptable"
    async with http.get(PATHS[0], headers={"Accept": "text/html"}) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/json"


async def test_how_fresh_an_answer_is_stands_in_its_headers(http: aiohttp.ClientSession) -> None:
    async with http.get("/matches/4242") as first, http.get("/matches/4242") as second:
        assert (first.headers["X-Cache"], first.headers["Age"]) == ("MISS", "0")
        assert second.headers["X-Cache"] == "HIT"
        assert int(second.headers["Age"]) >= 0
        for answer in (first, second):
            assert answer.headers["Cache-Control"] == "public, max-age=604800"
    for header in (
        {"Authorization": "Bearer x"},
        {"X-API-Key": "x"},
        {"Cookie": f"theme=dark; {COOKIE}=x"},
    ):
        async with http.get("/matches/4242", headers=header) as keyed:
            assert keyed.headers["Cache-Control"] == "private, max-age=604800"


async def test_a_known_match_is_refreshed_only_for_clients_with_that_right(
    w: ServiceEnv, http: aiohttp.ClientSession
) -> None:
    async def asked() -> int:
        found = await w.sandbox.journal("match_request")
        return sum(one["match_id"] == 4243 for one in found)

    refresh = {"Cache-Control": "max-age=0, No-Cache"}
    async with http.get("/matches/4243"), http.get("/matches/4243", headers=refresh) as known:
        assert known.headers["X-Cache"] == "HIT"
        assert await asked() == 1
    operator = {"Authorization": f"Bearer {TOKEN}"}
    async with http.get("/matches/4243", headers=operator) as known:
        assert known.headers["X-Cache"] == "HIT"
    async with http.get("/matches/4243", headers={**refresh, **operator}) as asked_for:
        assert asked_for.headers["X-Cache"] == "MISS"
        assert await asked() == 2
    async with http.get("/matches/4243") as known:
        assert known.headers["X-Cache"] == "HIT"


@pytest.mark.parametrize("text", ["", "soon", "0", "0.09", "-1", "nan", "inf", "1_0", "5 s", "0x5"])
@pytest.mark.parametrize("path", PATHS)
async def test_a_time_limit_that_is_none_is_invalid(
    http: aiohttp.ClientSession, path: str, text: str
) -> None:
    async with http.get(path, headers={"X-Request-Timeout": text}) as refused:
        answer = await refused.json()
        assert (refused.status, answer["error"]) == (400, "invalid")
        assert "X-Request-Timeout" in answer["message"]


@pytest.mark.parametrize("text", ["5", "2.5", "1e1", "100000", ".9e1"])
async def test_a_time_limit_is_any_number_of_seconds(
    http: aiohttp.ClientSession, text: str
) -> None:
    async with http.get(PATHS[1], headers={"X-Request-Timeout": text}) as answer:
        assert answer.status == 200
