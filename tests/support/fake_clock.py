"""Virtual time for tests: it passes only through `advance`."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Sized
from functools import partial
from typing import Final

WALL_AT_ZERO: Final = 1_700_000_000.0  # UTC seconds at now() == 0; any past date
SETTLE_ROUNDS: Final = 100_000  # more than that: two tasks wake each other endlessly


class FakeClock:
    """Implements every clock protocol; see `SystemClock` for the contracts."""

    def __init__(self, now: float = 1000.0) -> None:
        self._now = now
        self._order = itertools.count()
        self._timers: list[tuple[float, int, _Timer]] = []

    def now(self) -> float:
        return self._now

    def wall(self) -> float:
        return WALL_AT_ZERO + self._now

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.call_at(self._now + seconds, partial(woken.set_result, None))
        try:
            await woken
        finally:
            timer.cancel()

    def call_at(self, when: float, fn: Callable[[], object]) -> _Timer | asyncio.Handle:
        if when <= self._now:
            return asyncio.get_running_loop().call_soon(fn)
        timer = _Timer(fn)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass: due sleepers and timers wake in order, each with tasks settled."""
        end = self._now + seconds
        await settle()
        while self._timers and self._timers[0][0] <= end:
            self._now, _, timer = heapq.heappop(self._timers)
            if not timer.cancelled:
                timer.fn()
                await settle()
        self._now = end

    @property
    def pending(self) -> int:
        """Number of armed timers; a forgotten one is a leak."""
        return sum(not timer.cancelled for _, _, timer in self._timers)


class _Timer:
    def __init__(self, fn: Callable[[], object]) -> None:
        self.fn = fn
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


async def settle() -> None:
    """Return when every task waits for something other than its turn.

    Sockets and threads are not waited for: virtual time is for code without them.
    """
    # Private, but the only exact way: a fixed number of sleeps depends on scheduling.
    ready: Sized = vars(asyncio.get_running_loop())["_ready"]
    for _ in range(SETTLE_ROUNDS):
        await asyncio.sleep(0)
        if not ready:
            return
    raise AssertionError("the tasks never come to rest")
