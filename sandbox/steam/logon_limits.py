"""Rate limit of log-ons: points per IP and per account, and bans.

Valve publishes no numbers. These are of what operators report: failures and password checks trip the
limit, log-ons with a good token almost never do. The switch `logon_limit` gives other numbers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

DEFAULTS: Final[Mapping[str, float]] = {
    "most": 15,  # points of an IP within the window
    "account_most": 7,  # points of an account within the window
    "within_s": 300,
    "ban_s": 1800,
    "failure_weight": 3,  # of a try that is refused, whatever it was
    "token_weight": 0,  # of a log-on with a token; a password check weighs 1
}
PASSWORD_WEIGHT: Final = 1.0


@dataclass(frozen=True, slots=True)
class Rule:
    """One set of numbers."""

    most: float
    account_most: float
    within_s: float
    ban_s: float
    failure_weight: float
    token_weight: float

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

    def admits(self, key: str, most: float, rule: Rule, weight: float, now: float) -> bool:
        """Count a try; False while banned, and then the ban begins again."""
        record = self._records.setdefault(key, _Record())
        while record.points and record.points[0][0] <= now - rule.within_s:
            record.points.popleft()
        used = sum(weight for _, weight in record.points)
        if now < record.banned_until or used + weight > most:
            record.banned_until = now + rule.ban_s
            return False
        record.points.append((now, weight))
        return True

    def failed(self, key: str, rule: Rule, weight: float, now: float) -> None:
        """Let the last try, which weighed `weight`, weigh as a failure."""
        record = self._records.setdefault(key, _Record())
        record.points.append((now, rule.failure_weight - weight))
