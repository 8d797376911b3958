"""Supervisor: starts children in order, restarts each by its spec, stops them in reverse order.

The strategy is one_for_one: a child's exit affects no sibling. A supervisor is itself a Child, so
supervisors nest.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

from structlog.typing import FilteringBoundLogger

from actors.clock import Clock
from supervisor.child import ChildSpec, ChildStatus, InvalidSpec
from supervisor.child_runner import ChildRunner, Observer


class UnknownChild(LookupError):
    """The supervisor has no child of this id."""

    def __init__(self, supervisor: str, child_id: str) -> None:
        self.supervisor = supervisor
        self.child_id = child_id
        super().__init__(f"supervisor {supervisor} has no child {child_id}")


class SupervisorStopped(RuntimeError):
    """The supervisor is stopping and accepts no more children."""

    def __init__(self, supervisor: str) -> None:
        self.supervisor = supervisor
        super().__init__(f"supervisor {supervisor} is stopping")


class Supervisor:
    """Starts, restarts and stops children. One instance runs once: `start`, then `run` to its end."""

    def __init__(
        self,
        name: str,
        specs: Sequence[ChildSpec],
        *,
        clock: Clock,
        rng: random.Random,
        observe: Observer,
        log: FilteringBoundLogger,
        stop_together: bool = False,
    ) -> None:
        """`observe` is called at each change of a child, on the loop; its errors are logged.

        `stop_together` stops all children at the same time, for children that do not depend on each
        other. Otherwise each child stops after the children that started later.

        Raises:
            InvalidSpec: two children have the same id.
        """
        _refuse_duplicates(name, specs)
        self._name = name
        self._specs = tuple(specs)
        self._clock = clock
        self._rng = rng
        self._observe = observe
        self._log = log
        self._stop_together = stop_together
        self._runners: dict[str, ChildRunner] = {}  # in the order of their start
        self._starting: ChildRunner | None = None
        self._over = asyncio.Event()  # a stop was requested, or a child escalated
        self._failure: BaseException | None = None

    # -- being a child -------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the children in order, each when the one before has started.

        A failed start is a crash: the child restarts by its spec, and the next child starts. `stop` or
        an escalation ends this at once; `run` then stops the children.
        """
        try:
            for spec in self._specs:
                if self._over.is_set():
                    return
                self._starting = self._add_runner(spec)
                await self._starting.settled.wait()
        except asyncio.CancelledError:
            await self._cancel_all()
            raise
        finally:
            self._starting = None

    async def run(self) -> None:
        """Supervise until stopped, then stop all children; none runs when this returns.

        If this is cancelled, it cancels the children.

        Raises:
            ChildGaveUp: a child failed beyond its intensity, and its spec says to escalate.
        """
        try:
            await self._over.wait()
            await self._stop_all()
        finally:
            await self._cancel_all()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Let `run` stop the children and return. Harmless when repeated."""
        self._over.set()
        if self._starting is not None:
            self._starting.settled.set()  # `start` stops waiting for it; `run` stops it

    # -- the children --------------------------------------------------------------------------

    def children(self) -> tuple[ChildStatus, ...]:
        """Return the status of every child, in the order of their start."""
        return tuple(runner.status for runner in self._runners.values())

    async def add(self, spec: ChildSpec) -> None:
        """Add a child, as the last one, and return when its first start is over.

        Raises:
            InvalidSpec: there is a child with this id.
            SupervisorStopped: the supervisor is stopping.
        """
        if self._over.is_set():
            raise SupervisorStopped(self._name)
        if spec.id in self._runners:
            raise InvalidSpec(f"supervisor {self._name} already has a child {spec.id}")
        await self._add_runner(spec).settled.wait()

    async def remove(self, child_id: str) -> None:
        """Stop one child, as its spec says, and remove it.

        Raises:
            UnknownChild: there is no child of this id.
        """
        runner = self.runner(child_id)
        runner.stop()
        await runner.ended()
        if self._runners.get(child_id) is runner:
            del self._runners[child_id]

    def runner(self, child_id: str) -> ChildRunner:
        """Return the runner of the child of this id, which can park, revive and wake it.

        Raises:
            UnknownChild: there is no child of this id.
        """
        try:
            return self._runners[child_id]
        except KeyError:
            raise UnknownChild(self._name, child_id) from None

    # -- inside --------------------------------------------------------------------------------

    def _add_runner(self, spec: ChildSpec) -> ChildRunner:
        runner = ChildRunner(
            spec,
            owner=self._name,
            clock=self._clock,
            rng=self._rng,
            observe=self._observe,
            log=self._log,
        )
        self._runners[spec.id] = runner
        runner.task.add_done_callback(self._on_runner_done)
        return runner

    def _on_runner_done(self, task: asyncio.Task[None]) -> None:
        """Stop with the error of a runner that failed; the first error counts."""
        if task.cancelled() or (failure := task.exception()) is None:
            return
        self._failure = self._failure or failure
        self.stop()

    async def _stop_all(self) -> None:
        """Stop every child; the time is limited because that of each runner is."""
        latest_first = tuple(reversed(self._runners.values()))
        if self._stop_together:
            for runner in latest_first:
                runner.stop()
        for runner in latest_first:
            runner.stop()
            await runner.ended()

    async def _cancel_all(self) -> None:
        """Cancel the runners that are left, if this supervisor itself is cancelled."""
        left = [runner.task for runner in self._runners.values() if not runner.task.done()]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)


def _refuse_duplicates(name: str, specs: Sequence[ChildSpec]) -> None:
    for child_id, times in Counter(spec.id for spec in specs).items():
        if times > 1:
            raise InvalidSpec(f"supervisor {name} has {times} children {child_id}")
