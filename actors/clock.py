"""Time as an actor sees it: an argument, never a global.

The composition root hands in the system's clock, tests hand in a fake one. All instants are
monotonic seconds of one clock; they mean nothing on another machine or after a reboot.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


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
