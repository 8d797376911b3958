"""Steam is away from a whole fleet: the cause is said once, first, everywhere, and the log is quiet."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from support.command import botapi
from support.exposition import Exposition

from bench.env import ServiceEnv, service_env
from bench.service_process import Sections

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

BOTS = 30
AWAY_S = 75.0
PER_MINUTE = 4
SETTINGS: Sections = {
    "logon": {"per_minute": 0},
    "restart": {"backoff_min": 0.5, "backoff_max": 5, "intensity": 10, "period": 60},
}


def told(w: ServiceEnv) -> list[dict[str, Any]]:
    """Return the lines of the log at info and above."""
    lines = [json.loads(line) for line in w.service.log.splitlines()]
    return [line for line in lines if line["level"] != "debug"]


async def wait_for_alert(w: ServiceEnv, kind: str, within_s: float = 30.0) -> dict[str, Any]:
    """Return the status whose first alert is of that kind."""
    until = time.monotonic() + within_s
    while (status := await asyncio.to_thread(w.service.status))["alerts"][0]["kind"] != kind:
        assert time.monotonic() < until, status["alerts"]
        await asyncio.sleep(0.2)
    return status


async def test_an_outage_of_steam_is_one_cause_and_four_lines_a_minute(tmp_path: Path) -> None:
    with service_env(BOTS, settings=SETTINGS) as w:
        w.service.wait_ready(BOTS)
        assert (await wait_for_alert(w, "well"))["alerts"][0]["severity"] == "well"
        before = len(told(w))
        away_at = time.time()
        await w.sandbox.faults(refuse_connect=True)
        await w.sandbox.drop("close")
        status = await wait_for_alert(w, "steam-unreachable")
        until = time.monotonic() + AWAY_S
        while any(bot["state"] == "ready" for bot in status["fleet"]):
            status = await asyncio.to_thread(w.service.status)
        while time.monotonic() < until:
            status = await asyncio.to_thread(w.service.status)
            (alert,) = status["alerts"]  # and none on any bot, account or person
            assert (alert["kind"], alert["severity"]) == ("steam-unreachable", "outage")
            await asyncio.sleep(1)
        assert away_at - 1 <= alert["when"] <= away_at + 10
        assert f"({BOTS} of {BOTS} bots: " in alert["text"]
        assert alert["todo"] == "Nothing to do."
        shown = await asyncio.to_thread(botapi, "status", "--url", w.service.url, cwd=tmp_path)
        clock = time.strftime("%H:%M", time.localtime(alert["when"]))
        words = alert["text"].replace("{when}", clock)
        assert shown.out.splitlines()[1] == f"{words} Nothing to do."
        during = told(w)[before:]
        assert [line["event"] for line in during] == ["shared_cause_begun", "shared_cause_lasts"]
        assert len(during) <= PER_MINUTE
        assert during[0]["level"] == "warning"
        assert during[0]["kind"] == "steam-unreachable"
        assert shown_as_lasting(w) == {"steam-unreachable"}
        await w.sandbox.clear_faults()
        w.service.wait_ready(BOTS, within=40)
        await wait_for_alert(w, "well")
        after = [line["event"] for line in told(w)[before + len(during) :]]
        assert after == ["shared_cause_ended"]
        until = time.monotonic() + 10
        while shown_as_lasting(w):  # within a second all scrapes are given the same
            assert time.monotonic() < until
            await asyncio.sleep(0.2)


def shown_as_lasting(w: ServiceEnv) -> set[str]:
    """Return the kinds of causes that last, as the metrics have it."""
    found = Exposition(w.service.get("/metrics")[1].decode())
    return {kind for kind, lasts in found.values("botapi_shared_cause", "kind").items() if lasts}


async def test_an_outage_of_redis_longer_than_the_leases_is_one_cause_too() -> None:
    settings = {**SETTINGS, "bots": {"lease_seconds": 12.5}}
    with service_env(BOTS, settings=settings) as w:
        w.service.wait_ready(BOTS)
        await wait_for_alert(w, "well")
        before = len(told(w))
        w.valkey.stop()
        await wait_for_alert(w, "redis-unreachable")
        until = time.monotonic() + 60
        while any(bot["state"] == "ready" for bot in (await status_of(w))["fleet"]):
            assert time.monotonic() < until
            await asyncio.sleep(0.5)
        alerts = (await status_of(w))["alerts"]
        assert [alert["kind"] for alert in alerts] == ["redis-unreachable"]
        w.valkey.start()
        await asyncio.to_thread(w.service.wait_ready, BOTS, 60)
        await wait_for_alert(w, "well")
        assert [line["event"] for line in told(w)[before:]] == ["redis_lost", "redis_back"]


async def test_a_game_coordinator_that_is_away_is_one_cause_and_no_bots() -> None:
    with service_env(BOTS, settings=SETTINGS) as w:
        w.service.wait_ready(BOTS)
        await wait_for_alert(w, "well")
        before = len(told(w))
        await w.sandbox.faults(gc_down=True)
        status = await wait_for_alert(w, "gc-unavailable")
        while any(bot["state"] == "ready" for bot in status["fleet"]):
            status = await status_of(w)
        (alert,) = status["alerts"]
        assert alert["text"] == (
            f"The Dota 2 Game Coordinator has not answered since {{when}} ({BOTS} of {BOTS} bots)."
        )
        assert alert["todo"] == "Nothing to do."
        await w.sandbox.clear_faults()
        await asyncio.to_thread(w.service.wait_ready, BOTS, 60)
        await wait_for_alert(w, "well")
        events = [line["event"] for line in told(w)[before:]]
        assert events == ["shared_cause_begun", "shared_cause_ended"]


async def status_of(w: ServiceEnv) -> dict[str, Any]:
    return await asyncio.to_thread(w.service.status)
