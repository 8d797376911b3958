"""How the fleet was over the last hour: pure, a point every ten seconds, for a picture.

Eleven states are too many for a glance: ready, recovering (it will be back by itself), parked. Beside
them the accounts that only a person can help.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from actors.bot_states import BotState
from actors.messages import BotReport

POINT_S: Final = 10
HOUR_S: Final = 3600


@dataclass(frozen=True, slots=True)
class FleetPoint:
    """The fleet at one moment: numbers of bots, and of accounts that wait for a person."""

    at: int  # UTC seconds
    ready: int
    recovering: int
    parked: int
    needs_you: int


class FleetHistory:
    """The last hour's points, oldest first."""

    def __init__(self) -> None:
        self._points: deque[FleetPoint] = deque(maxlen=HOUR_S // POINT_S)

    def add(self, at: float, bots: Iterable[BotReport], needs_you: int) -> None:
        """Put the fleet of this moment down, unless that was done a moment ago."""
        if self.is_due(at):
            self._points.append(point(at, bots, needs_you))

    def is_due(self, at: float) -> bool:
        """Whether it is time for another point."""
        return not self._points or int(at) - self._points[-1].at >= POINT_S

    def points(self) -> list[FleetPoint]:
        """Return them all."""
        return list(self._points)

    def latest(self) -> FleetPoint | None:
        """Return the newest, if there is one."""
        return self._points[-1] if self._points else None


def point(at: float, bots: Iterable[BotReport], needs_you: int) -> FleetPoint:
    """Count the bots."""
    counts = Counter(bot.state for bot in bots)
    ready, parked = counts[BotState.READY], counts[BotState.PARKED]
    return FleetPoint(
        at=int(at),
        ready=ready,
        recovering=counts.total() - ready - parked,
        parked=parked,
        needs_you=needs_you,
    )
