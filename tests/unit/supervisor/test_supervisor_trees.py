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


def nested(supervisor_env: SupervisorEnv, *specs: ChildSpec, grace: float = math.inf) -> ChildSpec:
    return supervisor_env.spec(
        "fleet", factory=lambda: supervisor_env.supervisor(*specs, name="fleet"), grace=grace
    )


async def test_a_tree_starts_and_stops_in_order(supervisor_env: SupervisorEnv) -> None:
    fleet = nested(supervisor_env, supervisor_env.spec("b"), supervisor_env.spec("c"))
    root = supervisor_env.supervisor(supervisor_env.spec("a"), fleet, supervisor_env.spec("d"))
    async with supervisor_env.running(root):
        assert supervisor_env.what_happened("serving") == ["a", "b", "c", "d"]
    assert supervisor_env.what_happened("ended") == ["d", "c", "b", "a"]


async def test_a_nested_supervisor_that_fails_is_restarted_as_a_whole(
    supervisor_env: SupervisorEnv,
) -> None:
    fleet = nested(
        supervisor_env,
        supervisor_env.spec("b"),
        supervisor_env.spec(
            "c",
            Run(serve_s=1.0, error=Crash()),
            SERVES,
            intensity=NEVER,
            give_up=GiveUp.ESCALATE,
        ),
    )
    async with supervisor_env.running(supervisor_env.supervisor(fleet)) as task:
        await supervisor_env.clock.advance(1)
        assert supervisor_env.last_of("fleet").state is ChildState.BACKING_OFF
        assert supervisor_env.what_happened("ended") == ["c", "b"]
        await supervisor_env.clock.advance(1)
        assert supervisor_env.last_of("fleet").state is ChildState.RUNNING
        assert supervisor_env.runs == {"b": 2, "c": 2}
        assert not task.done()


async def test_an_escalation_climbs_the_tree(supervisor_env: SupervisorEnv) -> None:
    core = supervisor_env.spec("c", CRASHES, intensity=NEVER, give_up=GiveUp.ESCALATE)
    fleet = supervisor_env.spec(
        "fleet",
        factory=lambda: supervisor_env.supervisor(core, name="fleet"),
        intensity=NEVER,
        give_up=GiveUp.ESCALATE,
    )
    async with supervisor_env.running(supervisor_env.supervisor(fleet)) as task:
        failure = task.exception()
        assert isinstance(failure, ChildGaveUp)
        assert failure.child_id == "fleet"
        assert "child c failed too often" in (failure.last_error or "")


async def test_a_stop_during_the_start_of_a_subtree_reaches_the_leaf(
    supervisor_env: SupervisorEnv,
) -> None:
    fleet = nested(
        supervisor_env, supervisor_env.spec("b", Run(start_s=2.0)), supervisor_env.spec("c")
    )
    root = supervisor_env.supervisor(fleet, supervisor_env.spec("d"))
    async with supervisor_env.running(root) as task:
        root.stop()
        await supervisor_env.clock.advance(2)
        assert task.done()
    assert supervisor_env.what_happened("starting") == ["b"]


async def test_a_subtree_out_of_grace_is_cancelled_and_leaves_no_child(
    supervisor_env: SupervisorEnv,
) -> None:
    fleet = nested(
        supervisor_env,
        supervisor_env.spec("b"),
        supervisor_env.spec("c", HANGS_ON_STOP, grace=50.0),
        grace=5.0,
    )
    root = supervisor_env.supervisor(fleet)
    async with supervisor_env.running(root) as task:
        root.stop()
        await supervisor_env.clock.advance(5)
        await settle()
        assert task.done()
    assert sorted(supervisor_env.what_happened("ended")) == ["b", "c"]
