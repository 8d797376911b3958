"""The OpenAPI document and its page, and the page's security policy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
from support.quick_service import quick_world

from bench.env import ServiceEnv

pytestmark = pytest.mark.integration
IN_PATH = {"match_id": 5, "account_id": 5, "steam_ids": 76_561_197_960_265_733}


@pytest.fixture(scope="module")
def w() -> Iterator[ServiceEnv]:
    with quick_world(1) as running:
        yield running


@pytest.fixture
async def http(w: ServiceEnv) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(w.service.url) as session:
        yield session


async def test_the_document_describes_what_is_served(http: aiohttp.ClientSession) -> None:
    async with http.get("/openapi.json") as answer:
        assert answer.headers["Content-Type"] == "application/json"
        paths = set((await answer.json())["paths"])
    assert {"/match-details", "/matches/{match_id}", "/replays/{match_id}", "/status"} <= paths
    for path in {path for path in paths if not path.startswith("/admin/")}:
        async with http.get(path.format(**IN_PATH), allow_redirects=False) as answer:
            assert answer.status not in {404, 405} or path.startswith("/replays/")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/docs", "text/html"),
        ("/docs/docs.js", "text/javascript"),
        ("/docs/docs.css", "text/css"),
    ],
)
async def test_the_page_and_its_parts_come_from_here(
    http: aiohttp.ClientSession, path: str, kind: str
) -> None:
    async with http.get(path) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == f"{kind}; charset=utf-8"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        text = await answer.text()
    if kind == "text/html":
        assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
        for part in ("/docs/docs.js", "/docs/docs.css"):
            assert part in text


async def test_no_other_file_can_be_reached_through_it(http: aiohttp.ClientSession) -> None:
    for path in ("/docs/", "/docs/docs.html", "/docs/..%2fdocs.py", "/docs/docs.js/"):
        async with http.get(path) as answer:
            assert answer.status == 404, path
