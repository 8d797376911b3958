"""Circuit breaker per account whose requests stay unanswered.

closed ──several in a row──► open ──a while──► half-open: one request, the probe
      ▲                                                │
      └──────────── an answer, at any time ────────────┴─ silence: see below

What follows depends on whether other accounts were answered meanwhile:

    others are answered    pause; after a probe in vain a new log-on, once; after that another account
    none is answered       pause, and a trial: one bot takes another account if one is free, or after a
                           probe in vain logs on again, once

When the spare account is answered, the others are probed at once, and those that are silent still are
spent: a Game Coordinator that was away for a moment is the fault of none.

A Game Coordinator that answers no account must cost neither budgets nor log-ons: there is one trial of
each kind at a time, and the pause before the next one doubles until something is answered.

Pure bookkeeping.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

OPENS_AFTER: Final = 3  # requests in a row without an answer; a bot gets no more of them either
PAUSE_S: Final = 10.0
LONGEST_PAUSE_S: Final = 60.0
TRIAL_S: Final = 60.0  # until the next trial; a log-on and a few requests fit in
LONGEST_TRIAL_S: Final = 1800.0


class Step(enum.Enum):
    """What to do now."""

    NOTHING = enum.auto()
    PAUSE = enum.auto()  # nothing for it for `pause_s`, then one request
    SPARE = enum.auto()  # as PAUSE; but take another account, if one is free
    RELOG = enum.auto()  # a session that only looks alive
    ROTATE = enum.auto()  # an account that is worth nothing today


@dataclass(slots=True)
class _Breaker:
    failed_probes: int = 0
    was_relogged: bool = False
    is_urgent: bool = False  # a spare account has just been answered: no time to lose


@dataclass(slots=True)
class _Trials:
    """Trials of one kind."""

    next_at: float = float("-inf")
    in_vain: int = 0

    def start(self, now: float) -> bool:
        """Start one if it is time for it; return whether it was."""
        if now < self.next_at:
            return False
        self.next_at = now + min(TRIAL_S * 2.0 ** min(self.in_vain, 10), LONGEST_TRIAL_S)
        self.in_vain += 1
        return True


class CircuitBreakers:
    """The circuit breakers of all accounts. Owned by the router."""

    def __init__(self) -> None:
        self._circuits: dict[str, _Breaker] = {}  # those that are not closed
        self._spares, self._relogs = _Trials(), _Trials()
        self._won_until = float("-inf")

    def answered(self, account: str) -> None:
        """Close it."""
        self._circuits.pop(account, None)
        self._spares, self._relogs = _Trials(), _Trials()

    def silent(
        self, account: str, now: float, *, unanswered: int, is_probe: bool, others_answer: bool
    ) -> Step:
        """Note a request without an answer, on a connection that is alive.

        Args:
            account: whose request it was.
            now: clock seconds.
            unanswered: its requests in a row that were not answered in time, this one included.
            is_probe: whether it was the probe after a pause.
            others_answer: whether some other account was answered meanwhile.
        """
        if not is_probe and unanswered < OPENS_AFTER:
            return Step.NOTHING
        circuit = self._circuits.setdefault(account, _Breaker())
        circuit.is_urgent = others_answer and now < self._won_until
        if not is_probe:
            return Step.SPARE if not others_answer and self._spares.start(now) else Step.PAUSE
        circuit.failed_probes += 1
        if circuit.is_urgent or (others_answer and circuit.was_relogged):
            del self._circuits[account]
            return Step.ROTATE
        if not circuit.was_relogged and (others_answer or self._relogs.start(now)):
            circuit.was_relogged = True
            return Step.RELOG
        return Step.SPARE if self._spares.start(now) else Step.PAUSE

    def open_accounts(self) -> Iterable[str]:
        """Return the accounts whose circuit is not closed."""
        return tuple(self._circuits)

    def trial_won(self, now: float) -> None:
        """A spare account is answered: a silent one needs neither a pause nor a new log-on first."""
        self._won_until = now + TRIAL_S

    def pause_s(self, account: str) -> float:
        """Return how long the pause is: longer after each probe in vain."""
        circuit = self._circuits.get(account, _Breaker())
        if circuit.is_urgent:
            return 0.0
        return min(PAUSE_S * 2.0 ** min(circuit.failed_probes, 10), LONGEST_PAUSE_S)
