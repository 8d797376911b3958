"""Tuesday: Steam drops every bot, refuses for a while and comes back; log-ons stay within the limit."""

from __future__ import annotations

import asyncio
import itertools
import time
from bisect import bisect_left
from collections import Counter

import aiohttp
import pytest

from bench.env import ServiceEnv, service_env
from bench.service_process import Sections

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

BOTS = 200
PER_MINUTE = 600  # the fastest that can be set: 10 a second
BURST = 40
SETTINGS: Sections = {
    "bots": {"request_timeout": 2},
    "restart": {
        "backoff_min": 0.5,
        "backoff_max": 5,
        "intensity": 100,
        "period": 600,
        "stable_after": 10,
    },
}
CLOCK_S = 1.0  # what Redis's clock and the journal's may differ by, and a slow machine


def most_within(instants: list[float], seconds: float) -> int:
    """Return the largest number of `instants` (ascending) in any `seconds`."""
    return max(
        bisect_left(instants, begin + seconds) - number for number, begin in enumerate(instants)
    )


async def tries(w: ServiceEnv, since: int) -> list[float]:
    """When log-ons came, those that were refused included."""
    events = await w.sandbox.journal("token_logon,logon_refused", since=since)
    return sorted(one["t"] for one in events)


async def ask_meanwhile(w: ServiceEnv, until: asyncio.Event) -> Counter[str]:
    """Ask for matches and note the answers; one that refuses says when to come back."""
    answers: Counter[str] = Counter()
    async with aiohttp.ClientSession(w.service.url) as client, asyncio.TaskGroup() as asking:
        for number in itertools.count():
            if until.is_set():
                return answers
            asking.create_task(_ask(client, 5_200_000_000 + 20 * number, answers))
            await asyncio.sleep(0.25)
    raise AssertionError


async def _ask(client: aiohttp.ClientSession, match_id: int, answers: Counter[str]) -> None:
    async with client.get("/match-details", params={"match_id": match_id}) as reply:
        answer = await reply.json()
    if reply.status == 200:
        answers["data"] += 1
    else:
        answers[answer["error"]] += 1
        assert answer["error"] in {"notready", "timeout", "busy"}
        assert answer["retry_after"] >= 1


def pace_from_now_on(w: ServiceEnv) -> None:
    """Start the service again, with the log-on limiter; every account has a token by then."""
    assert w.service.stop() == 0
    with w.service.config_file.open("a") as config:
        config.write(f"[logon]\nper_minute = {PER_MINUTE}\nburst = {BURST}\n")
    w.service.start()


async def test_two_hundred_bots_come_back_without_a_stampede_or_a_hand() -> None:
    with service_env(BOTS, settings=SETTINGS) as w:
        w.service.wait_ready(BOTS)
        pace_from_now_on(w)
        since = await w.sandbox.last_event()
        w.service.wait_ready(BOTS, within=120)
        over = asyncio.Event()
        asking = asyncio.create_task(ask_meanwhile(w, over))
        scenario = {"name": "tuesday", "gc_first_s": 1.0, "down_s": 6.0, "return_s": 4.0}
        began = time.monotonic()
        await w.sandbox.call("POST", "/scenario", scenario)
        await w.sandbox.wait_journal("scenario_ended", within_s=60)
        await asyncio.to_thread(w.service.wait_ready, BOTS, 120)
        assert time.monotonic() - began > 11  # it was a maintenance
        over.set()
        answers = await asking
        assert answers["data"] > 0
        assert answers["notready"] > 0
        allowed = BURST + PER_MINUTE / 60 * (10 + CLOCK_S)
        assert most_within(await tries(w, since), 10) <= allowed
        summary = await w.sandbox.summary()
        assert max(summary["max_concurrent"].values()) == 1
        passwords = await w.sandbox.journal("credential_logon")
        assert len(passwords) == BOTS  # the first log-ons, and no more
