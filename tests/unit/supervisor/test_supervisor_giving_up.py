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
    world: SupervisorEnv,
) -> None:
    spec = world.spec("a", *[CRASHES_AT_START] * 5, intensity=TWICE, park_for=300.0)
    async with world.running(world.supervisor(spec)):
        await world.clock.advance(1 + 2)
        parked = world.last_of("a")
        assert parked.state is ChildState.PARKED
        assert parked.next_try_at == world.clock.now() + 300
        assert world.runs == {"a": 3}
        await world.clock.advance(300)
        assert world.runs == {"a": 4}
        assert world.last_of("a").state is ChildState.PARKED  # one run, not a burst
        await world.clock.advance(600)
        assert world.last_of("a").state is ChildState.RUNNING


async def test_a_stable_life_ends_the_parking(world: SupervisorEnv) -> None:
    runs = [*[CRASHES] * 3, Run(serve_s=10.0, error=Crash()), SERVES]
    spec = world.spec("a", *runs, intensity=TWICE, park_for=300.0)
    async with world.running(world.supervisor(spec)):
        await world.clock.advance(1 + 2 + 300 + 10)
        assert world.last_of("a").state is ChildState.BACKING_OFF
        await world.clock.advance(1)
        assert world.last_of("a").state is ChildState.RUNNING


async def test_parking_touches_no_sibling(world: SupervisorEnv) -> None:
    specs = (world.spec("a", *[CRASHES] * 3, intensity=TWICE), world.spec("b"))
    async with world.running(world.supervisor(*specs)) as task:
        await world.clock.advance(100)
        assert world.last_of("a").state is ChildState.PARKED
        assert world.last_of("b").state is ChildState.RUNNING
        assert not task.done()


async def test_a_stop_while_parked_is_immediate(world: SupervisorEnv) -> None:
    supervisor = world.supervisor(world.spec("a", CRASHES, intensity=NEVER))
    async with world.running(supervisor) as task:
        supervisor.stop()
        await settle()
        assert task.done()


async def test_an_escalating_child_fails_its_supervisor_after_the_others_have_stopped(
    world: SupervisorEnv,
) -> None:
    boom = Crash("boom")
    specs = (
        world.spec("a"),
        world.spec("b", Run(serve_s=1.0, error=boom), intensity=NEVER, give_up=GiveUp.ESCALATE),
        world.spec("c", Run(drain_s=2.0)),
    )
    async with world.running(world.supervisor(*specs)) as task:
        await world.clock.advance(1)
        assert not task.done()
        await world.clock.advance(2)
        failure = task.exception()
        assert isinstance(failure, ChildGaveUp)
        assert (failure.child_id, failure.last_error) == ("b", "boom")
        assert failure.__cause__ is boom
    assert world.what_happened("ended") == ["b", "c", "a"]


async def test_an_escalation_during_the_start_starts_no_other_child(world: SupervisorEnv) -> None:
    specs = (
        world.spec("a", CRASHES, intensity=NEVER, give_up=GiveUp.ESCALATE),
        world.spec("b", Run(start_s=5.0), grace=1.0),
        world.spec("c"),
    )
    async with world.running(world.supervisor(*specs)) as task:
        await world.clock.advance(1)
        assert isinstance(task.exception(), ChildGaveUp)
    assert world.what_happened("starting") == ["a", "b"]


async def test_of_two_escalations_in_one_moment_the_first_is_told(world: SupervisorEnv) -> None:
    storm = asyncio.Event()

    class Tree:
        """Serves until `storm` is set."""

        async def start(self) -> None: ...

        async def run(self) -> None:
            await storm.wait()
            raise Crash("the storm")

        def stop(self) -> None: ...

    specs = [
        world.spec(name, factory=Tree, intensity=NEVER, give_up=GiveUp.ESCALATE) for name in "ab"
    ]
    async with world.running(world.supervisor(*specs)) as task:
        storm.set()
        await settle()
        failure = task.exception()
        assert isinstance(failure, ChildGaveUp)
        assert failure.child_id == "a"
    assert [event["decision"] for event in world.logged("child_crashed")] == ["Escalate"] * 2
