"""ChildRunner: the restart loop of one child.

A ward is a loop in a task of its own: live, decide, wait, live again. Each life is a task too, for
three reasons: whatever it raises comes back as a value and not as an exception on its way through
the supervisor; a child that cancels itself cannot be taken for a supervisor that is cancelled; and a
child that ignores cancellation blocks no other task. A ward knows its spec, not its siblings.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, assert_never

from structlog.typing import FilteringBoundLogger

from supervisor.child import Child, ChildSpec, ChildState, ChildStatus, ServesLater
from supervisor.clock import Clock, first_of
from supervisor.restart import (
    Decision,
    Escalate,
    Exit,
    Finished,
    ParkFor,
    Past,
    Recalled,
    RestartAfter,
    decide,
)

CANCEL_S: Final = 5.0  # a cancelled child closes what it has open; one that needs longer ignores us

Observer = Callable[[ChildStatus], None]  # called at each change; what it raises is logged


class ChildGaveUp(Exception):
    """A child that its supervisor cannot do without failed more often than its spec allows."""

    def __init__(self, child_id: str, last_error: str | None) -> None:
        self.child_id = child_id
        self.last_error = last_error
        super().__init__(f"child {child_id} failed too often, last with: {last_error or 'nothing'}")


class ChildRunner:
    """One child's lives. Begins when it is made, on the loop; `task` ends when no life follows.

    The task fails with ChildGaveUp when the child escalates.
    """

    def __init__(
        self,
        spec: ChildSpec,
        *,
        owner: str,
        clock: Clock,
        rng: random.Random,
        observe: Observer,
        log: FilteringBoundLogger,
    ) -> None:
        self.status = ChildStatus(spec.id, ChildState.STARTING, since=clock.now())
        self.settled = asyncio.Event()  # set once no task has to wait for the first start any more
        self._spec = spec
        self._name = f"{owner}/{spec.id}"
        self._clock = clock
        self._rng = rng
        self._observe = observe
        self._log = log.bind(supervisor=owner, child_id=spec.id)
        self._past = Past()
        self._child: Child | None = None
        self._started_at: float | None = None  # clock seconds; None until `start` is done
        self._in_service_since: float | None = None  # of the life before, when it has ended
        self._stop_asked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Done when a wait or a life is cut short; True: the past is forgiven.
        self._recalled: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._is_held = False  # no life begins until `revive`
        self._is_woken = False  # during this life
        self._has_crashed = False  # the life before
        self._idle = asyncio.Event()  # no life goes on, but for one that ignores us
        self._idle.set()
        self.task = asyncio.create_task(self._supervise(), name=f"ward of {self._name}")

    def respec(self, spec: ChildSpec) -> None:
        """Go by another spec from the next wait, life or stop on; the id stays."""
        self._spec = spec

    def stop(self) -> None:
        """End the present life in good order, or the wait for the next. Harmless when repeated.

        `task` is done after grace + CANCEL_S seconds at the latest.
        """
        if not self._stop_asked.done():
            self._stop_asked.set_result(None)

    def revive(self) -> None:
        """End the wait for the next life and forgive the past; a life that goes on goes on."""
        self._is_held = False
        if self.status.state in (ChildState.BACKING_OFF, ChildState.PARKED):
            self._recall()

    def wake(self) -> None:
        """End a backoff now and begin the next one short; how often the child failed is remembered.

        A life on its way to service may have begun too early: if it fails, the next one begins at once.
        """
        if self.status.state is ChildState.BACKING_OFF:
            self._recall(forgive=False)
        else:
            self._is_woken = True

    async def park(self) -> None:
        """End the present life in good order, or the wait for the next; none begins until `revive`.

        Returns when no life goes on, after grace + CANCEL_S seconds at the latest.
        """
        self._is_held = True
        self._recall()
        await self._idle.wait()

    def _recall(self, *, forgive: bool = True) -> None:
        if not self._recalled.done():
            self._recalled.set_result(forgive)

    async def ended(self) -> None:
        """Wait until no life follows; never raises what `task` did."""
        await asyncio.wait({self.task})

    # -- lives, and the waits between them -----------------------------------------------------

    async def _supervise(self) -> None:
        try:
            await self._hold()
            while not self._stop_asked.done():
                self._recalled = asyncio.get_running_loop().create_future()
                ended = await self._live()
                decision = self._decide(ended)
                if isinstance(decision, Escalate):
                    raise ChildGaveUp(self._spec.id, _in_words(ended.error)) from ended.error
                is_due = self._is_woken and not ended.served_s
                del ended  # through its traceback it holds all that this life had
                match decision:
                    case RestartAfter() if is_due:
                        self._past = replace(self._past, attempt=0)
                    case RestartAfter(delay):
                        await self._pause(ChildState.BACKING_OFF, delay)
                    case ParkFor(delay):
                        await self._pause(ChildState.PARKED, delay)
                    case Finished():
                        return
                    case Recalled():
                        pass
                    case other:
                        assert_never(other)
                await self._hold()
                self.status = replace(self.status, restarts=self.status.restarts + 1)
        finally:
            self._idle.set()
            self._change(ChildState.STOPPED)

    async def _live(self) -> Exit:
        """Live once; a stop asks the life to end, and ends it if it does not."""
        self._started_at, self._is_woken = None, False
        self._idle.clear()
        self._change(ChildState.STARTING)
        life = asyncio.create_task(self._life(), name=self._name)
        try:
            await _first_done(life, self._stop_asked, self._recalled)
            if not life.done():
                await self._drain(life)
        finally:
            if not life.done():  # out of grace, or we are cancelled ourselves
                await self._cancel(life)
            self._idle.set()
            self._in_service_since, self._child = self._when_in_service(), None
        if not life.done():  # it ignores us: no other life beside it, so this one has to end first
            await _first_done(life, self._stop_asked)
        return self._exit_of(life)

    async def _life(self) -> None:
        """Live once, in a task of its own; nothing may suspend between `start` and `run`."""
        self._child = self._spec.factory()
        await self._child.start()
        self._started_at = self._clock.now()
        if self.status.state is ChildState.STARTING:  # and not stopping meanwhile
            self._change(ChildState.RUNNING)
            if self._has_crashed:
                self._log.info("child_started", restarts=self.status.restarts)
            else:
                self._log.debug("child_started", restarts=self.status.restarts)
        await self._child.run()

    async def _pause(self, state: ChildState, delay: float) -> None:
        self._change(state, next_try_at=self._clock.now() + delay)
        await first_of(self._recalled, self._stop_asked, within=delay, clock=self._clock)
        if self._recalled.done():
            self._past = Past() if self._recalled.result() else replace(self._past, attempt=0)

    async def _hold(self) -> None:
        """Wait for as long as the supervisor holds this child parked."""
        while self._is_held and not self._stop_asked.done():
            self._recalled = asyncio.get_running_loop().create_future()
            self._change(ChildState.PARKED)
            await _first_done(self._stop_asked, self._recalled)

    # -- ending a life -------------------------------------------------------------------------

    async def _drain(self, life: asyncio.Task[None]) -> None:
        self._change(ChildState.STOPPING)
        try:
            if self._child is not None:
                self._child.stop()
        except Exception as error:  # noqa: BLE001 - crash boundary: a child's bug is no bug of ours
            self._log.error("child_stop_failed", error_type=type(error).__name__, exc_info=error)
        await first_of(life, within=self._spec.grace, clock=self._clock)
        if not life.done():
            self._log.warning("child_grace_exceeded", grace_s=self._spec.grace)

    async def _cancel(self, life: asyncio.Task[None]) -> None:
        life.cancel()
        await first_of(life, within=CANCEL_S, clock=self._clock)
        if not life.done():
            self._note_error("it ignores cancellation")
            self._tell_observer()  # it may stay so for long
            self._log.error("child_stuck", waited_s=CANCEL_S)

    def _exit_of(self, life: asyncio.Task[None]) -> Exit:
        """Read a life's end as a value; being cancelled by our own stop is no failure."""
        error: BaseException | None = None
        if life.cancelled():
            asked = self._stop_asked.done() or self._recalled.done()
            error = None if asked else asyncio.CancelledError()
        elif life.done():
            error = life.exception()
        return Exit(error, served_s=self._seconds_since(self._in_service_since))

    def _note_error(self, words: str | None) -> None:
        self.status = replace(self.status, last_error=words, last_error_at=self._clock.now())

    def _when_in_service(self) -> float | None:
        child: object = self._child
        return child.in_service_since if isinstance(child, ServesLater) else self._started_at

    def _seconds_since(self, instant: float | None) -> float:
        return 0.0 if instant is None else self._clock.now() - instant

    def _decide(self, ended: Exit) -> Decision:
        if ended.error is not None:
            self._note_error(_in_words(ended.error))
        decision: Decision = Finished()
        was_parked = self._past.parked
        if not self._stop_asked.done() and self._recalled.done():
            self._past, decision = Past(), Recalled()
        elif not self._stop_asked.done():
            self._past, decision = decide(
                self._spec, self._past, ended, self._clock.now(), self._rng.random()
            )
        self._log_end(ended, decision, is_first_parking=self._past.parked and not was_parked)
        return decision

    # -- telling -------------------------------------------------------------------------------

    def _change(self, state: ChildState, *, next_try_at: float | None = None) -> None:
        self.status = replace(
            self.status, state=state, since=self._clock.now(), next_try_at=next_try_at
        )
        if state not in (ChildState.STARTING, ChildState.STOPPING):
            self.settled.set()
        self._tell_observer()

    def _tell_observer(self) -> None:
        try:
            self._observe(self.status)
        except Exception as error:  # noqa: BLE001 - an observer's bug is no end of a child
            kind = type(error).__name__
            self._log.error("observer_failed", observer="child", error_type=kind, exc_info=error)

    def _log_end(self, ended: Exit, decision: Decision, *, is_first_parking: bool) -> None:
        """Write the one crash report of a life, or the one line that it ended as it may.

        At debug are an end that was asked for, and one that the log has another line about.
        """
        log = self._log.bind(
            context="start" if self._started_at is None else "run",
            duration_s=self._seconds_since(self._started_at),
            attempt=self._past.attempt,
            decision=type(decision).__name__,
            delay_s=getattr(decision, "delay", None),
        )
        is_asked_for = isinstance(decision, Finished | Recalled)
        is_reported = getattr(ended.error, "is_reported", is_asked_for) is True
        if ended.error is not None:
            log = log.bind(error_type=type(ended.error).__name__, reason=_in_words(ended.error))
        self._has_crashed = not isinstance(ended.error, (type(None), *self._spec.expected))
        if self._has_crashed:
            log.error("child_crashed", exc_info=ended.error)
        elif is_reported and not is_first_parking:
            log.debug("child_ended")
        else:
            log.info("child_ended")


async def _first_done(*futures: asyncio.Future[Any]) -> None:
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)


def _in_words(error: BaseException | None) -> str | None:
    """Return an error's text, or its type where it has none to say."""
    if error is None:
        return None
    try:
        return str(error) or type(error).__name__
    except Exception:  # noqa: BLE001 - an error that cannot be shown must not end its supervisor, too
        return type(error).__name__
