"""Failures counted per account and LogonResult.

Shared by all bots of a process, because accounts move from bot to bot.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from actors.bot.eresults import LogonResult

FORGET_S: Final = 6 * 3600.0  # a series of failures ends after this long without another one
# Results that keep an account from logging on: a successful log-on ends their series.
_AT_LOG_ON: Final = frozenset(
    {
        LogonResult.UNUSABLE,
        LogonResult.OUR_BUG,
        LogonResult.UNKNOWN,
        LogonResult.WRONG_PASSWORD,
        LogonResult.ONCE_MORE,
    }
)


@dataclass(slots=True)
class FailureSeries:
    """Failures of one account with the same result. Instants: clock seconds."""

    first: float
    last: float
    count: int = 0
    reason: str | None = None  # of the cooldown after the last failure
    is_retracted: bool = False  # the last failure


class FailureCounter:
    """Counts failures by account, which moves from bot to bot, and result.

    Attributes:
        last_log_on: clock seconds of the last log-on of any account.
    """

    def __init__(self) -> None:
        self.last_log_on = -math.inf
        self._series: dict[tuple[str, str], FailureSeries] = {}

    def add(self, account: str, result: str, now: float) -> FailureSeries:
        """Count a failure."""
        series = self._series.get((account, result))
        if series is None or now - series.last >= FORGET_S:
            series = self._series[account, result] = FailureSeries(now, now)
        series.last, series.reason, series.is_retracted = now, None, False
        series.count += 1
        return series

    def note_cooldown(self, account: str, result: LogonResult, reason: str) -> bool:
        """Note the cooldown of the last failure; return False if that failure was retracted."""
        series = self._series.get((account, result))
        if series is None or series.is_retracted:
            return False
        series.reason = reason
        return True

    def retract(self, account: str, result: LogonResult) -> str | None:
        """Remove the last failure; return the reason of its cooldown, if it led to one."""
        series = self._series.get((account, result))
        if series is None or series.is_retracted:
            return None
        series.count -= 1
        series.is_retracted = True
        if series.count == 0:
            del self._series[account, result]
        reason, series.reason = series.reason, None
        return reason

    def succeeded(self, account: str, now: float) -> None:
        """Note a log-on of the account."""
        self.last_log_on = now
        for result in _AT_LOG_ON:
            self._series.pop((account, result), None)
