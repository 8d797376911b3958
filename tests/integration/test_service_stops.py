"""A stop at any moment, whatever is away just then: bounded, exit code 0, nothing left with Steam."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from typing import Any

import pytest

from bench.env import ServiceEnv, service_env
from bench.service_process import Sections

pytestmark = pytest.mark.integration

BOTS = 3
GRACE_S = 20.0  # well under the 30 s that README gives a container to stop in
QUICK: Sections = {
    "bots": {"request_timeout": 3},
    "restart": {"backoff_min": 0.1, "backoff_max": 1},
    "log": {"level": "debug"},
}


async def stop(w: ServiceEnv, number: signal.Signals = signal.SIGTERM) -> float:
    """Ask the service to end and return how long that took."""
    begun = time.monotonic()
    assert await asyncio.to_thread(w.service.stop, number) == 0
    return time.monotonic() - begun


async def sessions_left(w: ServiceEnv) -> int:
    return len([one for one in await w.sandbox.sessions() if one.get("account")])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_running_requests_are_finished_first(number: signal.Signals) -> None:
    with service_env(BOTS, sandbox_options=("--gc-delay", "1500"), settings=QUICK) as w:
        w.service.wait_ready(BOTS)
        asking = [
            asyncio.create_task(
                asyncio.to_thread(w.service.get, f"/match-details?match_id={5_000_000 + n}")
            )
            for n in range(6)
        ]
        await w.sandbox.wait_journal("match_request", 6)
        assert await stop(w, number) < GRACE_S
        answers = [await one for one in asking]
        assert [status for status, _ in answers] == [200] * 6
        assert {json.loads(body)["id"] for _, body in answers} == {5_000_000 + n for n in range(6)}
        assert set(w.scores().values()) == {0}
        ended = await w.sandbox.journal("session_ended")
        assert [one["clean"] for one in ended] == [True] * BOTS


async def test_who_asks_a_second_time_does_not_wait_for_running_requests() -> None:
    settings: Sections = {"bots": {"request_timeout": 3}, "http": {"deadline": 30}}
    with service_env(BOTS, settings=settings) as w:
        w.service.wait_ready(BOTS)
        await w.sandbox.faults(gc_silent=True)
        asking = asyncio.create_task(
            asyncio.to_thread(w.service.get, "/match-details?match_id=5000000")
        )
        await w.sandbox.wait_journal("match_request")
        begun = time.monotonic()
        w.service.process.send_signal(signal.SIGTERM)
        # Two of a kind that are sent at once arrive as one.
        await asyncio.to_thread(w.service.wait_log, "service_stopping", GRACE_S)
        w.service.process.send_signal(signal.SIGTERM)
        assert w.service.process.wait(GRACE_S) == 0
        assert time.monotonic() - begun < 8  # three tries would take nine seconds
        status, body = await asking
        assert (status, json.loads(body)["error"]) == (503, "notready")
        assert set(w.scores().values()) == {0}
        ended = await w.sandbox.journal("session_ended")
        assert [one["clean"] for one in ended] == [True] * BOTS


@pytest.mark.parametrize(
    "switch",
    [
        {"accept_and_silence": True},
        {"logon_never_answered": True},
        {"gc_down": "silent"},
        {"refuse_connect": True},
        {"directory_delay_ms": 30_000},
        {"directory_status": "500"},
    ],
    ids=lambda switch: next(iter(switch)),
)
async def test_a_stop_on_the_way_to_ready_ends_at_once(switch: dict[str, Any]) -> None:
    with service_env(BOTS, settings=QUICK) as w:
        assert await stop(w) < GRACE_S
        await w.sandbox.faults(**switch)
        w.service.start()
        w.service.wait_log("bot_state_changed", 10)
        assert await stop(w) < GRACE_S
        assert set(w.scores().values()) == {0}
        await w.sandbox.clear_faults()
        assert await sessions_left(w) == 0


async def test_a_stop_while_steam_is_gone_is_a_clean_one() -> None:
    with service_env(BOTS, settings=QUICK) as w:
        w.service.wait_ready(BOTS)
        w.sandbox.kill()
        assert await stop(w) < GRACE_S
        assert set(w.scores().values()) == {0}


async def test_a_stop_while_steam_is_half_open_does_not_wait_for_it() -> None:
    with service_env(BOTS, settings=QUICK) as w:
        w.service.wait_ready(BOTS)
        await w.sandbox.drop("half_open")
        assert await stop(w) < GRACE_S
        assert set(w.scores().values()) == {0}


async def test_a_stop_while_redis_is_gone_logs_off_all_the_same() -> None:
    with service_env(BOTS, settings=QUICK) as w:
        w.service.wait_ready(BOTS)
        w.valkey.stop()
        assert await stop(w) < GRACE_S
        ended = await w.sandbox.journal("session_ended")
        assert [one["clean"] for one in ended] == [True] * BOTS
        w.valkey.start()
        w.service.start()  # without a cleanup in between
        w.service.wait_ready(BOTS, within=5)
