"""ChildRunner: the restart loop of one child.

The loop has a task of its own: run, decide, wait, run again. Each run is a task, too, so that its error
comes back as a value, a child that cancels itself is not mistaken for a cancelled supervisor, and a child
that ignores cancellation blocks no other task.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, assert_never

from structlog.typing import FilteringBoundLogger

from actors.clock import Clock
from supervisor.child import Child, ChildSpec, ChildState, ChildStatus, ServesLater
from supervisor.clock import first_of
from supervisor.restart import (
    Decision,
    Escalate,
    Finished,
    History,
    ParkFor,
    Recalled,
    RestartAfter,
    RunExit,
    decide,
)

# For a cancelled child to release what it holds; a slower one counts as stuck.
CANCEL_S: Final = 5.0

Observer = Callable[[ChildStatus], None]  # called at each change; its errors are logged


class ChildGaveUp(Exception):
    """A child that escalates failed more often than its spec allows."""

    def __init__(self, child_id: str, last_error: str | None) -> None:
        self.child_id = child_id
        self.last_error = last_error
        super().__init__(f"child {child_id} failed too often, last with: {last_error or 'nothing'}")


class ChildRunner:
    """Runs one child until no run follows. Starts when it is constructed, on the loop.

    `task` fails with ChildGaveUp when the child escalates.
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
        self.settled = asyncio.Event()  # the first start is over, or must not be waited for
        # May be replaced by one with the same id, which applies from the next wait, run or stop on.
        self.spec = spec
        self._name = f"{owner}/{spec.id}"
        self._clock = clock
        self._rng = rng
        self._observe = observe
        self._log = log.bind(supervisor=owner, child_id=spec.id)
        self._history = History()
        self._child: Child | None = None
        self._started_at: float | None = None  # clock seconds; None until `start` is done
        self._in_service_since: float | None = None  # of the last run, once it has ended
        self._stop_requested: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Done when a wait or a run is cut short; True: the history is cleared.
        self._recalled: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._is_held = False  # no run starts until `revive`
        self._is_woken = False  # during this run
        self._has_crashed = False  # in the last run
        self._idle = asyncio.Event()  # there is no run, except one that ignores cancellation
        self._idle.set()
        self.task = asyncio.create_task(self._supervise(), name=f"runner of {self._name}")

    def stop(self) -> None:
        """Stop the current run, or the wait for the next one. Harmless when repeated.

        `task` is done after grace + CANCEL_S seconds at the latest.
        """
        if not self._stop_requested.done():
            self._stop_requested.set_result(None)

    def revive(self) -> None:
        """End the wait for the next run and clear the history; a current run continues."""
        self._is_held = False
        if self.status.state in (ChildState.BACKING_OFF, ChildState.PARKED):
            self._recall()

    def wake(self) -> None:
        """End a backoff now and reset its length; the failures still count.

        If the current run fails before it is in service, the next one starts at once.
        """
        if self.status.state is ChildState.BACKING_OFF:
            self._recall(clear_history=False)
        else:
            self._is_woken = True

    async def park(self) -> None:
        """Stop the current run, or the wait for the next one; none starts until `revive`.

        Returns when the run has ended, after grace + CANCEL_S seconds at the latest.
        """
        self._is_held = True
        self._recall()
        await self._idle.wait()

    def _recall(self, *, clear_history: bool = True) -> None:
        if not self._recalled.done():
            self._recalled.set_result(clear_history)

    async def ended(self) -> None:
        """Wait until no run follows; never raises the error of `task`."""
        await asyncio.wait({self.task})

    # -- runs, and the waits between them ------------------------------------------------------

    async def _supervise(self) -> None:
        try:
            await self._hold()
            while not self._stop_requested.done():
                self._recalled = asyncio.get_running_loop().create_future()
                ended = await self._run_once()
                decision = self._decide(ended)
                if isinstance(decision, Escalate):
                    raise ChildGaveUp(self.spec.id, _text_of(ended.error)) from ended.error
                is_due = self._is_woken and not ended.served_s
                del ended  # its traceback references everything that the run held
                match decision:
                    case RestartAfter() if is_due:
                        self._history = replace(self._history, attempt=0)
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

    async def _run_once(self) -> RunExit:
        """Run the child once; a stop asks the run to end, and cancels it after the grace period."""
        self._started_at, self._is_woken = None, False
        self._idle.clear()
        self._change(ChildState.STARTING)
        run = asyncio.create_task(self._start_and_run(), name=self._name)
        try:
            await _first_done(run, self._stop_requested, self._recalled)
            if not run.done():
                await self._drain(run)
        finally:
            if not run.done():  # the grace period is over, or this runner is cancelled
                await self._cancel(run)
            self._idle.set()
            self._in_service_since, self._child = self._when_in_service(), None
        if not run.done():  # it ignores cancellation; two runs at once are not allowed
            await _first_done(run, self._stop_requested)
        return self._exit_of(run)

    async def _start_and_run(self) -> None:
        """Start and run a fresh child; there must be no suspension between `start` and `run`."""
        self._child = self.spec.factory()
        await self._child.start()
        self._started_at = self._clock.now()
        if self.status.state is ChildState.STARTING:  # else it is being stopped
            self._change(ChildState.RUNNING)
            if self._has_crashed:
                self._log.info("child_started", restarts=self.status.restarts)
            else:
                self._log.debug("child_started", restarts=self.status.restarts)
        await self._child.run()

    async def _pause(self, state: ChildState, delay: float) -> None:
        self._change(state, next_try_at=self._clock.now() + delay)
        await first_of(self._recalled, self._stop_requested, within=delay, clock=self._clock)
        if self._recalled.done():
            self._history = (
                History() if self._recalled.result() else replace(self._history, attempt=0)
            )

    async def _hold(self) -> None:
        """Wait while the child is held parked."""
        while self._is_held and not self._stop_requested.done():
            self._recalled = asyncio.get_running_loop().create_future()
            self._change(ChildState.PARKED)
            await _first_done(self._stop_requested, self._recalled)

    # -- ending a run --------------------------------------------------------------------------

    async def _drain(self, run: asyncio.Task[None]) -> None:
        self._change(ChildState.STOPPING)
        try:
            if self._child is not None:
                self._child.stop()
        except Exception as error:  # noqa: BLE001 - crash boundary: a child's bug must not end its runner
            self._log.error("child_stop_failed", error_type=type(error).__name__, exc_info=error)
        await first_of(run, within=self.spec.grace, clock=self._clock)
        if not run.done():
            self._log.warning("child_grace_exceeded", grace_s=self.spec.grace)

    async def _cancel(self, run: asyncio.Task[None]) -> None:
        run.cancel()
        await first_of(run, within=CANCEL_S, clock=self._clock)
        if not run.done():
            self._note_error("it ignores cancellation")
            self._notify_observer()  # this state may last
            self._log.error("child_stuck", waited_s=CANCEL_S)

    def _exit_of(self, run: asyncio.Task[None]) -> RunExit:
        """Return how the task ended; a cancellation by a stop of this runner is no failure."""
        error: BaseException | None = None
        if run.cancelled():
            requested = self._stop_requested.done() or self._recalled.done()
            error = None if requested else asyncio.CancelledError()
        elif run.done():
            error = run.exception()
        return RunExit(error, served_s=self._seconds_since(self._in_service_since))

    def _note_error(self, text: str | None) -> None:
        self.status = replace(self.status, last_error=text, last_error_at=self._clock.now())

    def _when_in_service(self) -> float | None:
        child: object = self._child
        return child.in_service_since if isinstance(child, ServesLater) else self._started_at

    def _seconds_since(self, instant: float | None) -> float:
        return 0.0 if instant is None else self._clock.now() - instant

    def _decide(self, ended: RunExit) -> Decision:
        if ended.error is not None:
            self._note_error(_text_of(ended.error))
        decision: Decision = Finished()
        was_parked = self._history.parked
        if not self._stop_requested.done() and self._recalled.done():
            self._history, decision = History(), Recalled()
        elif not self._stop_requested.done():
            self._history, decision = decide(
                self.spec, self._history, ended, self._clock.now(), self._rng.random()
            )
        self._log_end(ended, decision, is_first_parking=self._history.parked and not was_parked)
        return decision

    # -- status and log ------------------------------------------------------------------------

    def _change(self, state: ChildState, *, next_try_at: float | None = None) -> None:
        self.status = replace(
            self.status, state=state, since=self._clock.now(), next_try_at=next_try_at
        )
        if state not in (ChildState.STARTING, ChildState.STOPPING):
            self.settled.set()
        self._notify_observer()

    def _notify_observer(self) -> None:
        try:
            self._observe(self.status)
        except Exception as error:  # noqa: BLE001 - an observer's bug must not end a child
            kind = type(error).__name__
            self._log.error("observer_failed", observer="child", error_type=kind, exc_info=error)

    def _log_end(self, ended: RunExit, decision: Decision, *, is_first_parking: bool) -> None:
        """Log the crash report of a run, or one line for an expected end.

        The level is debug where the end was requested, or where another line of the log reports it.
        """
        log = self._log.bind(
            context="start" if self._started_at is None else "run",
            duration_s=self._seconds_since(self._started_at),
            attempt=self._history.attempt,
            decision=type(decision).__name__,
            delay_s=getattr(decision, "delay", None),
        )
        is_requested = isinstance(decision, Finished | Recalled)
        is_reported = getattr(ended.error, "is_reported", is_requested) is True
        if ended.error is not None:
            log = log.bind(error_type=type(ended.error).__name__, reason=_text_of(ended.error))
        self._has_crashed = not isinstance(ended.error, (type(None), *self.spec.expected))
        if self._has_crashed:
            log.error("child_crashed", exc_info=ended.error)
        elif is_reported and not is_first_parking:
            log.debug("child_ended")
        else:
            log.info("child_ended")


async def _first_done(*futures: asyncio.Future[Any]) -> None:
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)


def _text_of(error: BaseException | None) -> str | None:
    """Return an error's text, or its type where the text is empty."""
    if error is None:
        return None
    try:
        return str(error) or type(error).__name__
    except Exception:  # noqa: BLE001 - an error that cannot be shown must not end the runner
        return type(error).__name__
