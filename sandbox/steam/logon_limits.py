"""Rate limits of log-ons: points per IP address and per account, and bans.

Valve publishes no numbers. The defaults follow the reports of operators: failures and password checks
reach the limit, log-ons with a valid token almost never do. The switch `logon_limit` sets other numbers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sandbox.control.faults import Faults
from sandbox.protocol.eresult import EResult

DEFAULTS: Final[Mapping[str, float]] = {
    "most": 15,  # points of an IP address within the window
    "account_most": 7,  # points of an account within the window
    "within_s": 300,
    "ban_s": 1800,
    "failure_weight": 3,  # of a refused log-on of either kind
    "token_weight": 0,  # of a log-on with a token; a password check weighs 1
}
PASSWORD_WEIGHT: Final = 1.0


@dataclass(frozen=True, slots=True)
class LimitRule:
    """The numbers of the limits."""

    most: float
    account_most: float
    within_s: float
    ban_s: float
    failure_weight: float
    token_weight: float

    @staticmethod
    def parse(value: Mapping[str, Any]) -> LimitRule:
        """Return the rule of a switch's value; absent keys have their defaults."""
        return LimitRule(**{name: float(value.get(name, DEFAULTS[name])) for name in DEFAULTS})

    def weight(self, *, is_token: bool) -> float:
        """Return the points of one log-on."""
        return self.token_weight if is_token else PASSWORD_WEIGHT


class _Record:
    def __init__(self) -> None:
        self.points: deque[tuple[float, float]] = deque()  # (time, weight), oldest first
        self.banned_until = 0.0


class PointCounter:
    """Points and bans by key. Times are seconds on one clock."""

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}

    def admit(self, key: str, most: float, rule: LimitRule, weight: float, now: float) -> bool:
        """Count one log-on; return False during a ban, which then starts again."""
        record = self._records.setdefault(key, _Record())
        while record.points and record.points[0][0] <= now - rule.within_s:
            record.points.popleft()
        used = sum(weight for _, weight in record.points)
        if now < record.banned_until or used + weight > most:
            record.banned_until = now + rule.ban_s
            return False
        record.points.append((now, weight))
        return True

    def add_failure(self, key: str, rule: LimitRule, weight: float, now: float) -> None:
        """Raise the last log-on, counted with `weight`, to the weight of a failure."""
        record = self._records.setdefault(key, _Record())
        record.points.append((now, rule.failure_weight - weight))


class LogonLimiter:
    """Applies the limits to log-ons and password checks.

    Args:
        faults: holds the switch `logon_limit`.
        now: Steam's time of day, in UTC seconds.
        is_enabled: whether the limits apply while the switch is off.
    """

    def __init__(self, faults: Faults, now: Callable[[], float], *, is_enabled: bool) -> None:
        self._faults = faults
        self._now = now
        self._is_enabled = is_enabled
        self._points = PointCounter()

    def check(self, source: str, account: str | None, *, is_token: bool) -> EResult | None:
        """Count one log-on; return 84 (IP address) or 87 (account) if it exceeds a limit."""
        rule = self._rule()
        if rule is None:
            return None
        points, weight, now = self._points, rule.weight(is_token=is_token), self._now()
        if not points.admit(f"ip {source}", rule.most, rule, weight, now):
            return EResult.RATE_LIMIT_EXCEEDED
        if account and not points.admit(f"account {account}", rule.account_most, rule, weight, now):
            return EResult.ACCOUNT_LOGIN_DENIED_THROTTLE
        return None

    def add_failure(self, source: str, account: str | None, *, is_token: bool) -> None:
        """Count the last log-on as a failure."""
        rule = self._rule()
        if rule is None:
            return
        weight, now = rule.weight(is_token=is_token), self._now()
        self._points.add_failure(f"ip {source}", rule, weight, now)
        if account:
            self._points.add_failure(f"account {account}", rule, weight, now)

    def _rule(self) -> LimitRule | None:
        value = self._faults.take("logon_limit", {} if self._is_enabled else None)
        return None if value is None else LimitRule.parse(value)
