"""What unanswered GC requests say about an account or a match, and the circuit breakers of accounts.

Past its quota an account's requests are simply not answered (or, it may be, thrown away with 3006), but
so are requests of a GC that is overloaded. The difference is what other accounts get in the meantime:

    silent on several matches that others then get    -> the account is spent, earlier than we counted
    silent on two accounts that answer other matches  -> it is the match: set it aside for a while
    silent on all accounts                            -> it is the GC: no account or match is at fault

Two accounts that fall silent may wrongly agree on a popular match: it is set aside only briefly at first,
longer each time, and no longer once one of the two is found to be silent altogether. Requests that are
under way at once share one connection, so what is missed at once is missed once; and what was missed on
a connection that then breaks says nothing.

An answer that is of no use (about another match, oversized, an unknown result) or that tells of trouble
inside the GC concerns the match: once two accounts agree, or one when the match is asked for again later,
the match is set aside in the same way.

The circuit breaker of an account whose requests stay unanswered:

    closed ──several in a row──► open ──a while──► half-open: one request
          ▲                                                │
          └──────────── an answer, at any time ────────────┴─ silence:

    others are answered    pause; after a failed half-open a new log-on, once; after that another account
    none is answered       pause, and a trial: one bot takes another account if one is free, or after a
                           failed half-open logs on again, once

When the spare account is answered, the others are half-opened at once, and those that are silent still
are spent. A GC that answers no account must cost neither budgets nor log-ons: there is one trial of each
kind at a time, and the pause before the next one doubles until something is answered.

Pure bookkeeping: time is an argument, in clock seconds.
"""

from __future__ import annotations

import enum
from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from typing import Final

from actors.clock import backoff_s
from actors.errors import TimedOut, Unusable

MISSED_MATCHES: Final = 3  # that others got; fewer happen by chance
APART_S: Final = 1.0  # silences that are nearer than this are one piece of evidence
IN_SERVICE_S: Final = 60.0  # an account that answered this recently is at work
AGREE: Final = 2  # accounts; one may be unlucky, spent without knowing it yet, or mixed up
SET_ASIDE_S: Final = 30.0  # the first time; doubled each time it happens again
LONGEST_ASIDE_S: Final = 600.0
FORGET_S: Final = 600.0

OPENS_AFTER: Final = 3  # requests in a row without an answer; a bot gets no more of them either
PAUSE_S: Final = 10.0
LONGEST_PAUSE_S: Final = 60.0
TRIAL_S: Final = 60.0  # until the next trial; a log-on and a few requests fit in
LONGEST_TRIAL_S: Final = 1800.0

UNUSABLE: Final = "the Game Coordinator's answers for this match are of no use"


class Why(enum.StrEnum):
    """Why a match is set aside."""

    SILENT = "silent"
    TROUBLE = "trouble"  # the GC answers with a result that tells of trouble inside it
    USELESS = "unusable"  # the GC answers, and the answers are of no use


@dataclass(frozen=True, slots=True)
class Aside:
    """A match that is, or was, set aside."""

    until: float
    times: int  # in a row
    why: Why
    accounts: frozenset[str]  # that agreed

    def refusal(self, now: float) -> TimedOut | Unusable | None:
        """Return the error for a request while the match is set aside; None after that."""
        left_s = self.until - now
        if left_s <= 0:
            return None
        if self.why is Why.USELESS:
            return Unusable(UNUSABLE, left_s)
        trouble = "has trouble with" if self.why is Why.TROUBLE else "does not answer about"
        return TimedOut(f"the Game Coordinator {trouble} this match", left_s)


_Witnesses = dict[int, dict[str, float]]  # match -> account -> when; newest last


def _note(witnesses: _Witnesses, match_id: int, account: str, now: float) -> dict[str, float]:
    accounts = witnesses[match_id] = witnesses.pop(match_id, {}) | {account: now}
    return accounts


