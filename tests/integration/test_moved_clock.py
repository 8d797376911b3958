"""The sandbox, Valkey and the service follow a clock that a test moves, and go on working."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
import redis
from support.clock_fixture import MakeClock, make_clock  # noqa: F401 - a fixture

import bench.moved_clock
from bench.env import ServiceEnv, service_env
from bench.moved_clock import DAY_S, MovedClock, NoFaketime, moved_clock
from bench.sandbox_process import Event
from bench.service_process import Sections
from bench.valkey import own_valkey

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

SLOW_S = 20.0  # what a loaded machine may add
PER_ACCOUNT = 3
QUOTA: Sections = {"quota": {"per_account": PER_ACCOUNT}}
FIRST_MATCH = 6_300_000_000


def valkey_time(url: str) -> float:
    with redis.Redis.from_url(url) as client:
        seconds, micros = client.time()
    return float(seconds) + float(micros) / 1e6


def ask(w: ServiceEnv, match_id: int) -> tuple[int, dict[str, Any]]:
    status, body = w.service.get(f"/match-details?match_id={match_id}")
    return status, json.loads(body)


def ask_until_answered(w: ServiceEnv, match_ids: Iterator[int], within_s: float) -> int:
    """Ask for other matches until one is answered; return which."""
    until = time.monotonic() + within_s
    while True:
        match_id = next(match_ids)
        status, body = ask(w, match_id)
        if status == 200:
            return match_id
        if time.monotonic() > until:
            raise TimeoutError(f"still {status} {body} after {within_s} s")
        time.sleep(0.2)


def logged_answer(w: ServiceEnv, number: int) -> dict[str, Any]:
    """Return the answer of that number in the log, waiting for its line."""
    until = time.monotonic() + SLOW_S
    while len(found := list(w.service.events("request_answered"))) < number:
        if time.monotonic() > until:
            raise TimeoutError(f"{len(found)} of {number} answers are logged")
        time.sleep(0.02)
    return found[number - 1]


def most_in_a_day(requests: list[Event]) -> int:
    """Return the largest number of requests of one account in any 24 hours of the journal."""
    found: Counter[str] = Counter()
    for first in requests:
        account, begin = first["account"], first["t"]
        within = (one for one in requests if begin <= one["t"] < begin + DAY_S)
        found[account] = max(found[account], sum(one["account"] == account for one in within))
    return max(found.values())


@pytest.mark.parametrize("monotonic", [False, True])
def test_valkeys_time_follows_forwards_and_backwards(
    make_clock: MakeClock,  # noqa: F811 - the fixture
    *,
    monotonic: bool,
) -> None:
    clock = make_clock(monotonic=monotonic)
    with own_valkey(clock=clock) as valkey:
        url = f"redis://127.0.0.1:{valkey.port}/0"
        for seconds in (3600.0, DAY_S, -7200.0):
            clock.step(seconds)
            assert abs(valkey_time(url) - time.time() - clock.offset_s) < SLOW_S


def test_a_clock_of_valkey_alone_moves_no_other(make_clock: MakeClock) -> None:  # noqa: F811
    clock = make_clock()
    with own_valkey() as other, own_valkey(clock=clock) as valkey:
        clock.step(-3600)
        assert abs(valkey_time(f"redis://127.0.0.1:{other.port}/0") - time.time()) < SLOW_S
        assert valkey_time(f"redis://127.0.0.1:{valkey.port}/0") < time.time() - 3000


@pytest.mark.parametrize("monotonic", [False, True])
async def test_only_a_moved_monotonic_clock_ends_sessions(
    make_clock: MakeClock,  # noqa: F811 - the fixture
    *,
    monotonic: bool,
) -> None:
    """All three show the new time; heartbeats are missed only where their clock has moved, too."""
    clock = make_clock(monotonic=monotonic)
    with service_env(2, clock=clock) as w:
        w.service.wait_ready(2)
        assert ask(w, FIRST_MATCH)[0] == 200  # known from now on
        since = await w.sandbox.last_event()
        clock.step(3600)
        assert ask(w, FIRST_MATCH)[0] == 200
        await w.sandbox.faults(gc_silent=False)
        (changed,) = await w.sandbox.wait_journal("faults_changed", since=since)
        logged = await asyncio.to_thread(logged_answer, w, 2)
        for seen in (
            changed["t"],
            datetime.fromisoformat(logged["timestamp"]).timestamp(),
            valkey_time(w.redis_url),
        ):
            assert abs(seen - time.time() - 3600) < SLOW_S
        ended = w.sandbox.wait_journal("session_ended", 2, since=since, within_s=3 + 17 * monotonic)
        with contextlib.nullcontext() if monotonic else pytest.raises(TimeoutError, match="0 of 2"):
            await ended


async def test_a_rolling_budget_is_free_again_after_a_day(make_clock: MakeClock) -> None:  # noqa: F811
    """P2, by the simulated Steam's journal; the service runs all the time."""
    clock: MovedClock = make_clock(monotonic=True)
    match_ids = itertools.count(FIRST_MATCH)
    steams_quota = ("--quota-account", str(PER_ACCOUNT))
    with service_env(1, settings=QUOTA, clock=clock, sandbox_options=steams_quota) as w:
        w.service.wait_ready(1)
        for _ in range(PER_ACCOUNT):
            assert ask(w, next(match_ids))[0] == 200
        status, body = ask(w, next(match_ids))
        assert (status, body["error"]) == (429, "quota-exhausted")
        assert DAY_S - 60 < body["retry_after"] <= DAY_S
        clock.step(DAY_S - 60)
        assert ask(w, next(match_ids))[0] != 200
        clock.step(61)
        answered = ask_until_answered(w, match_ids, SLOW_S)
        requests = await w.sandbox.journal("match_request")
        code = w.service.stop()
    assert requests[-1]["match_id"] == answered
    assert [one["outcome"] for one in requests] == ["answered"] * len(requests)
    assert len(requests) == PER_ACCOUNT + 1
    assert most_in_a_day(requests) == PER_ACCOUNT
    assert requests[-1]["t"] - requests[0]["t"] > DAY_S
    assert code == 0


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.moved_clock, "_LIBRARIES", ("/nowhere/*.so",))
    with pytest.raises(NoFaketime, match="apt install libfaketime"), moved_clock():
        pass


def test_the_files_of_a_process_that_was_killed_are_removed(
    make_clock: MakeClock,  # noqa: F811 - the fixture
) -> None:
    """The library would stumble over them in a process that gets the same id."""
    del make_clock  # only for its skip
    with moved_clock() as clock, own_valkey(clock=clock) as valkey:
        pid = valkey._process.pid
        valkey.terminate()
        left = [*bench.moved_clock.SHARED_MEMORY.glob(f"*faketime*_{pid}")]
    assert left
    assert [file for file in left if file.exists()] == []
