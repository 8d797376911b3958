"""Counts Steam's refusals per account, and unknown results.

Both are shared by all bots, because accounts wander from bot to bot.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.bot.eresults import LogonResult, is_known, need_of
from actors.errors import CannotDecrypt, ClockUncertain

FORGET_S: Final = 6 * 3600.0  # without another one, a strike is history


# Verdicts that keep an account from logging on: a log-on shows that they hold no longer.
_AT_LOG_ON: Final = frozenset(
    {
        LogonResult.UNUSABLE,
        LogonResult.OUR_BUG,
        LogonResult.UNKNOWN,
        LogonResult.WRONG_PASSWORD,
        LogonResult.ONCE_MORE,
    }
)


@dataclass(frozen=True, slots=True)
class Strike:
    """One more of a verdict on an account.

    Attributes:
        count: how many there are within hours, this one included.
        for_s: seconds since the first of them.
        others_log_on: another account has logged on since the first of them.
    """

    count: int
    for_s: float
    others_log_on: bool


@dataclass(slots=True)
class _Series:
    first: float
    last: float
    count: int
    reason: str | None = None  # of the cooldown that the last one led to
    is_forgiven: bool = False  # the last one


class FailureCounter:
    """Counts verdicts per account; as many entries as there are accounts with trouble."""

    def __init__(self) -> None:
        self._struck: dict[tuple[str, str], _Series] = {}
        self._last_log_on = -math.inf

    def add(self, account: str, verdict: str, now: float) -> Strike:
        """Count one more at `now` (clock seconds)."""
        series = self._struck.get((account, verdict))
        if series is None or now - series.last >= FORGET_S:
            series = self._struck[account, verdict] = _Series(now, now, 0)
        series.last, series.reason, series.is_forgiven = now, None, False
        series.count += 1
        # The account's own log-on would have ended the series.
        return Strike(series.count, now - series.first, self._last_log_on >= series.first)

    def cooled(self, account: str, verdict: LogonResult, reason: str) -> bool:
        """Note the reason of a cooldown about to be stored; False when the strike was forgiven."""
        series = self._struck.get((account, verdict))
        if series is None or series.is_forgiven:
            return False
        series.reason = reason
        return True

    def forgive(self, account: str, verdict: LogonResult) -> str | None:
        """Take the last strike back; return the reason of the cooldown that it led to, if any."""
        series = self._struck.get((account, verdict))
        if series is None or series.is_forgiven:
            return None
        series.count -= 1
        series.is_forgiven = True
        if series.count == 0:
            del self._struck[account, verdict]
        reason, series.reason = series.reason, None
        return reason

    def succeeded(self, account: str, now: float) -> None:
        """Note that the account has logged on at `now` (clock seconds)."""
        self._last_log_on = now
        for verdict in _AT_LOG_ON:
            self._struck.pop((account, verdict), None)


class UnknownResults:
    """Reports each unknown Steam result once."""

    def __init__(self) -> None:
        self._told: set[int] = set()

    def note(self, eresult: int, phase: str, log: FilteringBoundLogger) -> None:
        """Warn of a number that no table of ours has, the first time it comes."""
        if is_known(eresult) or eresult in self._told:
            return
        self._told.add(eresult)
        log.warning("eresult_unknown", eresult=eresult, phase=phase)


class OwnFaults:
    """Logs why this instance cannot use accounts that other instances may be able to use.

    A wrong key or clock concerns every account and is logged once; an address is refused per account.
    """

    def __init__(self) -> None:
        self._told: set[str] = set()

    def note(self, account: str, failure: BaseException, log: FilteringBoundLogger) -> str:
        """Log `failure`, the first time its cause comes up; return the reason in words."""
        shared = isinstance(failure, CannotDecrypt | ClockUncertain)
        cause = type(failure).__name__ if shared else account
        reason = str(failure) if shared else f"it needs {need_of(failure)}"
        if cause not in self._told:
            self._told.add(cause)
            log.error("account_unusable_here", reason=reason)
        return reason
