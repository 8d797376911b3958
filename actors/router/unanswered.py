"""What missing GC answers say about the account or the match.

Past its quota an account's requests are simply not answered (or, it may be, thrown away with 3006), but
so are requests of a GC that is overloaded. The difference is what other accounts get in the meantime:

    silent on several matches that others then get    -> the account is spent, earlier than we counted
    silent on two accounts that answer other matches  -> it is the match: set it aside for a while
    silent on all accounts                            -> it is the GC: no account or match is at fault

A popular match is the first that an account misses which falls silent, so two such accounts may wrongly
agree that it is the match: it is set aside only briefly at first, longer each time it happens again, and
no longer once one of the two is found to be silent altogether.

Requests that are under way at once share the fate of one connection, so what is missed at once is missed
once; and what was missed on a connection that then breaks says nothing.

An answer that is of no use (about another match, oversized, an unknown result) or that tells of trouble
inside the GC concerns the match: once two accounts agree, the match is set aside in the same way. When
it is asked for again later, one account is enough.

Pure bookkeeping: time is an argument, in seconds.
"""

from __future__ import annotations

import enum
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MISSED_MATCHES: Final = 3  # that others got; fewer happen by chance
APART_S: Final = 1.0  # silences that are nearer than this are one piece of evidence
IN_SERVICE_S: Final = 60.0  # an account that answered this recently is at work
SET_ASIDE_S: Final = 30.0  # the first time; doubled each time it happens again
LONGEST_ASIDE_S: Final = 600.0
FORGET_S: Final = 600.0


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


class UnansweredTracker:
    """Evidence about silent accounts and about matches. `aside`: matches that are, or were, set aside."""

    def __init__(self) -> None:
        self.aside: dict[int, Aside] = {}
        # match -> account -> when; newest last
        self._silent_on: dict[int, dict[str, float]] = {}
        self._useless_to: dict[int, dict[str, float]] = {}
        self._missed: defaultdict[str, dict[int, float]] = defaultdict(dict)  # match -> when
        self._answered_at: OrderedDict[str, float] = OrderedDict()  # newest last

    def answered(
        self, account: str, match_id: int, now: float, *, is_useful: bool = True
    ) -> Sequence[str]:
        """Note an answer; return the accounts that a useful one shows to be spent."""
        self._answered_at[account] = now
        self._answered_at.move_to_end(account)
        self._missed.pop(account, None)
        if not is_useful:
            return ()
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
        unanswered = self._silent_on.pop(match_id, {})
        unanswered[account] = now
        self._silent_on[match_id] = unanswered
        at_work = frozenset(one for one in unanswered if self._is_at_work(one, now))
        if len(at_work) < 2:  # noqa: PLR2004 - one may be unlucky, or spent without knowing it yet
            return False
        del self._silent_on[match_id]
        self._set_aside(match_id, Why.SILENT, at_work, now)
        return True

    def useless(self, account: str, match_id: int, why: Why, now: float) -> bool:
        """Note that an account got no useful answer about a match; return whether it is set aside."""
        self._forget(now)
        accounts = self._useless_to.pop(match_id, {})
        accounts[account] = now
        before = self.aside.get(match_id)
        is_known = before is not None and before.why is why
        if len(accounts) < 2 and not is_known:  # noqa: PLR2004 - one answer may have been mixed up
            self._useless_to[match_id] = accounts
            return False
        self._set_aside(match_id, why, frozenset(accounts), now)
        return True

    def _set_aside(self, match_id: int, why: Why, accounts: frozenset[str], now: float) -> None:
        before = self.aside.get(match_id)
        times = 1 if before is None else before.times + 1
        seconds = min(SET_ASIDE_S * 2.0 ** min(times - 1, 10), LONGEST_ASIDE_S)
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
        return sum(self._is_at_work(one, now) for one in accounts) >= 2  # noqa: PLR2004 - see `silent`

    def set_aside_for(self, match_id: int, now: float) -> float | None:
        """Return for how long a match is set aside, or None when it is not."""
        aside = self.aside.get(match_id)
        return aside.until - now if aside is not None and aside.until > now else None

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
