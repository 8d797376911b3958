"""Requests of the last hour by the minute: their number, their times and their outcomes.

No I/O: the HTTP handlers note requests, the lookout reads the minutes. An hour is sixty small buckets,
for any number of requests.
"""

from __future__ import annotations

import bisect
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

MINUTE_S: Final = 60
MINUTES: Final = 60
# Upper bounds of the latency bins in seconds: 1 ms, and each a quarter more than the one before, to 90 s.
BOUNDS: Final = tuple(0.001 * 1.25**power for power in range(52))


@dataclass(frozen=True, slots=True)
class MinuteReport:
    """One minute, for people. Latencies in seconds, None when nothing was asked."""

    at: int  # UTC seconds of its beginning
    requests: int
    errors: dict[str, int]  # by error word
    sources: dict[str, int]  # by where the answer came from: the Game Coordinator, or a cache
    p50: float | None
    p95: float | None


@dataclass(slots=True)
class _Minute:
    number: int
    requests: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    latencies: Counter[int] = field(default_factory=Counter)  # by bin


class Traffic:
    """Request statistics. All times are UTC seconds; a clock that jumps back only blurs a minute."""

    def __init__(self) -> None:
        self._minutes: deque[_Minute] = deque(maxlen=MINUTES)

    def note(self, at: float, took_s: float, *, error: str | None, source: str | None) -> None:
        """One request was answered."""
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
        """Return the minutes that ended after `at` and in which something was asked, oldest first."""
        first = int(at) // MINUTE_S
        return [_report(minute) for minute in self._minutes if minute.number >= first]


def _report(minute: _Minute) -> MinuteReport:
    return MinuteReport(
        at=minute.number * MINUTE_S,
        requests=minute.requests,
        errors=dict(minute.errors),
        sources=dict(minute.sources),
        p50=_quantile(minute.latencies.items(), 0.50),
        p95=_quantile(minute.latencies.items(), 0.95),
    )


def _quantile(bins: Iterable[tuple[int, int]], share: float) -> float | None:
    """Return the bound of the bin in which the request lies that `share` of all were faster than."""
    ordered = sorted(bins)
    rank = share * sum(count for _, count in ordered)
    seen = 0
    for number, count in ordered:
        seen += count
        if seen >= rank:
            return float(f"{BOUNDS[min(number, len(BOUNDS) - 1)]:.3g}")
    return None
