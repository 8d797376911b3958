"""State of one session at the Game Coordinator."""

from __future__ import annotations

import asyncio


class GcSession:
    """Welcomed or not. `epoch` grows with every loss, so that late work knows it is late."""

    __slots__ = ("epoch", "is_queued", "is_welcomed", "pings_unanswered", "starts_at", "timer")

    def __init__(self) -> None:
        self.is_welcomed = False
        self.is_queued = False
        self.epoch = 0
        self.starts_at = 0.0  # loop seconds; hellos before it are lost
        self.pings_unanswered = 0
        self.timer: asyncio.TimerHandle | None = None

    def close(self) -> bool:
        """End it; tell whether there was one."""
        had, self.is_welcomed = self.is_welcomed, False
        self.is_queued = False
        self.epoch += 1
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        return had
