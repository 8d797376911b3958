"""Restarts: after which exits, when, and what is logged."""

from __future__ import annotations

import asyncio
import gc
import itertools
import math
import weakref

import pytest
from support.fake_clock import settle
from support.scripted_child import CRASHES, CRASHES_AT_START, RETURNS, Crash, Run, SupervisorEnv

from supervisor.child import ChildState, GiveUp, Restart, RestartIntensity

pytestmark = pytest.mark.usefixtures("no_leaks")


class AskedToWait(Exception):
    """An error with `retry_after`."""

    def __init__(self, retry_after: float | None) -> None:
        self.retry_after = retry_after
        super().__init__("not now")


@pytest.mark.parametrize(
    ("restart", "run", "runs"),
    [
        (Restart.PERMANENT, CRASHES, 2),
        (Restart.PERMANENT, RETURNS, 2),
        (Restart.TRANSIENT, CRASHES, 2),
        (Restart.TRANSIENT, RETURNS, 1),
        (Restart.TEMPORARY, CRASHES, 1),
        (Restart.TEMPORARY, CRASHES_AT_START, 1),
        (Restart.TEMPORARY, RETURNS, 1),
    ],
)
async def test_the_restart_rule_decides_who_lives_again(
    supervisor_env: SupervisorEnv, restart: Restart, run: Run, runs: int
) -> None:
    async with supervisor_env.running(
        supervisor_env.supervisor(supervisor_env.spec("a", run, restart=restart))
    ) as task:
        await supervisor_env.clock.advance(1)
        assert supervisor_env.runs == {"a": runs}
        expected = ChildState.RUNNING if runs == 2 else ChildState.STOPPED
        assert supervisor_env.last_of("a").state is expected
        assert not task.done()


async def test_the_waits_double_until_the_cap(supervisor_env: SupervisorEnv) -> None:
    many = RestartIntensity(max_restarts=10, period=600.0)
    spec = supervisor_env.spec("a", *[CRASHES_AT_START] * 6, intensity=many)
    async with supervisor_env.running(supervisor_env.supervisor(spec)):
        await supervisor_env.clock.advance(100)
    starts = [
        status.since for status in supervisor_env.statuses if status.state is ChildState.STARTING
    ]
    waits = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert waits == [1, 2, 4, 8, 8, 8]


async def test_only_a_stable_life_resets_the_waits(supervisor_env: SupervisorEnv) -> None:
    runs = [CRASHES, CRASHES, Run(serve_s=9.9, error=Crash()), Run(serve_s=10.0, error=Crash())]
    many = RestartIntensity(max_restarts=10, period=600.0)
    async with supervisor_env.running(
        supervisor_env.supervisor(supervisor_env.spec("a", *runs, intensity=many))
    ):
        await supervisor_env.clock.advance(100)
    backing_off = [s for s in supervisor_env.statuses if s.state is ChildState.BACKING_OFF]
    assert [(s.next_try_at or 0) - s.since for s in backing_off] == pytest.approx([1, 2, 4, 1])


async def test_time_before_a_child_is_in_service_makes_no_life_stable(
    supervisor_env: SupervisorEnv,
) -> None:
    class Waits:
        """Runs for long, and is in service for `serves` seconds, or never."""

        def __init__(self) -> None:
            self.in_service_since: float | None = None

        async def start(self) -> None: ...

        async def run(self) -> None:
            await supervisor_env.clock.sleep(100.0)
            if serves:
                self.in_service_since = supervisor_env.clock.now()
                await supervisor_env.clock.sleep(serves.pop(0))
            raise Crash

        def stop(self) -> None: ...

    serves = [10.0, 9.9]
    spec = supervisor_env.spec(
        "a", factory=Waits, intensity=RestartIntensity(10, 600.0), expected=(Crash,)
    )
    async with supervisor_env.running(supervisor_env.supervisor(spec)):
        await supervisor_env.clock.advance(400)
    backing_off = [s for s in supervisor_env.statuses if s.state is ChildState.BACKING_OFF]
    assert [(s.next_try_at or 0) - s.since for s in backing_off] == pytest.approx([1, 2, 4])


