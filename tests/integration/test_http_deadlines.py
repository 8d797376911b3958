"""Time limits of clients, and disconnects."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import aiohttp
import pytest
from support.quick_service import quick_world, wait_idle

from bench.env import ServiceEnv

pytestmark = pytest.mark.integration

PATIENT = {"http": {"deadline": 25}, "bots": {"request_timeout": 20}}


@pytest.fixture
def w() -> Iterator[ServiceEnv]:
    with quick_world(1, settings=PATIENT) as running:
        yield running


async def test_a_client_in_a_hurry_hears_in_time(w: ServiceEnv) -> None:
    await w.sandbox.faults(gc_silent=True)
    begun = time.monotonic()
    async with (
        aiohttp.ClientSession(w.service.url, headers={"X-Request-Timeout": "0.5"}) as http,
        http.get("/matches/5") as answer,
    ):
        assert answer.status == 504
        assert (await answer.json())["error"] == "timeout"
    assert time.monotonic() - begun < 15  # not the 20 and 25 seconds of the settings


async def test_a_client_waits_no_longer_than_the_service_allows() -> None:
    settings = {"http": {"deadline": 0.5}, "bots": {"request_timeout": 0.4}}
    with quick_world(1, settings=settings) as w:
        await w.sandbox.faults(gc_silent=True)
        async with (
            aiohttp.ClientSession(w.service.url, headers={"X-Request-Timeout": "1000"}) as http,
            http.get("/matches/5", timeout=aiohttp.ClientTimeout(20)) as answer,
        ):
            assert answer.status == 504


async def test_a_client_that_goes_away_leaves_no_task_behind(w: ServiceEnv) -> None:
    await w.sandbox.faults(gc_silent=True)
    async with aiohttp.ClientSession(w.service.url) as http:
        asking = asyncio.create_task(http.get("/matches/6"))
        await w.sandbox.wait_journal("match_request", match_id=6)
        assert w.service.status()["router"]["in_flight"] == 1
        asking.cancel()
        await asyncio.wait({asking})
    wait_idle(w)
