"""Clock protocol, exponential backoff and task helpers.

All instants are monotonic seconds of one clock; they mean nothing on another machine or after a reboot.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final, Protocol, TypeVar

R = TypeVar("R")
LARGEST_POWER: Final = 1023  # 2.0 ** 1024 does not fit a float


class Cancellable(Protocol):
    """A timer that can be cancelled."""

    def cancel(self) -> None:
        """Cancel it; harmless after it has fired."""


class Clock(Protocol):
    """Tells the time and wakes sleepers. Used on the asyncio loop only."""

    def now(self) -> float:
        """Return the present instant, in monotonic seconds."""

    def wall(self) -> float:
        """Return UTC seconds since 1970."""

    async def sleep(self, seconds: float) -> None:
        """Wait; zero or less only lets other tasks run."""

    def call_at(self, when: float, fn: Callable[[], object]) -> Cancellable:
        """Call `fn` on the loop at the instant `when`, or as soon as possible if that is past."""


def backoff_s(attempt: int, *, base: float, cap: float) -> float:
    """Return min(cap, base * 2 ** (attempt - 1)), the longest wait in seconds before `attempt` >= 1."""
    return min(cap, base * 2.0 ** min(attempt - 1, LARGEST_POWER))


@contextlib.asynccontextmanager
async def within(clock: Clock, seconds: float) -> AsyncIterator[None]:
    """Limit the time of the block.

    Raises:
        TimeoutError: the block took more than `seconds` of `clock`.
    """
    async with asyncio.timeout(None) as limit:
        timer = clock.call_at(clock.now() + seconds, lambda: limit.reschedule(0.0))
        try:
            yield
        finally:
            timer.cancel()


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel `task` and wait until it is done, whatever it raises."""
    task.cancel()
    await asyncio.wait({task})


class Tasks:
    """Background tasks; holds a reference to each, so that none is garbage collected."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, R], *, name: str) -> asyncio.Task[R]:
        """Run `work` in a task of its own."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def cancel(self) -> None:
        """Cancel all running tasks."""
        for task in self._tasks:
            task.cancel()

    async def finish(self) -> None:
        """Wait for all tasks, including those that start meanwhile."""
        while self._tasks:
            await asyncio.wait(self._tasks)