async def test_nothing_of_an_ended_life_is_held_while_the_next_is_waited_for(
    supervisor_env: SupervisorEnv,
) -> None:
    """The traceback of an error references the child, which may be large."""

    class Large:
        async def start(self) -> None:
            remains.append(weakref.ref(self))

        async def run(self) -> None:
            raise Crash

        def stop(self) -> None: ...

    remains: list[weakref.ref[Large]] = []
    async with supervisor_env.running(
        supervisor_env.supervisor(supervisor_env.spec("a", factory=Large, expected=(Crash,)))
    ):
        await supervisor_env.clock.advance(0.5)
        assert supervisor_env.last_of("a").state is ChildState.BACKING_OFF
        gc.collect()
        assert [remain() for remain in remains] == [None]


@pytest.mark.parametrize(
    ("retry_after", "wait"), [(30.0, 31.0), (None, 1.0), (-5.0, 1.0), (math.inf, 1.0)]
)
async def test_an_error_may_ask_for_more_time(
    supervisor_env: SupervisorEnv, retry_after: float | None, wait: float
) -> None:
    spec = supervisor_env.spec("a", Run(serve_s=0.0, error=AskedToWait(retry_after)))
    async with supervisor_env.running(supervisor_env.supervisor(spec)):
        await supervisor_env.clock.advance(wait - 0.1)
        assert supervisor_env.runs == {"a": 1}
        await supervisor_env.clock.advance(0.1)
        assert supervisor_env.runs == {"a": 2}


async def test_a_crash_touches_no_sibling(supervisor_env: SupervisorEnv) -> None:
    specs = (
        supervisor_env.spec("a"),
        supervisor_env.spec("b", CRASHES, CRASHES),
        supervisor_env.spec("c"),
    )
    async with supervisor_env.running(supervisor_env.supervisor(*specs)):
        await supervisor_env.clock.advance(10)
        assert supervisor_env.runs == {"a": 1, "b": 3, "c": 1}


async def test_a_child_that_cancels_itself_is_restarted_and_nothing_else_is_cancelled(
    supervisor_env: SupervisorEnv,
) -> None:
    spec = supervisor_env.spec("a", Run(serve_s=1.0, error=asyncio.CancelledError()))
    async with supervisor_env.running(supervisor_env.supervisor(spec)) as task:
        await supervisor_env.clock.advance(1)
        assert supervisor_env.last_of("a").state is ChildState.BACKING_OFF
        assert supervisor_env.last_of("a").last_error == "CancelledError"
        await supervisor_env.clock.advance(1)
        assert supervisor_env.last_of("a").state is ChildState.RUNNING
        assert not task.done()


async def test_an_exception_outside_the_exception_family_is_a_crash_too(
    supervisor_env: SupervisorEnv,
) -> None:
    class Foreign(BaseException):
        """Like gevent's Timeout."""

    spec = supervisor_env.spec("a", Run(serve_s=1.0, error=Foreign("odd")))
    async with supervisor_env.running(supervisor_env.supervisor(spec)):
        await supervisor_env.clock.advance(2)
        assert supervisor_env.last_of("a").state is ChildState.RUNNING
        assert supervisor_env.last_of("a").last_error == "odd"


async def test_a_factory_that_raises_is_a_crash_of_the_child(supervisor_env: SupervisorEnv) -> None:
    def broken() -> ScriptedNever:
        raise Crash("no such part")

    async with supervisor_env.running(
        supervisor_env.supervisor(supervisor_env.spec("a", factory=broken))
    ):
        assert supervisor_env.last_of("a").state is ChildState.BACKING_OFF
        assert supervisor_env.last_of("a").last_error == "no such part"


class ScriptedNever:
    """A child that is never built."""

    async def start(self) -> None: ...

    async def run(self) -> None: ...

    def stop(self) -> None: ...


