"""Start in order, stop in reverse order and in limited time."""

from __future__ import annotations

import asyncio

import pytest
from support.fake_clock import settle
from support.scripted_child import (
    CRASHES_AT_START,
    HANGS_ON_STOP,
    SERVES,
    Crash,
    Run,
    SupervisorEnv,
    start_and_run,
)

from supervisor.child import ChildState
from supervisor.child_runner import CANCEL_S

pytestmark = pytest.mark.usefixtures("no_leaks")


async def test_children_start_in_order_each_after_the_one_before(
    supervisor_env: SupervisorEnv,
) -> None:
    slow = Run(start_s=2.0)
    supervisor = supervisor_env.supervisor(*(supervisor_env.spec(name, slow) for name in "abc"))
    async with supervisor_env.running(supervisor):
        assert supervisor_env.journal == [("a", "starting")]
        await supervisor_env.clock.advance(2)
        assert supervisor_env.journal == [("a", "starting"), ("a", "serving"), ("b", "starting")]
        await supervisor_env.clock.advance(4)
        assert supervisor_env.what_happened("serving") == ["a", "b", "c"]


async def test_children_stop_in_reverse_each_after_the_one_behind(
    supervisor_env: SupervisorEnv,
) -> None:
    slow = Run(drain_s=2.0)
    supervisor = supervisor_env.supervisor(*(supervisor_env.spec(name, slow) for name in "abc"))
    async with supervisor_env.running(supervisor) as task:
        supervisor.stop()
        await settle()
        assert supervisor_env.what_happened("stopping") == ["c"]
        await supervisor_env.clock.advance(6)
        assert supervisor_env.what_happened("ended") == ["c", "b", "a"]
        assert task.done()


async def test_a_fleet_of_equals_is_stopped_together(supervisor_env: SupervisorEnv) -> None:
    slow = Run(drain_s=4.0)
    supervisor = supervisor_env.supervisor(
        *(supervisor_env.spec(f"bot-{n}", slow) for n in range(300)), stop_together=True
    )
    async with supervisor_env.running(supervisor) as task:
        assert len(supervisor_env.what_happened("serving")) == 300
        supervisor.stop()
        await supervisor_env.clock.advance(4)
        assert task.done()


async def test_a_child_that_fails_to_start_does_not_keep_the_next_from_starting(
    supervisor_env: SupervisorEnv,
) -> None:
    supervisor = supervisor_env.supervisor(
        supervisor_env.spec("a", CRASHES_AT_START), supervisor_env.spec("b")
    )
    async with supervisor_env.running(supervisor):
        assert [status.state for status in supervisor.children()] == [
            ChildState.BACKING_OFF,
            ChildState.RUNNING,
        ]


async def test_a_child_that_outstays_its_grace_is_cancelled(supervisor_env: SupervisorEnv) -> None:
    supervisor = supervisor_env.supervisor(supervisor_env.spec("a", HANGS_ON_STOP, grace=5.0))
    async with supervisor_env.running(supervisor) as task:
        supervisor.stop()
        await supervisor_env.clock.advance(4.9)
        assert supervisor_env.what_happened("ended") == []
        await supervisor_env.clock.advance(0.1)
        assert supervisor_env.what_happened("ended") == ["a"]
        assert task.done()
    assert len(supervisor_env.logged("child_grace_exceeded")) == 1
    assert supervisor_env.logged("child_crashed") == []  # the supervisor cancelled it


async def test_a_child_that_ignores_cancellation_is_reported_and_left(
    supervisor_env: SupervisorEnv,
) -> None:
    stubborn = Run(drain_s=10_000.0, cancel_s=10_000.0)
    supervisor = supervisor_env.supervisor(
        supervisor_env.spec("a"), supervisor_env.spec("b", stubborn, grace=5.0)
    )
    async with supervisor_env.running(supervisor) as task:
        supervisor.stop()
        await supervisor_env.clock.advance(5 + CANCEL_S)
        assert task.done()
        assert supervisor_env.what_happened("ended") == ["a"]
    assert [event["child_id"] for event in supervisor_env.logged("child_stuck")] == ["b"]
    assert supervisor_env.last_of("b").last_error == "it ignores cancellation"
    await supervisor_env.clock.advance(20_000)  # until it ends, for a clean end of the test


async def test_stopping_twice_is_harmless(supervisor_env: SupervisorEnv) -> None:
    supervisor = supervisor_env.supervisor(supervisor_env.spec("a", Run(drain_s=1.0)))
    async with supervisor_env.running(supervisor) as task:
        supervisor.stop()
        await settle()
        supervisor.stop()
        await supervisor_env.clock.advance(1)
        assert task.done()
        supervisor.stop()
    assert supervisor_env.what_happened("stopping") == ["a"]


