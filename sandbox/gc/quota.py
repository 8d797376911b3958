"""Match requests that the GC answers, per account and per IP in 24 hours.

Counted per second of the day: a request weighs until 24 h after the end of its second, never less.
Lives as long as the sandbox, so that relogging gains nothing. Time is handed in (seconds).
"""

from __future__ import annotations

import enum
from collections import defaultdict, deque
from typing import Final

WINDOW_S: Final = 86400


class Verdict(enum.StrEnum):
    """Whether a request is served, and if not, whose budget is spent."""

    SERVED = "served"
    ACCOUNT_SPENT = "silent_quota_account"
    IP_SPENT = "silent_quota_ip"


class Window:
    """One rolling count."""

    __slots__ = ("_seconds", "_used")

    def __init__(self) -> None:
        self._seconds: deque[list[int]] = deque()  # [second, requests in it], oldest first
        self._used = 0

    def used(self, now: float) -> int:
        """Return the requests that still weigh."""
        oldest = int(now) - WINDOW_S
        while self._seconds and self._seconds[0][0] < oldest:
            self._used -= self._seconds.popleft()[1]
        return self._used

    def add(self, now: float) -> None:
        """Count one request."""
        second = int(now)
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1][1] += 1
        else:
            self._seconds.append([second, 1])
        self._used += 1


class Quotas:
    """All windows. The limits may be changed while running."""

    def __init__(self, per_account: int, per_ip: int) -> None:
        self.per_account = per_account
        self.per_ip = per_ip
        self._accounts: defaultdict[str, Window] = defaultdict(Window)
        self._ips: defaultdict[str, Window] = defaultdict(Window)

    def spend(self, account: str, ip: str, now: float) -> Verdict:
        """Count a request against both budgets if both have room."""
        by_account, by_ip = self._accounts[account], self._ips[ip]
        if by_account.used(now) >= self.per_account:
            return Verdict.ACCOUNT_SPENT
        if by_ip.used(now) >= self.per_ip:
            return Verdict.IP_SPENT
        by_account.add(now)
        by_ip.add(now)
        return Verdict.SERVED

    def reset(self) -> None:
        """Forget everything that was spent."""
        self._accounts.clear()
        self._ips.clear()

    def used(self, now: float) -> dict[str, dict[str, int]]:
        """Return what is spent now, per account and per IP."""
        return {
            "accounts": {name: window.used(now) for name, window in self._accounts.items()},
            "ips": {ip: window.used(now) for ip, window in self._ips.items()},
        }
