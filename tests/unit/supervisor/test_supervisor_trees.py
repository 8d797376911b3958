"""Nested supervisors."""

from __future__ import annotations

import math

import pytest
from support.fake_clock import settle
from support.scripted_child import CRASHES, HANGS_ON_STOP, SERVES, Crash, Run, SupervisorEnv

from supervisor.child import ChildSpec, ChildState, GiveUp, RestartIntensity
from supervisor.child_runner import ChildGaveUp

pytestmark = pytest.mark.usefixtures("no_leaks")

NEVER = RestartIntensity(max_restarts=0, period=60.0)


def nested(world: SupervisorEnv, *specs: ChildSpec, grace: float = math.inf) -> ChildSpec:
    return world.spec("fleet", factory=lambda: world.supervisor(*specs, name="fleet"), grace=grace)


async def test_a_tree_starts_and_stops_in_order(world: SupervisorEnv) -> None:
    fleet = nested(world, world.spec("b"), world.spec("c"))
    root = world.supervisor(world.spec("a"), fleet, world.spec("d"))
    async with world.running(root):
        assert world.what_happened("serving") == ["a", "b", "c", "d"]
    assert world.what_happened("ended") == ["d", "c", "b", "a"]


async def test_a_nested_supervisor_that_fails_is_restarted_as_a_whole(world: SupervisorEnv) -> None:
    fleet = nested(
        world,
        world.spec("b"),
        world.spec(
            "c",
            Run(serve_s=1.0, error=Crash()),
            SERVES,
            intensity=NEVER,
            give_up=GiveUp.ESCALATE,
        ),
    )
    async with world.running(world.supervisor(fleet)) as task:
        await world.clock.advance(1)
        assert world.last_of("fleet").state is ChildState.BACKING_OFF
        assert world.what_happened("ended") == ["c", "b"]
        await world.clock.advance(1)
        assert world.last_of("fleet").state is ChildState.RUNNING
        assert world.runs == {"b": 2, "c": 2}
        assert not task.done()


async def test_an_escalation_climbs_the_tree(world: SupervisorEnv) -> None:
    core = world.spec("c", CRASHES, intensity=NEVER, give_up=GiveUp.ESCALATE)
    fleet = world.spec(
        "fleet",
        factory=lambda: world.supervisor(core, name="fleet"),
        intensity=NEVER,
        give_up=GiveUp.ESCALATE,
    )
    async with world.running(world.supervisor(fleet)) as task:
        failure = task.exception()
        assert isinstance(failure, ChildGaveUp)
        assert failure.child_id == "fleet"
        assert "child c failed too often" in (failure.last_error or "")


async def test_a_stop_during_the_start_of_a_subtree_reaches_the_leaf(world: SupervisorEnv) -> None:
    fleet = nested(world, world.spec("b", Run(start_s=2.0)), world.spec("c"))
    root = world.supervisor(fleet, world.spec("d"))
    async with world.running(root) as task:
        root.stop()
        await world.clock.advance(2)
        assert task.done()
    assert world.what_happened("starting") == ["b"]


async def test_a_subtree_out_of_grace_is_cancelled_and_leaves_no_child(
    world: SupervisorEnv,
) -> None:
    fleet = nested(world, world.spec("b"), world.spec("c", HANGS_ON_STOP, grace=50.0), grace=5.0)
    root = world.supervisor(fleet)
    async with world.running(root) as task:
        root.stop()
        await world.clock.advance(5)
        await settle()
        assert task.done()
    assert sorted(world.what_happened("ended")) == ["b", "c"]
