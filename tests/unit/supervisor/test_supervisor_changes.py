"""Adding, removing, parking and reviving children of a running supervisor."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from support.fake_clock import settle
from support.scripted_child import (
    CRASHES,
    CRASHES_AT_START,
    IGNORES_CANCELLATION,
    SERVES,
    Crash,
    Run,
    SupervisorEnv,
)

from supervisor.child import ChildState, InvalidSpec, RestartIntensity
from supervisor.supervisor import SupervisorStopped, UnknownChild

pytestmark = pytest.mark.usefixtures("no_leaks")


async def test_an_added_child_is_started_and_is_the_first_to_be_stopped(
    supervisor_env: SupervisorEnv,
) -> None:
    supervisor = supervisor_env.supervisor(supervisor_env.spec("a"))
    async with supervisor_env.running(supervisor):
        await supervisor.add(supervisor_env.spec("b"))
        assert [status.state for status in supervisor.children()] == [ChildState.RUNNING] * 2
    assert supervisor_env.what_happened("ended") == ["b", "a"]


async def test_adding_returns_when_the_first_start_failed(supervisor_env: SupervisorEnv) -> None:
    supervisor = supervisor_env.supervisor()
    async with supervisor_env.running(supervisor):
        await supervisor.add(supervisor_env.spec("a", CRASHES_AT_START))
        assert supervisor_env.last_of("a").state is ChildState.BACKING_OFF


async def test_a_removed_child_drains_and_is_forgotten(supervisor_env: SupervisorEnv) -> None:
    supervisor = supervisor_env.supervisor(supervisor_env.spec("a"), supervisor_env.spec("b"))
    async with supervisor_env.running(supervisor):
        await supervisor.remove("a")
        assert supervisor_env.journal[-2:] == [("a", "stopping"), ("a", "ended")]
        assert [status.id for status in supervisor.children()] == ["b"]
        assert supervisor_env.last_of("a").state is ChildState.STOPPED
        await supervisor.add(supervisor_env.spec("a"))
        assert [status.id for status in supervisor.children()] == ["b", "a"]


async def test_a_backing_off_child_can_be_removed(supervisor_env: SupervisorEnv) -> None:
    supervisor = supervisor_env.supervisor(supervisor_env.spec("a", CRASHES_AT_START))
    async with supervisor_env.running(supervisor):
        await supervisor.remove("a")
        assert supervisor.children() == ()
        assert supervisor_env.clock.pending == 0


@pytest.mark.parametrize("max_restarts", [0, 3])
async def test_a_waiting_child_is_revived_at_once_with_a_clean_slate(
    supervisor_env: SupervisorEnv, max_restarts: int
) -> None:
    intensity = RestartIntensity(max_restarts=max_restarts, period=60.0)
    supervisor = supervisor_env.supervisor(
        supervisor_env.spec("a", CRASHES, SERVES, intensity=intensity)
    )
    async with supervisor_env.running(supervisor):
        waiting = ChildState.BACKING_OFF if max_restarts else ChildState.PARKED
        assert supervisor_env.last_of("a").state is waiting
        supervisor.runner("a").revive()
        supervisor.runner("a").revive()
        await settle()
        assert supervisor_env.last_of("a").state is ChildState.RUNNING
    assert supervisor_env.clock.pending == 0


async def test_reviving_forgets_the_failures(supervisor_env: SupervisorEnv) -> None:
    runs = [CRASHES] * 4
    intensity = RestartIntensity(max_restarts=1, period=60.0)
    supervisor = supervisor_env.supervisor(supervisor_env.spec("a", *runs, intensity=intensity))
    async with supervisor_env.running(supervisor):
        await supervisor_env.clock.advance(1)
        assert supervisor_env.last_of("a").state is ChildState.PARKED
        supervisor.runner("a").revive()
        await settle()
        assert supervisor_env.last_of("a").state is ChildState.BACKING_OFF


async def test_reviving_a_running_child_changes_nothing(supervisor_env: SupervisorEnv) -> None:
    supervisor = supervisor_env.supervisor(supervisor_env.spec("a", Run(serve_s=5.0)))
    async with supervisor_env.running(supervisor):
        supervisor.runner("a").revive()
        await supervisor_env.clock.advance(5)
        assert supervisor_env.last_of("a").state is ChildState.BACKING_OFF


async def test_a_woken_child_is_tried_at_once_with_its_failures_remembered(
    supervisor_env: SupervisorEnv,
) -> None:
    intensity = RestartIntensity(max_restarts=3, period=60.0)
    supervisor = supervisor_env.supervisor(
        supervisor_env.spec("a", *[CRASHES] * 9, intensity=intensity)
    )
    async with supervisor_env.running(supervisor):
        waits = []
        for runs in range(1, 4):
            assert supervisor_env.runs == {"a": runs}
            status = supervisor_env.last_of("a")
            assert status.state is ChildState.BACKING_OFF
            assert status.next_try_at is not None
            waits.append(status.next_try_at - supervisor_env.clock.now())
            supervisor.runner("a").wake()
            supervisor.runner("a").wake()
            await settle()
        assert len(set(waits)) == 1  # each backoff is the first of its series
        assert supervisor_env.last_of("a").state is ChildState.PARKED
    assert supervisor_env.clock.pending == 0


async def test_a_child_woken_on_its_way_to_service_is_tried_again_at_once_if_it_fails(
    supervisor_env: SupervisorEnv,
) -> None:
    late = Run(start_s=2.0, start_error=Crash("begun too early"))
    specs = [
        supervisor_env.spec("a", CRASHES, late, late),
        supervisor_env.spec("b", Run(serve_s=2.0)),
    ]
    supervisor = supervisor_env.supervisor(*specs)
    async with supervisor_env.running(supervisor):
        supervisor.runner("a").wake()
        await settle()
        for name in ("a", "b"):
            supervisor.runner(name).wake()
        await supervisor_env.clock.advance(2)
        states = {name: supervisor_env.last_of(name).state for name in ("a", "b")}
        assert states == {"a": ChildState.STARTING, "b": ChildState.BACKING_OFF}
        await supervisor_env.clock.advance(2)
        assert supervisor_env.last_of("a").state is ChildState.BACKING_OFF  # one wake, one run
        assert supervisor_env.runs["a"] == 3


async def test_only_a_child_that_backs_off_is_woken(supervisor_env: SupervisorEnv) -> None:
    intensity = RestartIntensity(max_restarts=0, period=60.0)
    specs = [
        supervisor_env.spec("failing", CRASHES, SERVES, intensity=intensity),
        supervisor_env.spec("held", CRASHES, SERVES),
        supervisor_env.spec("busy"),
    ]
    supervisor = supervisor_env.supervisor(*specs)
    async with supervisor_env.running(supervisor):
        await supervisor.runner("held").park()
        for name in ("failing", "held", "busy"):
            supervisor.runner(name).wake()
        await settle()
        states = {name: supervisor_env.last_of(name).state for name in ("failing", "held", "busy")}
        assert states == {
            "failing": ChildState.PARKED,
            "held": ChildState.PARKED,
            "busy": ChildState.RUNNING,
        }
        assert supervisor_env.runs == {"failing": 1, "held": 1, "busy": 1}


async def test_unknown_children_are_refused_by_name(supervisor_env: SupervisorEnv) -> None:
    supervisor = supervisor_env.supervisor(name="fleet")
    async with supervisor_env.running(supervisor):
        with pytest.raises(UnknownChild, match="supervisor fleet has no child x"):
            supervisor.runner("x").revive()
        with pytest.raises(UnknownChild):
            supervisor.runner("x").wake()
        with pytest.raises(UnknownChild):
            await supervisor.remove("x")
        with pytest.raises(UnknownChild):
            await supervisor.runner("x").park()


async def test_the_same_id_twice_is_refused(supervisor_env: SupervisorEnv) -> None:
    with pytest.raises(InvalidSpec, match="2 children a"):
        supervisor_env.supervisor(supervisor_env.spec("a"), supervisor_env.spec("a"))
    supervisor = supervisor_env.supervisor(supervisor_env.spec("a"))
    async with supervisor_env.running(supervisor):
        with pytest.raises(InvalidSpec, match="already has a child a"):
            await supervisor.add(supervisor_env.spec("a"))


async def test_a_stopping_supervisor_takes_no_child_in(supervisor_env: SupervisorEnv) -> None:
    supervisor = supervisor_env.supervisor()
    supervisor.stop()
    with pytest.raises(SupervisorStopped):
        await supervisor.add(supervisor_env.spec("a"))


async def test_a_stop_while_a_child_is_added_or_removed_stops_it_too(
    supervisor_env: SupervisorEnv,
) -> None:
    supervisor = supervisor_env.supervisor(supervisor_env.spec("a", Run(drain_s=2.0)))
    async with supervisor_env.running(supervisor) as task:
        removing = asyncio.create_task(supervisor.remove("a"))
        adding = asyncio.create_task(supervisor.add(supervisor_env.spec("b", Run(start_s=2.0))))
        await settle()
        supervisor.stop()
        await supervisor_env.clock.advance(2)
        assert task.done()
        await removing
        await adding
    assert sorted(supervisor_env.what_happened("ended")) == ["a", "b"]


async def test_another_spec_holds_from_the_next_stop_on(supervisor_env: SupervisorEnv) -> None:
    slow = Run(drain_s=20.0)
    supervisor = supervisor_env.supervisor(supervisor_env.spec("a", slow))
    async with supervisor_env.running(supervisor):
        supervisor.runner("a").spec = replace(supervisor_env.spec("a", slow), grace=60.0)
        removing = asyncio.create_task(supervisor.remove("a"))
        await settle()
        await supervisor_env.clock.advance(20.0)
        await removing
        assert supervisor_env.journal[-1] == ("a", "ended")


async def test_another_spec_holds_from_the_next_life_on(supervisor_env: SupervisorEnv) -> None:
    supervisor = supervisor_env.supervisor(supervisor_env.spec("a", CRASHES_AT_START))
    async with supervisor_env.running(supervisor):
        supervisor.runner("a").spec = supervisor_env.spec("a", SERVES)
        supervisor.runner("a").revive()
        await settle()
        assert supervisor_env.last_of("a").state is ChildState.RUNNING


async def test_an_unknown_child_cannot_be_respecced(supervisor_env: SupervisorEnv) -> None:
    supervisor = supervisor_env.supervisor()
    async with supervisor_env.running(supervisor):
        with pytest.raises(UnknownChild):
            supervisor.runner("a").spec = supervisor_env.spec("a")


async def test_a_parked_child_drains_and_stays_away_until_it_is_revived(
    supervisor_env: SupervisorEnv,
) -> None:
    supervisor = supervisor_env.supervisor(
        supervisor_env.spec("a", Run(drain_s=2.0)), supervisor_env.spec("b")
    )
    async with supervisor_env.running(supervisor):
        parking = asyncio.create_task(supervisor.runner("a").park())
        await settle()
        assert supervisor_env.last_of("a").state is ChildState.STOPPING
        assert not parking.done()
        await supervisor_env.clock.advance(2)
        await parking
        await supervisor_env.clock.advance(100_000)
        assert supervisor_env.last_of("a").state is ChildState.PARKED
        assert supervisor_env.last_of("a").next_try_at is None
        assert supervisor_env.runs == {"a": 1, "b": 1}
        supervisor.runner("a").revive()
        await settle()
        assert supervisor_env.last_of("a").state is ChildState.RUNNING
        assert supervisor_env.last_of("a").restarts == 1
    assert supervisor_env.clock.pending == 0


async def test_a_waiting_child_is_parked_at_once(supervisor_env: SupervisorEnv) -> None:
    supervisor = supervisor_env.supervisor(supervisor_env.spec("a", CRASHES))
    async with supervisor_env.running(supervisor):
        assert supervisor_env.last_of("a").state is ChildState.BACKING_OFF
        await supervisor.runner("a").park()
        await supervisor_env.clock.advance(100_000)
        assert supervisor_env.last_of("a").state is ChildState.PARKED
        assert supervisor_env.runs == {"a": 1}


async def test_a_child_revived_while_it_drains_lives_again_when_it_has(
    supervisor_env: SupervisorEnv,
) -> None:
    supervisor = supervisor_env.supervisor(supervisor_env.spec("a", Run(drain_s=2.0)))
    async with supervisor_env.running(supervisor):
        parking = asyncio.create_task(supervisor.runner("a").park())
        await settle()
        supervisor.runner("a").revive()
        await supervisor_env.clock.advance(2)
        await parking
        assert supervisor_env.last_of("a").state is ChildState.RUNNING
        assert supervisor_env.runs == {"a": 2}


async def test_beside_a_life_that_ignores_everything_no_other_begins(
    supervisor_env: SupervisorEnv,
) -> None:
    supervisor = supervisor_env.supervisor(supervisor_env.spec("a", IGNORES_CANCELLATION))
    async with supervisor_env.running(supervisor):
        parking = asyncio.create_task(supervisor.runner("a").park())
        await supervisor_env.clock.advance(10)  # the grace period and the time for a cancellation
        await parking
        supervisor.runner("a").revive()
        await supervisor_env.clock.advance(100)
        assert supervisor_env.runs == {"a": 1}
        assert len(supervisor_env.logged("child_stuck")) == 1
    stuck = next(task for task in asyncio.all_tasks() if task.get_name() == "test/a")
    stuck.cancel()
    await settle()
