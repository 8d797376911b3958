"""Clock protocols and task helpers.

The composition root hands in the system's clock, tests hand in a fake one. All instants are
monotonic seconds of one clock; they mean nothing on another machine or after a reboot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol


class Cancellable(Protocol):
    """A timer that can be called off."""

    def cancel(self) -> None:
        """Call it off; harmless when it has fired already."""


class Clock(Protocol):
    """Tells the time and wakes sleepers. Used on the asyncio loop only."""

    def now(self) -> float:
        """Return the present instant, in monotonic seconds."""

    async def sleep(self, seconds: float) -> None:
        """Wait; zero or less only lets the other tasks run."""

    def call_at(self, when: float, fn: Callable[[], None]) -> Cancellable:
        """Call `fn` on the loop at the instant `when`, or as soon as possible if that is past."""


class WallClock(Clock, Protocol):
    """A clock that also knows the date."""

    def wall(self) -> float:
        """Return UTC seconds since 1970."""


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel `task` and wait until it is over, whatever it raises."""
    task.cancel()
    await asyncio.wait({task})


class Tasks:
    """Background tasks; holds a reference to each, so that none is garbage collected."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Let `work` go on by itself."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def cancel(self) -> None:
        """Cancel all that run now."""
        for task in self._tasks:
            task.cancel()

    async def finish(self) -> None:
        """Wait for all, also for those that are started meanwhile."""
        while self._tasks:
            await asyncio.wait(self._tasks)


def backoff_s(attempt: int, *, first: float, longest: float) -> float:
    """Return min(longest, first * 2 ** (attempt - 1)) seconds; `attempt` counts from 1."""
    return min(longest, first * 2.0 ** min(attempt - 1, 60))
