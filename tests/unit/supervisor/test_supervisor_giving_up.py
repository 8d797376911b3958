"""Parking and escalation of a child beyond its intensity."""

from __future__ import annotations

import asyncio

import pytest
from support.fake_clock import settle
from support.scripted_child import CRASHES, CRASHES_AT_START, SERVES, Crash, Run, SupervisorEnv

from supervisor.child import ChildState, GiveUp, RestartIntensity
from supervisor.child_runner import ChildGaveUp

pytestmark = pytest.mark.usefixtures("no_leaks")

TWICE = RestartIntensity(max_restarts=2, period=60.0)
NEVER = RestartIntensity(max_restarts=0, period=60.0)


async def test_a_child_beyond_its_intensity_is_parked_and_tried_slowly(
    supervisor_env: SupervisorEnv,
) -> None:
    spec = supervisor_env.spec("a", *[CRASHES_AT_START] * 5, intensity=TWICE, park_for=300.0)
    async with supervisor_env.running(supervisor_env.supervisor(spec)):
        await supervisor_env.clock.advance(1 + 2)
        parked = supervisor_env.last_of("a")
        assert parked.state is ChildState.PARKED
        assert parked.next_try_at == supervisor_env.clock.now() + 300
        assert supervisor_env.runs == {"a": 3}
        await supervisor_env.clock.advance(300)
        assert supervisor_env.runs == {"a": 4}
        assert supervisor_env.last_of("a").state is ChildState.PARKED  # one run, not a burst
        await supervisor_env.clock.advance(600)
        assert supervisor_env.last_of("a").state is ChildState.RUNNING


async def test_a_stable_life_ends_the_parking(supervisor_env: SupervisorEnv) -> None:
    runs = [*[CRASHES] * 3, Run(serve_s=10.0, error=Crash()), SERVES]
    spec = supervisor_env.spec("a", *runs, intensity=TWICE, park_for=300.0)
    async with supervisor_env.running(supervisor_env.supervisor(spec)):
        await supervisor_env.clock.advance(1 + 2 + 300 + 10)
        assert supervisor_env.last_of("a").state is ChildState.BACKING_OFF
        await supervisor_env.clock.advance(1)
        assert supervisor_env.last_of("a").state is ChildState.RUNNING


async def test_parking_touches_no_sibling(supervisor_env: SupervisorEnv) -> None:
    specs = (supervisor_env.spec("a", *[CRASHES] * 3, intensity=TWICE), supervisor_env.spec("b"))
    async with supervisor_env.running(supervisor_env.supervisor(*specs)) as task:
        await supervisor_env.clock.advance(100)
        assert supervisor_env.last_of("a").state is ChildState.PARKED
        assert supervisor_env.last_of("b").state is ChildState.RUNNING
        assert not task.done()


async def test_a_stop_while_parked_is_immediate(supervisor_env: SupervisorEnv) -> None:
    supervisor = supervisor_env.supervisor(supervisor_env.spec("a", CRASHES, intensity=NEVER))
    async with supervisor_env.running(supervisor) as task:
        supervisor.stop()
        await settle()
        assert task.done()


async def test_an_escalating_child_fails_its_supervisor_after_the_others_have_stopped(
    supervisor_env: SupervisorEnv,
) -> None:
    boom = Crash("boom")
    specs = (
        supervisor_env.spec("a"),
        supervisor_env.spec(
            "b", Run(serve_s=1.0, error=boom), intensity=NEVER, give_up=GiveUp.ESCALATE
        ),
        supervisor_env.spec("c", Run(drain_s=2.0)),
    )
    async with supervisor_env.running(supervisor_env.supervisor(*specs)) as task:
        await supervisor_env.clock.advance(1)
        assert not task.done()
        await supervisor_env.clock.advance(2)
        failure = task.exception()
        assert isinstance(failure, ChildGaveUp)
        assert (failure.child_id, failure.last_error) == ("b", "boom")
        assert failure.__cause__ is boom
    assert supervisor_env.what_happened("ended") == ["b", "c", "a"]


async def test_an_escalation_during_the_start_starts_no_other_child(
    supervisor_env: SupervisorEnv,
) -> None:
    specs = (
        supervisor_env.spec("a", CRASHES, intensity=NEVER, give_up=GiveUp.ESCALATE),
        supervisor_env.spec("b", Run(start_s=5.0), grace=1.0),
        supervisor_env.spec("c"),
    )
    async with supervisor_env.running(supervisor_env.supervisor(*specs)) as task:
        await supervisor_env.clock.advance(1)
        assert isinstance(task.exception(), ChildGaveUp)
    assert supervisor_env.what_happened("starting") == ["a", "b"]


async def test_of_two_escalations_in_one_moment_the_first_is_told(
    supervisor_env: SupervisorEnv,
) -> None:
    storm = asyncio.Event()

    class Tree:
        """Serves until `storm` is set."""

        async def start(self) -> None: ...

        async def run(self) -> None:
            await storm.wait()
            raise Crash("the storm")

        def stop(self) -> None: ...

    specs = [
        supervisor_env.spec(name, factory=Tree, intensity=NEVER, give_up=GiveUp.ESCALATE)
        for name in "ab"
    ]
    async with supervisor_env.running(supervisor_env.supervisor(*specs)) as task:
        storm.set()
        await settle()
        failure = task.exception()
        assert isinstance(failure, ChildGaveUp)
        assert failure.child_id == "a"
    assert [event["decision"] for event in supervisor_env.logged("child_crashed")] == [
        "Escalate"
    ] * 2
