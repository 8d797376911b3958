"""Fleet and request history of the last hour, in memory of constant size."""

from __future__ import annotations

import bisect
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from actors.bot.messages import BotReport
from actors.bot.states import BotState

POINT_S: Final = 10
HOUR_S: Final = 3600


@dataclass(frozen=True, slots=True)
class FleetPoint:
    """The fleet at one moment: bots in three groups of states, and accounts that need an operator."""

    at: int  # UTC seconds
    ready: int
    recovering: int
    parked: int
    needs_you: int


class FleetHistory:
    """The points of the last hour, oldest first."""

    def __init__(self) -> None:
        self.points: deque[FleetPoint] = deque(maxlen=HOUR_S // POINT_S)

    def add(self, at: float, bots: Iterable[BotReport], needs_you: int) -> None:
        """Count the bots and add a point, if one is due."""
        if self.is_due(at):
            counts = Counter(bot.state for bot in bots)
            ready, parked = counts[BotState.READY], counts[BotState.PARKED]
            recovering = counts.total() - ready - parked
            self.points.append(FleetPoint(int(at), ready, recovering, parked, needs_you))

    def is_due(self, at: float) -> bool:
        """Return whether another point is due."""
        return not self.points or int(at) - self.points[-1].at >= POINT_S


MINUTE_S: Final = 60
MINUTES: Final = 60
# Upper bounds of the latency bins in seconds: from 1 ms to 90 s, each 25 % above the one before.
BOUNDS: Final = tuple(0.001 * 1.25**power for power in range(52))


@dataclass(frozen=True, slots=True)
class MinuteReport:
    """One minute. Latencies in seconds; None without requests."""

    at: int  # UTC seconds of its beginning
    requests: int
    errors: dict[str, int]  # by error word
    sources: dict[str, int]  # by the source of the answer: the Game Coordinator, or a cache
    p50: float | None
    p95: float | None


@dataclass(slots=True)
class _Minute:
    number: int
    requests: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    latencies: Counter[int] = field(default_factory=Counter)  # by bin

    def report(self) -> MinuteReport:
        """Return the counts, with quantiles of the latency."""
        return MinuteReport(
            at=self.number * MINUTE_S,
            requests=self.requests,
            errors=dict(self.errors),
            sources=dict(self.sources),
            p50=_quantile(self.latencies, 0.50),
            p95=_quantile(self.latencies, 0.95),
        )


class Traffic:
    """Request statistics by minute. Times are UTC seconds; a jump back only blurs a minute."""

    def __init__(self) -> None:
        self._minutes: deque[_Minute] = deque(maxlen=MINUTES)

    def note(self, at: float, took_s: float, *, error: str | None, source: str | None) -> None:
        """Count one answer."""
        number = int(at) // MINUTE_S
        if not self._minutes or self._minutes[-1].number < number:
            self._minutes.append(_Minute(number))
        minute = self._minutes[-1]
        minute.requests += 1
        minute.latencies[bisect.bisect_left(BOUNDS, took_s)] += 1
        if error is not None:
            minute.errors[error] += 1
        if source is not None:
            minute.sources[source] += 1

    def since(self, at: float) -> list[MinuteReport]:
        """Return the minutes with requests that ended after `at`, oldest first."""
        first = int(at) // MINUTE_S
        return [minute.report() for minute in self._minutes if minute.number >= first]


def _quantile(bins: Counter[int], share: float) -> float | None:
    """Return the upper bound of the bin with the quantile `share`."""
    rank, seen = share * bins.total(), 0
    for number, count in sorted(bins.items()):
        seen += count
        if seen >= rank:
            return float(f"{BOUNDS[min(number, len(BOUNDS) - 1)]:.3g}")
    return None