class UnansweredTracker:
    """Evidence about silent accounts and about matches. `aside`: matches that are, or were, set aside."""

    def __init__(self) -> None:
        self.aside: dict[int, Aside] = {}
        self._silent_on: _Witnesses = {}
        self._useless_to: _Witnesses = {}
        self._missed: defaultdict[str, dict[int, float]] = defaultdict(dict)  # match -> when
        self._answered_at: OrderedDict[str, float] = OrderedDict()  # newest last

    def answered(
        self, account: str, match_id: int, now: float, *, is_useful: bool = True
    ) -> list[str]:
        """Note an answer; return the accounts that a useful one shows to be spent."""
        self._answered_at[account] = now
        self._answered_at.move_to_end(account)
        self._missed.pop(account, None)
        if not is_useful:
            return []
        self.aside.pop(match_id, None)
        self._useless_to.pop(match_id, None)
        silent = self._silent_on.pop(match_id, {})
        return [
            other
            for other, silent_at in silent.items()
            if other != account and self.missed(other, match_id, silent_at)
        ]

    def missed(self, account: str, match_id: int, silent_at: float) -> bool:
        """Note that others got a match that `account` did not; return whether it is spent."""
        missed = self._missed[account]
        if any(abs(silent_at - at) < APART_S for at in missed.values()):
            return False
        missed[match_id] = silent_at
        if len(missed) < MISSED_MATCHES:
            return False
        del self._missed[account]
        self.disregard(account)
        return True

    def silent(self, account: str, match_id: int, now: float) -> bool:
        """Note that `account` got no answer about a match; return whether the match is set aside."""
        self._forget(now)
        unanswered = _note(self._silent_on, match_id, account, now)
        at_work = frozenset(one for one in unanswered if self._is_at_work(one, now))
        if len(at_work) < AGREE:
            return False
        del self._silent_on[match_id]
        self._set_aside(match_id, Why.SILENT, at_work, now)
        return True

    def useless(self, account: str, match_id: int, why: Why, now: float) -> bool:
        """Note that an account got no useful answer about a match; return whether it is set aside."""
        self._forget(now)
        accounts = _note(self._useless_to, match_id, account, now)
        before = self.aside.get(match_id)
        is_known = before is not None and before.why is why
        if len(accounts) < AGREE and not is_known:
            return False
        del self._useless_to[match_id]
        self._set_aside(match_id, why, frozenset(accounts), now)
        return True

    def _set_aside(self, match_id: int, why: Why, accounts: frozenset[str], now: float) -> None:
        before = self.aside.get(match_id)
        times = 1 if before is None else before.times + 1
        seconds = backoff_s(times, base=SET_ASIDE_S, cap=LONGEST_ASIDE_S)
        self.aside[match_id] = Aside(now + seconds, times, why, accounts)

    def disregard(self, account: str) -> None:
        """An account is silent altogether: its unanswered requests say nothing about matches."""
        self._answered_at.pop(account, None)
        for match_id, aside in list(self.aside.items()):
            if aside.why is Why.SILENT and account in aside.accounts:
                del self.aside[match_id]

    def connection_broke(self, account: str) -> None:
        """An account's connection broke, and may have been dead for a while: drop its evidence."""
        self.disregard(account)
        self._missed.pop(account, None)
        for match_id, unanswered in list(self._silent_on.items()):
            if unanswered.pop(account, None) is not None and not unanswered:
                del self._silent_on[match_id]

    def is_other_answered(self, account: str, since: float) -> bool:
        """Whether some account other than `account` was answered after `since`."""
        newest = next((one for one in reversed(self._answered_at) if one != account), None)
        return newest is not None and self._answered_at[newest] > since

    def may_be_the_match(self, accounts: frozenset[str], now: float) -> bool:
        """Whether a match that none of these accounts gets would be set aside."""
        return sum(self._is_at_work(one, now) for one in accounts) >= AGREE

    def _is_at_work(self, account: str, now: float) -> bool:
        return now - self._answered_at.get(account, float("-inf")) < IN_SERVICE_S

    def _forget(self, now: float) -> None:
        """Drop what is too old to be evidence; the tables stay as small as the last ten minutes."""
        old = now - FORGET_S
        for table in (self._silent_on, self._useless_to):
            while table:
                match_id, accounts = next(iter(table.items()))
                if max(accounts.values()) >= old:
                    break
                del table[match_id]
        for match_id, aside in list(self.aside.items()):
            if aside.until < old:
                del self.aside[match_id]


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
        self.failed += 1
        self.next_at = now + backoff_s(self.failed, base=TRIAL_S, cap=LONGEST_TRIAL_S)
        return True


class CircuitBreakers:
    """The circuit breakers of all accounts. `open`: those that are not closed, by account."""

    def __init__(self) -> None:
        self.open: dict[str, _Breaker] = {}
        self._spares, self._relogs = _Trials(), _Trials()
        self._won_until = float("-inf")

    def answered(self, account: str) -> None:
        """Close the breaker of an account."""
        self.open.pop(account, None)
        self._spares, self._relogs = _Trials(), _Trials()

    def silent(
        self, account: str, now: float, *, unanswered: int, is_half_open: bool, others_answer: bool
    ) -> Step:
        """Note a request without an answer, on a connection that is alive.

        `unanswered`: how many in a row were not answered in time, this one included; `is_half_open`: it
        was the one request after a pause; `others_answer`: another account was answered meanwhile.
        """
        if not is_half_open and unanswered < OPENS_AFTER:
            return Step.NOTHING
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
        return backoff_s(breaker.failed_half_open + 1, base=PAUSE_S, cap=LONGEST_PAUSE_S)
