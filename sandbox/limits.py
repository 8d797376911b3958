"""Too many logons: points per IP and per account, and a ban that every further try prolongs.

Valve publishes no numbers; the rule is given by a switch (`logon_limit`) and off without it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

DEFAULTS: Final[Mapping[str, float]] = {
    "most": 10,  # points of an IP within the window
    "account_most": 5,  # points of an account within the window
    "within_s": 300,
    "ban_s": 1800,
    "failure_weight": 3,  # a refused logon counts this much, a good one counts 1
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One set of numbers."""

    most: float
    account_most: float
    within_s: float
    ban_s: float
    failure_weight: float

    @staticmethod
    def of(value: Mapping[str, Any]) -> Rule:
        """Read a switch's value; what is missing has its default."""
        return Rule(**{name: float(value.get(name, DEFAULTS[name])) for name in DEFAULTS})


class _Record:
    def __init__(self) -> None:
        self.points: deque[tuple[float, float]] = deque()  # (when, weight), oldest first
        self.banned_until = 0.0


class Limits:
    """The memory of who tried how often. Times are seconds on any one clock."""

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}

    def admits(self, key: str, most: float, rule: Rule, now: float) -> bool:
        """Count a try; False while banned, and then the ban starts anew."""
        record = self._records.setdefault(key, _Record())
        while record.points and record.points[0][0] <= now - rule.within_s:
            record.points.popleft()
        used = sum(weight for _, weight in record.points)
        if now < record.banned_until or used + 1 > most:
            record.banned_until = now + rule.ban_s
            return False
        record.points.append((now, 1.0))
        return True

    def failed(self, key: str, rule: Rule, now: float) -> None:
        """Let the last try weigh as a failure."""
        record = self._records.setdefault(key, _Record())
        record.points.append((now, rule.failure_weight - 1.0))
