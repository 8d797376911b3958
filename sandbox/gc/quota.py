"""Quotas of requests per account and per IP address, over 24 hours.

Requests are counted per second. A request counts until 24 h after the end of its second. The counts
last as long as the sandbox, so a new log-on does not reset them.
"""

from __future__ import annotations

import enum
from collections import defaultdict, deque
from typing import Final

WINDOW_S: Final = 86400


class QuotaResult(enum.StrEnum):
    """Result of a request: served, or the spent quota."""

    SERVED = "served"
    ACCOUNT_SPENT = "silent_quota_account"
    IP_SPENT = "silent_quota_ip"


class Window:
    """Rolling count over 24 hours."""

    __slots__ = ("_seconds", "_used")

    def __init__(self) -> None:
        self._seconds: deque[list[int]] = deque()  # [second, requests in it], oldest first
        self._used = 0

    def used(self, now: float) -> int:
        """Return the number of counted requests."""
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
    """The counts of all accounts and IP addresses. The limits may change at any time."""

    def __init__(self, per_account: int, per_ip: int) -> None:
        self.per_account = per_account
        self.per_ip = per_ip
        self._accounts: defaultdict[str, Window] = defaultdict(Window)
        self._ips: defaultdict[str, Window] = defaultdict(Window)

    def spend(self, account: str, ip: str, now: float) -> QuotaResult:
        """Count a request against both quotas if neither is spent."""
        by_account, by_ip = self._accounts[account], self._ips[ip]
        if by_account.used(now) >= self.per_account:
            return QuotaResult.ACCOUNT_SPENT
        if by_ip.used(now) >= self.per_ip:
            return QuotaResult.IP_SPENT
        by_account.add(now)
        by_ip.add(now)
        return QuotaResult.SERVED

    def reset(self) -> None:
        """Reset all counts."""
        self._accounts.clear()
        self._ips.clear()

    def used(self, now: float) -> dict[str, dict[str, int]]:
        """Return the counts per account and per IP address."""
        return {
            "accounts": {name: window.used(now) for name, window in self._accounts.items()},
            "ips": {ip: window.used(now) for ip, window in self._ips.items()},
        }
