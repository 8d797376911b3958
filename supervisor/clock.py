"""SystemClock, the only code that reads the system's clocks, and waiting on futures with a time limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from actors.clock import Cancellable, Clock

# This clock also counts while the machine sleeps, as leases do; the plain monotonic clock does not.
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """The real time. `now` and `wall` are C functions: each request reads the clock some forty times."""

    # Monotonic seconds that include the machine's sleep.
    now = staticmethod(partial(time.clock_gettime, _CLOCK))
    # UTC seconds since 1970, for display. They may jump: never compute durations from them.
    wall = staticmethod(time.time)

    async def sleep(self, seconds: float) -> None:
        """Wait; zero or less only lets other tasks run."""
        await asyncio.sleep(seconds)

    def call_at(self, when: float, fn: Callable[[], object]) -> Cancellable:
        """Call `fn` on the loop at the instant `when`, or as soon as possible if that is past."""
        # Not loop.call_at: a loop may have a clock of its own, as uvloop does.
        return asyncio.get_running_loop().call_later(when - self.now(), fn)


async def first_of(*futures: asyncio.Future[Any], within: float, clock: Clock) -> None:
    """Return when the first of `futures` is done, at the latest after `within` seconds.

    Unlike `asyncio.wait_for` it cancels no future and raises no future's error: the caller reads them.
    """
    alarm: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    timer = clock.call_at(clock.now() + within, partial(alarm.set_result, None))
    try:
        await asyncio.wait({alarm, *futures}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        timer.cancel()
