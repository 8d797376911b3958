"""The retriever's routes, used as OpenDota does (its GcdataFetcher.ts, mmr.ts, profiler.ts)."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import json
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bench.env import ServiceEnv, service_env, simple_accounts

pytestmark = pytest.mark.integration
REAL = Path(
    os.environ.get("BOTAPI_REAL_MATCHES")
    or Path(__file__).resolve().parents[2].parent / "shared" / "data"
)
MATCH = 7_490_235_544
HEADERS = {  # axios
    "Accept": "application/json, text/plain, */*",
    "Accept-Encoding": "gzip, compress, deflate, br",
    "User-Agent": "axios/1.7.9",
}
FIRST_STEAM_ID = 76_561_197_960_265_728


class Outcome(enum.Enum):
    """OpenDota's reaction to a response."""

    TAKEN = enum.auto()
    FINAL = enum.auto()  # no data, and no retry
    AGAIN = enum.auto()


@dataclass
class Got:
    """A response, and OpenDota's reaction."""

    outcome: Outcome
    status: int
    headers: dict[str, str]
    data: Any


class OpenDota:
    """Requests and reacts as `GcdataFetcher.ts` of August 2026."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def get(self, path: str, timeout_s: float = 5.0) -> Got:
        url, limit = f"{self._url}{path}?key=", aiohttp.ClientTimeout(total=timeout_s)
        async with self._session.get(url, headers=HEADERS, timeout=limit) as answer:
            text = await answer.text()
            data = json.loads(text) if answer.content_type == "application/json" else text
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return Got(Outcome.AGAIN, answer.status, headers, data)

    async def match(self, match_id: int) -> Got:
        got = await self.get(f"/match/{match_id}")
        if 200 <= got.status < 300:
            got.outcome = self._judge(got)
        return got

    def _judge(self, got: Got) -> Outcome:
        if got.headers.get("x-match-noretry"):
            # Its loop ends at an error that is not retryable; an empty reason is none.
            return Outcome.FINAL if got.headers.get("x-noretry-reason") else Outcome.AGAIN
        match = (got.data or {}).get("match") or {}
        return Outcome.TAKEN if match.get("replay_salt") else Outcome.AGAIN


@contextlib.asynccontextmanager
async def opendota(w: ServiceEnv) -> AsyncIterator[OpenDota]:
    async with aiohttp.ClientSession() as session:
        yield OpenDota(session, w.service.url)


@pytest.fixture(scope="module")
def common() -> Iterator[ServiceEnv]:
    debug = {"log": {"level": "debug"}}
    with service_env(2, matches=REAL if REAL.is_dir() else None, settings=debug) as w:
        w.service.wait_ready(2)
        yield w


def real(name: str) -> Any:
    source = REAL / name
    if not source.exists():
        pytest.skip(f"no real answer at {source}: set BOTAPI_REAL_MATCHES to where one is")
    return json.loads(source.read_text())


async def test_a_match_is_gzipped_and_names_the_account_that_asked(common: ServiceEnv) -> None:
    match_id = 6_300_000_001  # not requested before
    async with opendota(common) as od:
        got = await od.match(match_id)
    assert (got.outcome, got.status) == (Outcome.TAKEN, 200)
    assert got.headers["content-encoding"] == "gzip"
    sessions = {str(one["steamid"]) for one in await common.sandbox.journal("token_logon")}
    assert got.headers["x-match-request-steamid"] in sessions
    assert got.headers["x-match-request-ip"] == "127.0.0.1"
    assert set(got.data) == {"result", "match", "vote"}
    assert got.data["match"]["match_id"] == str(match_id)


async def test_a_real_match_comes_as_the_real_retriever_gave_it(common: ServiceEnv) -> None:
    expected = real("retriever_match.json")
    async with opendota(common) as od:
        got = await od.match(int(expected["match"]["match_id"]))
    assert got.outcome is Outcome.TAKEN
    assert got.data == expected


@pytest.mark.parametrize(
    "path", ["/match/6400000001", "/profile/7", f"/aliases/{FIRST_STEAM_ID + 7}"]
)
async def test_the_bot_that_serves_it_logs_the_requests_id(common: ServiceEnv, path: str) -> None:
    request_id = f"mine:{path.partition('/')[2]}"
    async with (
        aiohttp.ClientSession(common.service.url) as session,
        session.get(path, headers={"X-Request-Id": request_id}) as answer,
    ):
        assert answer.status == 200
    assert request_id in {one.get("request_id") for one in common.service.events("gc_asked")}


async def test_who_wants_no_gzip_gets_none(common: ServiceEnv) -> None:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        url = f"{common.service.url}/match/{MATCH}"
        async with session.get(url, headers={"Accept-Encoding": "identity"}) as plain:
            assert "Content-Encoding" not in plain.headers
            body = await plain.read()
        async with session.get(url, skip_auto_headers=["Accept-Encoding"]) as silent:
            assert silent.headers["Content-Encoding"] == "gzip"
    assert json.loads(body)["result"] == 1


@pytest.mark.parametrize(
    ("match_id", "status", "result", "reason"),
    [
        (9_000_000_001, 200, "2", "not-found"),
        (1_024_000_000_000, 200, "2", "invalid"),
        (4_000_000_015, 204, "15", "blocked"),
    ],
)
async def test_what_asking_again_does_not_change_is_final(
    common: ServiceEnv, match_id: int, status: int, result: str, reason: str
) -> None:
    async with opendota(common) as od:
        got = await od.match(match_id)
    assert (got.outcome, got.status) == (Outcome.FINAL, status)
    assert got.headers["x-match-noretry"] == result
    assert got.headers["x-noretry-reason"] == reason
    assert got.data == ({"result": 2, "match": {}} if status == 200 else "")
    assert ("x-match-request-steamid" in got.headers) is (reason != "invalid")


async def test_an_old_match_is_final_and_one_without_a_salt_is_not(common: ServiceEnv) -> None:
    """The real retriever distinguishes them by the game mode too."""
    async with opendota(common) as od:
        for _ in range(2):  # the second is known already
            old = await od.match(50_000_007)
            assert (old.outcome, old.status) == (Outcome.FINAL, 200)
            assert old.headers["x-match-noretry"] == "1"
            assert old.headers["x-noretry-reason"] == "old-format"
            assert old.data["match"]["game_mode"] == "DOTA_GAMEMODE_NONE"
            other = await od.match(6_000_000_013)
            assert (other.outcome, other.status) == (Outcome.AGAIN, 200)


async def test_a_silent_gc_is_an_empty_answer_and_the_request_is_not_lost(
    common: ServiceEnv,
) -> None:
    match_id = 6_100_000_001
    since = await common.sandbox.last_event()
    await common.sandbox.faults(gc_delay_ms=4000)
    async with opendota(common) as od:
        first = await od.match(match_id)
        assert (first.outcome, first.status, first.data) == (Outcome.AGAIN, 204, "")
        assert first.headers["x-match-request-ip"] == "127.0.0.1"
        assert first.headers["x-match-request-steamid"].startswith("7656")
        assert "x-match-noretry" not in first.headers
        asked = await common.sandbox.journal("match_request", since=since)
        second = await od.match(match_id)
    await common.sandbox.clear_faults()
    assert second.outcome is Outcome.TAKEN
    assert await common.sandbox.journal("match_request", since=since) == asked


async def test_a_gc_that_has_trouble_is_asked_again(common: ServiceEnv) -> None:
    await common.sandbox.faults(gc_result=16)
    async with opendota(common) as od:
        got = await od.match(6_200_000_001)
    await common.sandbox.clear_faults()
    assert (got.outcome, got.status) == (Outcome.AGAIN, 204)


async def test_answers_that_are_of_no_use_are_asked_for_again(common: ServiceEnv) -> None:
    await common.sandbox.faults(gc_other_match=True)
    async with opendota(common) as od:
        got = await od.match(6_200_000_101)
    await common.sandbox.clear_faults()
    assert (got.outcome, got.status) == (Outcome.AGAIN, 502)
    assert "x-match-noretry" not in got.headers


async def test_players_are_known_and_cost_no_match_budget() -> None:
    card = real("retriever_player.json")
    steam_ids = [FIRST_STEAM_ID + n for n in range(1, 101)]
    settings = {"quota": {"per_ip": 1}}
    with service_env(2, sandbox_options=("--quota-account", "1"), settings=settings) as w:
        w.service.wait_ready(2)
        async with opendota(w) as od:
            assert (await od.match(MATCH)).outcome is Outcome.TAKEN
            spent = await od.match(MATCH + 1)
            assert (spent.outcome, spent.status) == (Outcome.AGAIN, 429)
            assert spent.data == "too many requests"
            assert int(spent.headers["retry-after"]) > 80_000
            for _ in range(4):
                got = await od.get("/profile/120269134", 2.0)
                assert (got.status, got.data) == (200, card)
            names = await od.get(f"/aliases/{','.join(map(str, steam_ids))}")
        assert names.headers["content-encoding"] == "gzip"
        assert list(names.data) == [str(one) for one in steam_ids]
        assert all(one["name"] for table in names.data.values() for one in table)
        cards = await w.sandbox.journal("profile_request")
        assert {one["outcome"] for one in cards} == {"answered"}
        assert {one["account"] for one in cards} == {"bot0000", "bot0001"}
        [asked] = await w.sandbox.journal("aliases_request")
        assert asked["count"] == 100


async def test_a_silent_bot_is_followed_by_another_and_two_are_an_error(common: ServiceEnv) -> None:
    """Never a 204: current clients retry it at once, and older ones take it for a profile."""
    [first, second] = [one["name"] for one in simple_accounts(2)]
    async with opendota(common) as od:
        await common.sandbox.faults(profile_silent=[first], aliases_silent=[second])
        answers = [await od.get(f"/profile/{n}") for n in (7, 8)]
        assert [got.data["account_id"] for got in answers] == [7, 8]
        for n in (1, 2):
            names = await od.get(f"/aliases/{FIRST_STEAM_ID + n}")
            assert list(names.data) == [str(FIRST_STEAM_ID + n)]
        await common.sandbox.faults(profile_silent=True)
        got = await od.get("/profile/9")
        await common.sandbox.clear_faults()
    assert got.status == 504
    assert "silence" in got.data


async def test_who_is_unknown_to_steam_is_left_out(common: ServiceEnv) -> None:
    await common.sandbox.faults(aliases_eresult=2)
    async with opendota(common) as od:
        got = await od.get(f"/aliases/{FIRST_STEAM_ID + 1}")
    await common.sandbox.clear_faults()
    assert (got.status, got.data) == (200, {})


ODD_IDS = [0, 1, FIRST_STEAM_ID - 1, FIRST_STEAM_ID + (1 << 32), (1 << 64) - 1]


@pytest.mark.parametrize("odd", ODD_IDS)
async def test_one_odd_id_does_not_cost_a_batch_its_names(common: ServiceEnv, odd: int) -> None:
    """The profiler sends a hundred at once and drops all of them on an error."""
    players = [FIRST_STEAM_ID, FIRST_STEAM_ID + 7, *(FIRST_STEAM_ID + n for n in range(100, 197))]
    since = await common.sandbox.last_event()
    async with opendota(common) as od:
        got = await od.get(f"/aliases/{','.join(map(str, [*players, odd]))}")
    assert got.status == 200
    assert list(got.data) == [str(one) for one in players]
    [asked] = await common.sandbox.journal("aliases_request", since=since)
    assert asked["count"] == 100  # Steam decides which of them it knows


async def test_a_player_without_an_account_id_of_ones_own_has_a_card(common: ServiceEnv) -> None:
    async with opendota(common) as od:
        got = await od.get("/profile/0")
    assert (got.status, got.data["account_id"]) == (200, 0)


@pytest.mark.parametrize(
    "path",
    [
        "/match/abc",
        "/match/-1",
        "/match/1.5",
        "/match/{1}",
        "/match/%D9%A1",  # a digit, but not of ours
        f"/match/{'9' * 21}",
        "/profile/4294967296",
        "/profile/-1",
        "/profile/1_000",
        "/aliases/,",
        "/aliases/-1",
        f"/aliases/{1 << 64}",
        "/aliases/STEAM_0:1:7",
        f"/aliases/{FIRST_STEAM_ID + 1},",
        f"/aliases/{FIRST_STEAM_ID + 1},x",
        f"/aliases/{','.join(str(FIRST_STEAM_ID + n) for n in range(1, 102))}",
    ],
)
async def test_what_is_no_id_is_refused(common: ServiceEnv, path: str) -> None:
    since = await common.sandbox.last_event()
    async with opendota(common) as od:
        got = await od.get(path)
    assert got.status == 400
    assert "must be" in got.data
    kinds = "match_request,profile_request,aliases_request"
    assert await common.sandbox.journal(kinds, since=since) == []


async def test_without_a_ready_bot_it_is_not_ready_as_the_retriever_says() -> None:
    with service_env(1, in_redis=0) as w:
        async with opendota(w) as od:
            for path in (f"/match/{MATCH}", "/profile/7", f"/aliases/{FIRST_STEAM_ID + 7}"):
                got = await od.get(path)
                assert (got.status, got.data) == (500, "not ready")


async def test_many_at_once_are_answered_or_asked_to_come_back(common: ServiceEnv) -> None:
    async with opendota(common) as od:
        answers = await asyncio.gather(*(od.get(f"/profile/{n}") for n in range(1, 101)))
    statuses = [got.status for got in answers]
    assert set(statuses) <= {200, 429}
    assert statuses.count(200) >= 16
    for number, got in enumerate(answers, 1):
        if got.status == 200:
            assert got.data["account_id"] == number
        else:
            assert (got.data, got.headers["retry-after"]) == ("too many requests", "1")
