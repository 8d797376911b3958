"""Scripted children, and an environment that supervises them in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
import random
from collections.abc import AsyncIterator, Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from structlog.testing import LogCapture
from structlog.typing import FilteringBoundLogger

from supervisor.child import (
    Backoff,
    Child,
    ChildSpec,
    ChildState,
    ChildStatus,
    GiveUp,
    Restart,
    RestartIntensity,
)
from supervisor.clock import first_of
from supervisor.supervisor import Supervisor
from support.fake_clock import FakeClock, settle


class Crash(Exception):
    """The error of scripted children."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run, in seconds; the default one serves until it is stopped and then ends at once."""

    start_s: float = 0.0
    start_error: BaseException | None = None
    serve_s: float = math.inf
    error: BaseException | None = None  # raised after `serve_s`; None returns
    drain_s: float = 0.0  # after a stop
    cancel_s: float = 0.0  # after a cancellation


SERVES = Run()
CRASHES_AT_START = Run(start_error=Crash("at start"))
CRASHES = Run(serve_s=0.0, error=Crash("at once"))
RETURNS = Run(serve_s=0.0)
HANGS_ON_STOP = Run(drain_s=math.inf)
IGNORES_CANCELLATION = Run(drain_s=math.inf, cancel_s=math.inf)


class ScriptedChild:
    """Acts out one `Run` and reports it to `note`: starting, then failed or serving, then ended."""

    def __init__(self, run: Run, clock: FakeClock, note: Callable[[str], None]) -> None:
        self._run = run
        self._clock = clock
        self._note = note
        self._stopping: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        self._note("starting")
        try:
            await self._get_ready()
        except BaseException:
            self._note("failed")
            raise

    async def _get_ready(self) -> None:
        await self._clock.sleep(self._run.start_s)
        if self._run.start_error is not None:
            raise self._run.start_error

    async def run(self) -> None:
        self._note("serving")
        try:
            await self._serve()
        except asyncio.CancelledError:
            await self._clock.sleep(self._run.cancel_s)
            raise
        finally:
            self._note("ended")

    async def _serve(self) -> None:
        await first_of(self._stopping, within=self._run.serve_s, clock=self._clock)
        if self._stopping.done():
            await self._clock.sleep(self._run.drain_s)
        elif self._run.error is not None:
            raise self._run.error

    def stop(self) -> None:
        if not self._stopping.done():
            self._note("stopping")
            self._stopping.set_result(None)


class TopJitter(random.Random):
    """Draws the largest jitter, so that every delay is its ceiling."""

    def random(self) -> float:
        return 1.0


def capturing_log() -> tuple[FilteringBoundLogger, list[MutableMapping[str, Any]]]:
    """Return a logger and the list of its events."""
    capture = LogCapture()
    log: FilteringBoundLogger = structlog.wrap_logger(
        structlog.PrintLogger(),
        processors=[capture],
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
    )
    return log, capture.entries


@dataclass
class SupervisorEnv:
    """A clock, the journal of the children and the statuses that the supervisor reported."""

    clock: FakeClock
    journal: list[tuple[str, str]] = field(default_factory=list)  # (child id, what)
    statuses: list[ChildStatus] = field(default_factory=list)
    runs: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.log, self.events = capturing_log()

    def spec(self, child_id: str, *runs: Run, **changes: Any) -> ChildSpec:
        """Return a spec for a child with these `runs` in turn, and then ones that serve."""
        coming = itertools.chain(runs, itertools.repeat(SERVES))

        def factory() -> Child:
            self.runs[child_id] = self.runs.get(child_id, 0) + 1
            return ScriptedChild(next(coming), self.clock, self._note(child_id))

        recipe: dict[str, Any] = {
            "id": child_id,
            "factory": factory,
            "restart": Restart.PERMANENT,
            "intensity": RestartIntensity(max_restarts=3, period=60.0),
            "backoff": Backoff(base=1.0, cap=8.0, stable_after=10.0),
            "grace": 5.0,
            "give_up": GiveUp.PARK,
            "park_for": 300.0,
        }
        return ChildSpec(**(recipe | changes))

    def supervisor(
        self, *specs: ChildSpec, name: str = "test", rng: random.Random | None = None, **more: Any
    ) -> Supervisor:
        return Supervisor(
            name,
            specs,
            clock=self.clock,
            rng=rng or TopJitter(),
            observe=self.statuses.append,
            log=self.log,
            **more,
        )

    @contextlib.asynccontextmanager
    async def running(self, supervisor: Supervisor) -> AsyncIterator[asyncio.Task[None]]:
        """Start and run `supervisor`, yield the task, then stop it and wait until it ends."""
        task = asyncio.create_task(start_and_run(supervisor), name="under test")
        await settle()
        try:
            yield task
        finally:
            supervisor.stop()
            await self.clock.advance(3600)
            assert task.done()
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not log it

    def what_happened(self, what: str) -> list[str]:
        """Return the ids to which `what` happened, in order."""
        return [child_id for child_id, happened in self.journal if happened == what]

    def states_of(self, child_id: str) -> Sequence[ChildState]:
        return [status.state for status in self.statuses if status.id == child_id]

    def last_of(self, child_id: str) -> ChildStatus:
        return next(status for status in reversed(self.statuses) if status.id == child_id)

    def logged(self, event: str) -> list[MutableMapping[str, Any]]:
        return [entry for entry in self.events if entry["event"] == event]

    def _note(self, child_id: str) -> Callable[[str], None]:
        return lambda what: self.journal.append((child_id, what))


async def start_and_run(supervisor: Supervisor) -> None:
    await supervisor.start()
    await supervisor.run()
