"""The GC goes away while Steam stays: bots stay logged on, and return soon and out of step."""

from __future__ import annotations

import asyncio

import pytest

from bench.env import service_env

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

BOTS = 12
AWAY_S = 20.0
BACK_S = 12.0  # the last bot says hello 3 s after the first welcome; the rest is a slow machine's
LOOK_S = 0.2


@pytest.mark.parametrize("how", [True, "going_down"], ids=["no_session", "going_down"])
async def test_an_outage_of_the_gc_costs_no_log_on(how: object) -> None:
    with service_env(BOTS) as w:
        w.service.wait_ready(BOTS)
        since = await w.sandbox.last_event()
        await w.sandbox.faults(gc_down={"value": how})
        await w.sandbox.wait_journal("gc_session_lost", since=since, count=BOTS)
        await asyncio.sleep(AWAY_S)  # the length of the outage is what is tested
        assert not await w.sandbox.journal("gc_welcome", since=since)
        back_from = await w.sandbox.last_event()
        await w.sandbox.clear_faults()
        welcomes = await w.sandbox.wait_journal(
            "gc_welcome", since=back_from, count=BOTS, within_s=60.0
        )
        assert not await w.sandbox.journal("token_logon,credential_logon", since=since)
        first, last = (end(one["t"] for one in welcomes) for end in (min, max))
        assert 1.0 < last - first < BACK_S  # out of step, and no bot waits for its own long pause
        assert {one["account"] for one in welcomes} == {one["name"] for one in w.sandbox.accounts}
        await asyncio.to_thread(w.service.wait_ready, BOTS)
