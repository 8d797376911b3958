"""Connections break under load: every request is answered, every bot comes back, nothing needs a hand."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import aiohttp
import pytest

from bench.env import ServiceEnv, service_env
from bench.service_process import Sections

pytestmark = pytest.mark.integration

BOTS = 10
WORDS = {"notready", "busy", "timeout", "store-unavailable", "quota-exhausted"}
QUICK: Sections = {
    "bots": {"request_timeout": 2},
    "restart": {"backoff_min": 0.2, "backoff_max": 2, "intensity": 10, "period": 60},
}


async def two_hundred_requests(w: ServiceEnv) -> Counter[str]:
    """Ask for 200 matches at once; every answer is the right match or a row of the error table."""
    outcomes: Counter[str] = Counter()

    async def ask(session: aiohttp.ClientSession, match_id: int) -> None:
        async with session.get(f"{w.service.url}/match-details?match_id={match_id}") as answer:
            body: dict[str, Any] = json.loads(await answer.read())
        if answer.status == 200:
            assert body["id"] == match_id
            assert body["match"]["match_id"] == str(match_id)
            outcomes["data"] += 1
        else:
            assert body["error"] in WORDS
            outcomes[body["error"]] += 1

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(ask(session, 5_000 + 20 * n) for n in range(200)))
    return outcomes


@pytest.mark.parametrize("mode", ["close", "reset", "mid_message"])
@pytest.mark.parametrize("transport", ["websocket", "tcp"])
async def test_all_connections_break_while_200_requests_run(mode: str, transport: str) -> None:
    settings = {**QUICK, "steam": {"transport": transport}}
    with service_env(BOTS, sandbox_options=("--gc-delay", "300"), settings=settings) as w:
        w.service.wait_ready(BOTS)
        asking = asyncio.create_task(two_hundred_requests(w))
        await w.sandbox.wait_journal("match_request", 20)
        await w.sandbox.drop(mode)
        outcomes = await asking
        assert outcomes.total() == 200
        w.service.wait_ready(BOTS, within=20)
        assert max((await w.sandbox.summary())["max_concurrent"].values()) == 1


async def test_one_connection_breaks_and_no_request_notices() -> None:
    with service_env(BOTS, sandbox_options=("--gc-delay", "300"), settings=QUICK) as w:
        w.service.wait_ready(BOTS)
        asking = asyncio.create_task(two_hundred_requests(w))
        await w.sandbox.wait_journal("match_request", 20)
        await w.sandbox.drop("close", accounts=["bot0003"])
        assert await asking == Counter(data=200)
        w.service.wait_ready(BOTS, within=20)


async def test_half_open_connections_are_noticed_and_replaced() -> None:
    options = ("--gc-delay", "300", "--heartbeat", "1")
    with service_env(BOTS, sandbox_options=options, settings=QUICK) as w:
        w.service.wait_ready(BOTS)
        asking = asyncio.create_task(two_hundred_requests(w))
        await w.sandbox.wait_journal("match_request", 20)
        since = await w.sandbox.last_event()
        await w.sandbox.drop("half_open", fraction=0.5)
        outcomes = await asking
        assert outcomes.total() == 200
        await w.sandbox.wait_journal("token_logon", BOTS // 2, since=since, within_s=20)
        w.service.wait_ready(BOTS, within=20)
        assert max((await w.sandbox.summary())["max_concurrent"].values()) == 1


async def test_steam_away_at_the_start_is_waited_for() -> None:
    with service_env(2, settings=QUICK) as w:
        w.service.stop()
        await w.sandbox.faults(refuse_connect=True)
        w.service.start()
        assert w.service.wait_log("shared_cause_begun", 10)["kind"] == "steam-unreachable"
        await w.sandbox.clear_faults()
        w.service.wait_ready(2, within=20)
