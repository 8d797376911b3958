"""`GET /replays/M` over real HTTP: redirects, and every reason for a missing file."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from support.quick_service import given_match, quick_world

from actors.matches.match import RECENT_S
from bench.env import ServiceEnv

pytestmark = pytest.mark.integration

MATCH = 7490235544
FILE = "/570/7490235544_447089001.dem.bz2"
EXPIRED, NOT_RECORDED, OLD_FORMAT, JUST_ENDED, NO_DATE = 1781962623, 113, 50_000_005, 700, 701


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceEnv]:
    folder: Path = tmp_path_factory.mktemp("matches")
    begun = int(time.time()) - 2000  # it ended ten seconds ago
    given_match(folder, JUST_ENDED, starttime=begun, duration=1900, pre_game_duration=90)
    given_match(folder, NO_DATE)
    with quick_world(matches=folder) as running:
        yield running


@pytest.fixture
async def http(w: ServiceEnv) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(w.service.url) as session:
        yield session


@pytest.mark.parametrize("query", ["", "?redirect=1"])
async def test_a_replay_that_is_there_is_led_to(
    w: ServiceEnv, http: aiohttp.ClientSession, query: str
) -> None:
    async with http.get(f"/replays/{MATCH}{query}", allow_redirects=False) as answer:
        assert answer.status == 302
        assert answer.headers["Location"] == w.sandbox.replay_url + FILE
        assert answer.headers["Cache-Control"].startswith("public, max-age=")
        assert {"Age", "X-Cache"} <= set(answer.headers)


@pytest.mark.parametrize(
    ("match_id", "word"),
    [
        (EXPIRED, "replay-expired"),
        (NOT_RECORDED, "replay-not-recorded"),
        (OLD_FORMAT, "replay-old-format"),
    ],
)
async def test_a_replay_that_will_never_be_there_says_why(
    http: aiohttp.ClientSession, match_id: int, word: str
) -> None:
    async with http.get(f"/replays/{match_id}", allow_redirects=False) as answer:
        error = await answer.json()
        assert (answer.status, error["error"]) == (404, word)
        assert error["retry_after"] is None


async def test_a_replay_that_is_still_uploaded_says_when_to_return(
    http: aiohttp.ClientSession,
) -> None:
    async with http.get(f"/replays/{JUST_ENDED}", allow_redirects=False) as answer:
        error = await answer.json()
        assert (answer.status, error["error"]) == (404, "replay-not-yet-available")
        assert 0 < error["retry_after"] <= RECENT_S
        assert answer.headers["Retry-After"] == str(error["retry_after"])


@pytest.mark.parametrize(
    ("match_id", "availability"),
    [
        (MATCH, "available"),
        (NO_DATE, "available"),
        (EXPIRED, "expired"),
        (NOT_RECORDED, "not-recorded"),
        (OLD_FORMAT, "old-format"),
        (JUST_ENDED, "not-yet-available"),
    ],
)
async def test_the_facts_are_there_whatever_they_are(
    http: aiohttp.ClientSession, match_id: int, availability: str
) -> None:
    async with http.get(f"/replays/{match_id}?redirect=0") as answer:
        assert answer.status == 200
        facts = await answer.json()
    assert (facts["id"], facts["availability"]) == (match_id, availability)
    has_url = availability in {"available", "not-yet-available"}
    assert (facts["url"] is not None) == has_url
    is_coming = availability == "not-yet-available"
    assert (facts["retry_after"] is not None) == is_coming
    assert (answer.headers["Cache-Control"] == "no-store") == is_coming


async def test_the_facts_of_one_match_are_whole(w: ServiceEnv, http: aiohttp.ClientSession) -> None:
    async with http.get(f"/replays/{MATCH}?redirect=0") as answer:
        assert await answer.json() == {
            "id": MATCH,
            "availability": "available",
            "url": w.sandbox.replay_url + FILE,
            "state": "REPLAY_AVAILABLE",
            "cluster": 153,
            "salt": 447089001,
            "ended_at": 1702703340 + 90 + 2846,
            "retry_after": None,
        }


@pytest.mark.parametrize(
    ("path", "status", "word"),
    [
        ("/replays/abc", 400, "invalid"),
        ("/replays/0", 400, "invalid"),
        (f"/replays/{MATCH}?redirect=2", 400, "invalid"),
        (f"/replays/{MATCH}?redirect=", 400, "invalid"),
        ("/replays/9000000001", 404, "not-found"),
        ("/replays/4000000015", 403, "blocked"),
        ("/replays/", 404, "not-found"),
        (f"/replays/{MATCH}/", 404, "not-found"),
    ],
)
async def test_what_cannot_be_asked_for_has_its_row(
    http: aiohttp.ClientSession, path: str, status: int, word: str
) -> None:
    async with http.get(path, allow_redirects=False) as answer:
        assert (answer.status, (await answer.json())["error"]) == (status, word)