async def test_a_crash_is_one_report_with_all_the_facts(supervisor_env: SupervisorEnv) -> None:
    crash = Crash("boom")
    spec = supervisor_env.spec("a", Run(serve_s=3.0, error=crash))
    async with supervisor_env.running(supervisor_env.supervisor(spec, name="fleet")):
        await supervisor_env.clock.advance(3)
        assert supervisor_env.logged("child_crashed") == [
            {
                "event": "child_crashed",
                "log_level": "error",
                "supervisor": "fleet",
                "child_id": "a",
                "context": "run",
                "duration_s": 3.0,
                "attempt": 1,
                "decision": "RestartAfter",
                "delay_s": 1.0,
                "error_type": "Crash",
                "reason": "boom",
                "exc_info": crash,
            }
        ]
        assert supervisor_env.logged("child_ended") == []


async def test_an_expected_end_is_told_without_a_traceback(supervisor_env: SupervisorEnv) -> None:
    spec = supervisor_env.spec("a", Run(serve_s=0.0, error=Crash("dropped")), expected=(Crash,))
    async with supervisor_env.running(supervisor_env.supervisor(spec)):
        (told,) = supervisor_env.logged("child_ended")
        assert told["log_level"] == "info"
        assert told["reason"] == "dropped"
        assert "exc_info" not in told
        assert supervisor_env.logged("child_crashed") == []


def reported() -> Crash:
    """Return an error that another log line reports."""
    error = Crash("dropped")
    error.is_reported = True  # type: ignore[attr-defined] # see ServiceError
    return error


async def test_an_end_that_is_reported_elsewhere_is_no_news_until_it_leads_to_parking(
    supervisor_env: SupervisorEnv,
) -> None:
    runs = [Run(serve_s=0.0, error=reported()) for _ in range(6)]
    spec = supervisor_env.spec(
        "a",
        *runs,
        expected=(Crash,),
        intensity=RestartIntensity(max_restarts=3, period=3600.0),
        give_up=GiveUp.PARK,
        park_for=10.0,
    )
    async with supervisor_env.running(supervisor_env.supervisor(spec)):
        await supervisor_env.clock.advance(100)
        told = [
            (line["decision"], line["log_level"]) for line in supervisor_env.logged("child_ended")
        ]
    assert told[:5] == [
        *[("RestartAfter", "debug")] * 3,
        ("ParkFor", "info"),
        ("ParkFor", "debug"),
    ]


async def test_a_start_is_news_after_a_crash_and_a_stop_is_none(
    supervisor_env: SupervisorEnv,
) -> None:
    spec = supervisor_env.spec("a", Run(serve_s=1.0, error=Crash("boom")), Run())
    async with supervisor_env.running(supervisor_env.supervisor(spec)):
        await supervisor_env.clock.advance(10)
        starts = [
            (line["restarts"], line["log_level"]) for line in supervisor_env.logged("child_started")
        ]
        assert starts == [(0, "debug"), (1, "info")]
    assert [line["log_level"] for line in supervisor_env.logged("child_ended")] == ["debug"]


async def test_a_child_that_ends_unasked_is_news(supervisor_env: SupervisorEnv) -> None:
    spec = supervisor_env.spec("a", Run(serve_s=1.0), Run())
    async with supervisor_env.running(supervisor_env.supervisor(spec)):
        await supervisor_env.clock.advance(2)
        (told,) = supervisor_env.logged("child_ended")
        assert told["log_level"] == "info"


async def test_an_error_while_stopping_is_reported_and_not_followed_by_a_life(
    supervisor_env: SupervisorEnv,
) -> None:
    class FailsToDrain(ScriptedNever):
        def __init__(self) -> None:
            self._stopping = asyncio.Event()

        async def run(self) -> None:
            await self._stopping.wait()
            raise Crash("while draining")

        def stop(self) -> None:
            self._stopping.set()

    supervisor = supervisor_env.supervisor(supervisor_env.spec("a", factory=FailsToDrain))
    async with supervisor_env.running(supervisor) as task:
        supervisor.stop()
        await settle()
        assert task.done()
    assert [event["reason"] for event in supervisor_env.logged("child_crashed")] == [
        "while draining"
    ]
    assert supervisor_env.last_of("a").state is ChildState.STOPPED
