"""The supervisor: starts its children in order, keeps each alive by its spec, stops them in reverse.

One for one: what happens to a child touches no sibling. A supervisor is a child itself, so trees
nest. It knows nothing of what its children are or do; all it ever learns is that one has ended.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

from structlog.typing import FilteringBoundLogger

from supervisor.child import ChildSpec, ChildStatus, InvalidSpec
from supervisor.child_runner import ChildRunner, Observer
from supervisor.clock import Clock


class UnknownChild(LookupError):
    """The supervisor has no child of this id."""

    def __init__(self, supervisor: str, child_id: str) -> None:
        self.supervisor = supervisor
        self.child_id = child_id
        super().__init__(f"supervisor {supervisor} has no child {child_id}")


class SupervisorStopped(RuntimeError):
    """The supervisor is stopping and takes in no more children."""

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
        """`observe` is called at each change of a child, on the loop; what it raises is logged.

        `stop_together` asks all children to stop at once, for a fleet of equals. Children that
        build on each other need the reverse order, in which one waits for the other; three hundred
        that do not would take three hundred times as long.

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
        self._wards: dict[str, ChildRunner] = {}  # in the order of their start
        self._starting: ChildRunner | None = None
        self._over = asyncio.Event()  # stop was asked for, or a child escalated
        self._failure: BaseException | None = None

    # -- being a child -------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the children in order, each when the one before has started.

        A child whose start fails is a crash like any other: it is tried again by its spec, and the
        next one starts. `stop`, or an escalation, ends this at once; `run` then stops the children.
        """
        try:
            for spec in self._specs:
                if self._over.is_set():
                    return
                self._starting = self._take_in(spec)
                await self._starting.settled.wait()
        except asyncio.CancelledError:
            await self._cancel_all()
            raise
        finally:
            self._starting = None

    async def run(self) -> None:
        """Supervise until stopped, then stop all children; none is left when this ends.

        Cancelled, it cancels the children instead of asking them to finish.

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
            self._starting.settled.set()  # `start` need not wait for it; `run` stops it in its turn

    # -- the children --------------------------------------------------------------------------

    def children(self) -> tuple[ChildStatus, ...]:
        """Return the status of every child, in the order of their start."""
        return tuple(ward.status for ward in self._wards.values())

    async def add(self, spec: ChildSpec) -> None:
        """Take in one more child, as the last, and return when its first start is over.

        Raises:
            InvalidSpec: there is a child with this id.
            SupervisorStopped: it would never be stopped again.
        """
        if self._over.is_set():
            raise SupervisorStopped(self._name)
        if spec.id in self._wards:
            raise InvalidSpec(f"supervisor {self._name} already has a child {spec.id}")
        await self._take_in(spec).settled.wait()

    async def remove(self, child_id: str) -> None:
        """Stop one child, as its spec says, and forget it.

        Raises:
            UnknownChild: there is none, or it is removed already.
        """
        ward = self._ward(child_id)
        ward.stop()
        await ward.ended()
        if self._wards.get(child_id) is ward:
            del self._wards[child_id]

    def respec(self, spec: ChildSpec) -> None:
        """Give the child of this id another spec; it holds from its next wait, life or stop on.

        Raises:
            UnknownChild: there is none of this id.
        """
        self._ward(spec.id).respec(spec)

    async def park(self, child_id: str) -> None:
        """End a child's life, as its spec says, and begin none until `revive`; return when it is over.

        Raises:
            UnknownChild: there is none of this id.
        """
        await self._ward(child_id).park()

    def revive(self, child_id: str) -> None:
        """Try a parked or backing-off child now, its failures forgotten; else do nothing.

        Raises:
            UnknownChild: there is none of this id.
        """
        self._ward(child_id).revive()

    def wake(self, child_id: str) -> None:
        """Try a child that backs off now, its failures remembered; else do nothing.

        Raises:
            UnknownChild: there is none of this id.
        """
        self._ward(child_id).wake()

    # -- inside --------------------------------------------------------------------------------

    def _ward(self, child_id: str) -> ChildRunner:
        try:
            return self._wards[child_id]
        except KeyError:
            raise UnknownChild(self._name, child_id) from None

    def _take_in(self, spec: ChildSpec) -> ChildRunner:
        ward = ChildRunner(
            spec,
            owner=self._name,
            clock=self._clock,
            rng=self._rng,
            observe=self._observe,
            log=self._log,
        )
        self._wards[spec.id] = ward
        ward.task.add_done_callback(self._on_ward_done)
        return ward

    def _on_ward_done(self, task: asyncio.Task[None]) -> None:
        """Fail with a ward that failed; the first one counts."""
        if task.cancelled() or (failure := task.exception()) is None:
            return
        self._failure = self._failure or failure
        self.stop()

    async def _stop_all(self) -> None:
        """Stop every child in good order; bounded, as each ward is."""
        latest_first = tuple(reversed(self._wards.values()))
        if self._stop_together:
            for ward in latest_first:
                ward.stop()
        for ward in latest_first:
            ward.stop()
            await ward.ended()

    async def _cancel_all(self) -> None:
        """Cancel what is still there; nothing, unless we are cancelled ourselves."""
        left = [ward.task for ward in self._wards.values() if not ward.task.done()]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)


def _refuse_duplicates(name: str, specs: Sequence[ChildSpec]) -> None:
    for child_id, times in Counter(spec.id for spec in specs).items():
        if times > 1:
            raise InvalidSpec(f"supervisor {name} has {times} children {child_id}")
