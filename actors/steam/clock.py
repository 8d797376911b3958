"""Time in the hub: the same clock as everywhere, plus the date that codes depend on."""

from __future__ import annotations

from typing import Protocol


class WallClock(Protocol):
    """Only what is safe to ask from any thread."""

    def now(self) -> float:
        """Return monotonic seconds."""

    def wall(self) -> float:
        """Return UTC seconds since 1970."""
