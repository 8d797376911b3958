"""State machine test of a supervisor: order, time limits and cleanup.

Hypothesis chooses the runs of the children and the calls to the supervisor, in virtual time. After each
step the status of the supervisor must agree with the journal of the children. In the end it must stop in
limited time and leave no task except those that ignore cancellation.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from support.fake_clock import FakeClock, settle
from support.scripted_child import Crash, Run, SupervisorEnv, start_and_run

from supervisor.child import ChildState, GiveUp, Restart, RestartIntensity
from supervisor.child_runner import CANCEL_S, ChildGaveUp
from supervisor.supervisor import SupervisorStopped

FOREVER = float("inf")
GRACE_S = 5.0

S = ChildState
MAY_FOLLOW = {
    S.STARTING: {S.RUNNING, S.STOPPING, S.BACKING_OFF, S.PARKED, S.STOPPED},
    S.RUNNING: {S.STOPPING, S.BACKING_OFF, S.PARKED, S.STOPPED},
    S.BACKING_OFF: {S.STARTING, S.PARKED, S.STOPPED},
    S.PARKED: {S.STARTING, S.PARKED, S.STOPPED},
    # Stopped again while it does not end; parked, or parked and revived.
    S.STOPPING: {S.STOPPING, S.PARKED, S.STARTING, S.STOPPED},
    S.STOPPED: set[S](),
}

runs = st.builds(
    Run,
    start_s=st.sampled_from([0.0, 0.0, 1.0, 30.0]),
    start_error=st.sampled_from([None, None, None, Crash("start")]),
    serve_s=st.sampled_from([0.0, 5.0, 20.0, FOREVER, FOREVER]),
    error=st.sampled_from([None, Crash("run"), Crash("run"), asyncio.CancelledError()]),
    drain_s=st.sampled_from([0.0, 0.0, 3.0, FOREVER]),
    cancel_s=st.sampled_from([0.0, 0.0, 1.0, FOREVER]),
)
recipes = st.fixed_dictionaries(
    {
        "runs": st.lists(runs, max_size=5),
        "restart": st.sampled_from(Restart),
        "intensity": st.builds(RestartIntensity, st.integers(0, 3), st.just(60.0)),
        "give_up": st.sampled_from([GiveUp.PARK, GiveUp.PARK, GiveUp.ESCALATE]),
        "park_for": st.sampled_from([10.0, 300.0]),
    }
)


class Supervision(RuleBasedStateMachine):
    """The supervisor under test, driven from outside its loop."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.supervisor_env = SupervisorEnv(FakeClock())
        self.calls: list[asyncio.Task[None]] = []
        self.made = 0
        self.parked: set[str] = set()

    @initialize(
        first=st.lists(recipes, max_size=4), together=st.booleans(), seed=st.integers(0, 2**32)
    )
    def begin(self, first: list[dict[str, Any]], together: bool, seed: int) -> None:  # noqa: FBT001 - hypothesis passes by keyword
        async def begin() -> asyncio.Task[None]:
            task = asyncio.create_task(start_and_run(self.supervisor), name="under test")
            await settle()
            return task

        specs = [self.spec(recipe) for recipe in first]
        self.first = [spec.id for spec in specs]
        self.together = together
        self.supervisor = self.supervisor_env.supervisor(
            *specs,
            rng=random.Random(seed),
            stop_together=together,
        )
        self.task = self.runner.run(begin())

    def spec(self, recipe: dict[str, Any]) -> Any:
        self.made += 1
        recipe = dict(recipe)
        return self.supervisor_env.spec(
            f"child-{self.made}", *recipe.pop("runs"), grace=GRACE_S, **recipe
        )

    @rule(seconds=st.sampled_from([0.0, 0.5, 3.0, 5.0, 20.0, 300.0]))
    def time_passes(self, seconds: float) -> None:
        self.runner.run(self.supervisor_env.clock.advance(seconds))

    @rule(recipe=recipes)
    def a_child_is_added(self, recipe: dict[str, Any]) -> None:
        async def add() -> None:
            try:
                await self.supervisor.add(self.spec(recipe))
            except SupervisorStopped:
                assert self.failed

        self.send(add())

    @rule(which=st.integers(0, 100))
    def a_child_is_removed(self, which: int) -> None:
        if children := self.supervisor.children():
            self.send(self.supervisor.remove(children[which % len(children)].id))

    @rule(which=st.integers(0, 100))
    def a_child_is_revived(self, which: int) -> None:
        if children := self.supervisor.children():
            child_id = children[which % len(children)].id
            self.parked.discard(child_id)
            self.supervisor.runner(child_id).revive()
            self.runner.run(settle())

    @rule(which=st.integers(0, 100))
    def a_child_is_parked(self, which: int) -> None:
        if children := self.supervisor.children():
            self.send(self.park(children[which % len(children)].id))

    async def park(self, child_id: str) -> None:
        self.parked.add(child_id)
        await self.supervisor.runner(child_id).park()

    @invariant()
    def who_is_parked_stays_parked(self) -> None:
        for status in self.supervisor.children():
            if status.id in self.parked:
                assert status.state in (S.STOPPING, S.PARKED, S.STOPPED)

    def send(self, call: Coroutine[Any, Any, None]) -> None:
        async def go() -> None:
            self.calls.append(asyncio.create_task(call, name="call"))
            await settle()

        self.runner.run(go())

    @property
    def failed(self) -> bool:
        """Whether a child has escalated."""
        return any(e.get("decision") == "Escalate" for e in self.supervisor_env.events)

    @invariant()
    def no_child_runs_twice(self) -> None:
        serving: set[str] = set()
        for child_id, what in self.supervisor_env.journal:
            if what == "serving":
                assert child_id not in serving
                serving.add(child_id)
            elif what == "ended":
                serving.remove(child_id)

    @invariant()
    def what_is_told_is_what_happens(self) -> None:
        for status in self.supervisor.children():
            happened = [
                what for child_id, what in self.supervisor_env.journal if child_id == status.id
            ]
            match status.state:
                case ChildState.RUNNING:
                    assert happened[-1] == "serving"
                case ChildState.BACKING_OFF | ChildState.PARKED:
                    assert happened[-1] in ("ended", "failed")
                    if status.id not in self.parked:
                        assert (status.next_try_at or 0) >= self.supervisor_env.clock.now()
                case ChildState.STARTING:
                    assert happened[-1] == "starting"
                case _:
                    pass
            assert (status.next_try_at is None) == (
                status.state not in (ChildState.BACKING_OFF, ChildState.PARKED)
                or status.id in self.parked
            )
            assert status == self.supervisor_env.last_of(status.id)

    @invariant()
    def states_follow_each_other_as_they_may(self) -> None:
        for status in self.supervisor.children():
            states = self.supervisor_env.states_of(status.id)
            assert states[0] is ChildState.STARTING
            assert all(after in MAY_FOLLOW[before] for before, after in pairwise(states))

    @invariant()
    def each_starts_after_the_one_before(self) -> None:
        for before, after in pairwise(self.first):
            if (after, "starting") in self.supervisor_env.journal:
                earlier = self.supervisor_env.journal[
                    : self.supervisor_env.journal.index((after, "starting"))
                ]
                assert {(before, "serving"), (before, "failed")} & set(earlier)

    @invariant()
    def a_supervisor_ends_only_by_a_child_that_escalates(self) -> None:
        if self.task.done():
            assert isinstance(self.task.exception(), ChildGaveUp)
            assert self.failed

    def teardown(self) -> None:
        self.runner.run(self.stop_and_look())
        self.runner.close()
        super().teardown()

    async def stop_and_look(self) -> None:
        children = [status.id for status in self.supervisor.children()]
        leaving = set(self.supervisor_env.what_happened("stopping"))
        before = len(self.supervisor_env.journal)
        self.supervisor.stop()
        await self.supervisor_env.clock.advance(self.bound(len(children)))
        assert self.task.done(), "the stop took longer than its bound"
        assert all(call.done() for call in self.calls)
        for call in self.calls:
            call.result()
        self.look_at_order(children, leaving, before)
        await self.look_for_leaks()

    def bound(self, children: int) -> float:
        each = GRACE_S + CANCEL_S
        return each if self.together else each * children

    def look_at_order(self, children: list[str], leaving: set[str], before: int) -> None:
        """Children stop in reverse order, each after the next one has ended."""
        seen = self.supervisor_env.journal[before:]
        told = [name for name, what in seen if what == "stopping" and name not in leaving]
        assert told == [name for name in reversed(children) if name in told]
        if self.together:
            return
        for behind, name in pairwise(told):
            if (behind, "ended") in seen:  # else it ignores cancellation
                assert seen.index((behind, "ended")) < seen.index((name, "stopping"))

    async def look_for_leaks(self) -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        stuck = [event["child_id"] for event in self.supervisor_env.logged("child_stuck")]
        assert sorted(task.get_name() for task in left) == sorted(f"test/{name}" for name in stuck)
        for task in left:
            task.cancel()  # the second cancellation is not ignored
        await settle()
        assert not asyncio.all_tasks() - {asyncio.current_task()}
        assert self.supervisor_env.clock.pending == 0


@pytest.mark.timeout(300)  # seconds; shrinking a failure takes minutes
def test_children_are_started_restarted_parked_and_stopped_as_they_should() -> None:
    run_state_machine_as_test(
        Supervision,
        settings=settings(max_examples=150, stateful_step_count=25, deadline=None),
    )