async def test_a_stop_during_the_start_starts_no_other_child(supervisor_env: SupervisorEnv) -> None:
    supervisor = supervisor_env.supervisor(
        supervisor_env.spec("a"),
        supervisor_env.spec("b", Run(start_s=2.0)),
        supervisor_env.spec("c"),
    )
    async with supervisor_env.running(supervisor) as task:
        supervisor.stop()
        await supervisor_env.clock.advance(2)
        assert task.done()
    assert supervisor_env.what_happened("starting") == ["a", "b"]
    assert supervisor_env.what_happened("ended") == ["b", "a"]
    assert ChildState.RUNNING not in supervisor_env.states_of("b")


async def test_a_start_that_never_ends_is_bounded_by_the_grace(
    supervisor_env: SupervisorEnv,
) -> None:
    supervisor = supervisor_env.supervisor(
        supervisor_env.spec("a", Run(start_s=10_000.0), grace=5.0)
    )
    async with supervisor_env.running(supervisor) as task:
        supervisor.stop()
        await supervisor_env.clock.advance(5)
        assert task.done()


async def test_a_stop_during_backoff_is_immediate(supervisor_env: SupervisorEnv) -> None:
    supervisor = supervisor_env.supervisor(supervisor_env.spec("a", CRASHES_AT_START))
    async with supervisor_env.running(supervisor) as task:
        supervisor.stop()
        await settle()
        assert task.done()
    assert supervisor_env.runs == {"a": 1}
    assert supervisor_env.clock.pending == 0


async def test_a_stop_before_the_start_starts_nothing(supervisor_env: SupervisorEnv) -> None:
    supervisor = supervisor_env.supervisor(supervisor_env.spec("a"))
    supervisor.stop()
    await start_and_run(supervisor)
    assert supervisor_env.journal == []


async def test_a_cancelled_run_cancels_the_children_and_leaves_none(
    supervisor_env: SupervisorEnv,
) -> None:
    supervisor = supervisor_env.supervisor(
        supervisor_env.spec("a", HANGS_ON_STOP), supervisor_env.spec("b")
    )
    async with supervisor_env.running(supervisor) as task:
        task.cancel()
        await settle()
        assert task.cancelled()
    assert sorted(supervisor_env.what_happened("ended")) == ["a", "b"]
    assert supervisor_env.what_happened("stopping") == []


async def test_a_cancelled_start_leaves_no_child(supervisor_env: SupervisorEnv) -> None:
    supervisor = supervisor_env.supervisor(
        supervisor_env.spec("a"), supervisor_env.spec("b", Run(start_s=5.0))
    )
    async with supervisor_env.running(supervisor) as task:
        task.cancel()
        await settle()
        assert task.cancelled()
    assert supervisor_env.what_happened("ended") == ["a"]
    assert [status.state for status in supervisor.children()] == [ChildState.STOPPED] * 2


async def test_a_cancelled_stop_cancels_who_is_still_draining(
    supervisor_env: SupervisorEnv,
) -> None:
    supervisor = supervisor_env.supervisor(
        supervisor_env.spec("a"), supervisor_env.spec("b", HANGS_ON_STOP)
    )
    async with supervisor_env.running(supervisor) as task:
        supervisor.stop()
        await settle()
        task.cancel()
        await settle()
        assert task.cancelled()
    assert sorted(supervisor_env.what_happened("ended")) == ["a", "b"]


async def test_a_child_whose_stop_raises_is_drained_and_cancelled_like_any_other(
    supervisor_env: SupervisorEnv,
) -> None:
    class Rude:
        async def start(self) -> None: ...

        async def run(self) -> None:
            await asyncio.get_running_loop().create_future()

        def stop(self) -> None:
            raise Crash("no")

    supervisor = supervisor_env.supervisor(
        supervisor_env.spec("a"), supervisor_env.spec("b", factory=Rude)
    )
    async with supervisor_env.running(supervisor) as task:
        supervisor.stop()
        await supervisor_env.clock.advance(5)
        assert task.done()
        assert task.exception() is None
    assert [event["child_id"] for event in supervisor_env.logged("child_stop_failed")] == ["b"]
    assert supervisor_env.what_happened("ended") == ["a"]


async def test_every_task_is_named_after_its_supervisor_and_child(
    supervisor_env: SupervisorEnv,
) -> None:
    supervisor = supervisor_env.supervisor(supervisor_env.spec("a"), name="fleet")
    async with supervisor_env.running(supervisor):
        names = {task.get_name() for task in asyncio.all_tasks()}
        assert {"fleet/a", "runner of fleet/a"} <= names


async def test_status_tells_every_state_of_a_life(supervisor_env: SupervisorEnv) -> None:
    async with supervisor_env.running(supervisor_env.supervisor(supervisor_env.spec("a", SERVES))):
        pass
    assert supervisor_env.states_of("a") == [
        ChildState.STARTING,
        ChildState.RUNNING,
        ChildState.STOPPING,
        ChildState.STOPPED,
    ]
