"""Circuit breaker per account whose requests stay unanswered.

closed ──several in a row──► open ──a while──► half-open: one request
      ▲                                                │
      └──────────── an answer, at any time ────────────┴─ silence: see below

What follows depends on whether other accounts were answered meanwhile:

    others are answered    pause; after a failed half-open a new log-on, once; after that another account
    none is answered       pause, and a trial: one bot takes another account if one is free, or after a
                           failed half-open logs on again, once

When the spare account is answered, the others are half-opened at once, and those that are silent still
are spent: a Game Coordinator that was away for a moment is the fault of no account.

A Game Coordinator that answers no account must cost neither budgets nor log-ons: there is one trial of
each kind at a time, and the pause before the next one doubles until something is answered.

Pure bookkeeping.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

OPENS_AFTER: Final = 3  # requests in a row without an answer; a bot gets no more of them either
PAUSE_S: Final = 10.0
LONGEST_PAUSE_S: Final = 60.0
TRIAL_S: Final = 60.0  # until the next trial; a log-on and a few requests fit in
LONGEST_TRIAL_S: Final = 1800.0


class Step(enum.Enum):
    """What follows from a silence."""

    NOTHING = enum.auto()
    PAUSE = enum.auto()  # no requests for `pause_s`, then one
    SPARE = enum.auto()  # as PAUSE; but take another account, if one is free
    RELOG = enum.auto()  # a session that only looks alive
    ROTATE = enum.auto()  # an account that is not answered any more today


@dataclass(slots=True)
class _Breaker:
    failed_half_open: int = 0
    was_relogged: bool = False
    is_urgent: bool = False  # a spare account has just been answered: no time to lose


@dataclass(slots=True)
class _Trials:
    """Trials of one kind."""

    next_at: float = float("-inf")
    failed: int = 0

    def start(self, now: float) -> bool:
        """Start one if it is time for it; return whether it was."""
        if now < self.next_at:
            return False
        self.next_at = now + min(TRIAL_S * 2.0 ** min(self.failed, 10), LONGEST_TRIAL_S)
        self.failed += 1
        return True


class CircuitBreakers:
    """The circuit breakers of all accounts.

    Attributes:
        open: those that are not closed, by account.
        is_quiet: whether all are closed and there was no trial since the last answer.
    """

    def __init__(self) -> None:
        self.open: dict[str, _Breaker] = {}
        self.is_quiet = True
        self._spares, self._relogs = _Trials(), _Trials()
        self._won_until = float("-inf")

    def answered(self, account: str) -> None:
        """Close the breaker of an account."""
        self.open.pop(account, None)
        self._spares, self._relogs = _Trials(), _Trials()
        self.is_quiet = not self.open

    def silent(
        self, account: str, now: float, *, unanswered: int, is_half_open: bool, others_answer: bool
    ) -> Step:
        """Note a request without an answer, on a connection that is alive.

        Args:
            account: the account of the request.
            now: clock seconds.
            unanswered: its requests in a row that were not answered in time, this one included.
            is_half_open: whether this was the one request after a pause.
            others_answer: whether some other account was answered meanwhile.
        """
        if not is_half_open and unanswered < OPENS_AFTER:
            return Step.NOTHING
        self.is_quiet = False
        breaker = self.open.setdefault(account, _Breaker())
        breaker.is_urgent = others_answer and now < self._won_until
        if not is_half_open:
            return Step.SPARE if not others_answer and self._spares.start(now) else Step.PAUSE
        breaker.failed_half_open += 1
        if breaker.is_urgent or (others_answer and breaker.was_relogged):
            del self.open[account]
            return Step.ROTATE
        if not breaker.was_relogged and (others_answer or self._relogs.start(now)):
            breaker.was_relogged = True
            return Step.RELOG
        return Step.SPARE if self._spares.start(now) else Step.PAUSE

    def trial_won(self, now: float) -> None:
        """A spare account is answered: a silent one needs neither a pause nor a new log-on first."""
        self._won_until = now + TRIAL_S

    def pause_s(self, account: str) -> float:
        """Return how long the pause is: longer after each failed half-open."""
        breaker = self.open.get(account, _Breaker())
        if breaker.is_urgent:
            return 0.0
        return min(PAUSE_S * 2.0 ** min(breaker.failed_half_open, 10), LONGEST_PAUSE_S)
