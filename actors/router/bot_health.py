"""Consequences of slow and unanswered requests for a bot.

Longer each time in a row: a bot that never gets better costs one request a minute, not one in ten.

answered              as good as any, unless others were answered several times as quickly meanwhile
overdue               used only when there is no other, until it is answered
slower than others    demoted: the same for a while, for longer each time in a row
silent                evidence, see silence.py and circuit.py: paused, logged on again, put aside
dropped by the GC     the same evidence, known at once
budget refused        benched until it frees; of an address, with all others that leave from it
lease refused         out of use while the bot looks at its lease
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.accounts.models import Refused
from actors.bot.log import FirstFailures
from actors.bot.messages import BudgetSpent, CheckLease, ReadyBot, Relog
from actors.clock import Clock
from actors.errors import LocalProtocolError, TimedOut, Unusable
from actors.router.bot_pool import BotPool
from actors.router.circuit_breaker import CircuitBreakers, Step
from actors.router.hedging import Hedging
from actors.router.metrics import Tally
from actors.router.unanswered import UnansweredTracker, Why

FIRST_S: Final = 2.0  # anybody may be late once
LONGEST_S: Final = 60.0


class SlowPenalty:
    """The demotions of each account in a row. Owned by the router."""

    def __init__(self) -> None:
        self._times: defaultdict[str, int] = defaultdict(int)  # in a row

    def overdue(self, account: str) -> float:
        """Note one more; return for how many seconds the account is demoted."""
        seconds = min(FIRST_S * 2.0 ** min(self._times[account], 10), LONGEST_S)
        self._times[account] += 1
        return seconds

    def in_time(self, account: str) -> None:
        """Forget them all."""
        self._times.pop(account, None)


# Until an account that Valve counts differently than we do is tried again.
SPENT_EARLY_S: Final = 3600.0
# Until a seat is used again although its bot has not said that its lease holds, or was not told something
# because its mailbox was full: longer than Redis may take to answer.
UNCERTAIN_S: Final = 5.0
# Until one that was left for a spare account is tried again: the trial may show that it was not at fault.
LEFT_FOR_SPARE_S: Final = 600.0
UNUSABLE: Final = "the Game Coordinator's answers for this match are of no use"


class BotHealth:
    """Changes the seats of bots by the outcome of their requests. Owned by the router."""

    def __init__(
        self, seats: BotPool, *, tally: Tally, clock: Clock, log: FilteringBoundLogger
    ) -> None:
        self.hedging = Hedging()
        self._seats = seats
        self._tally = tally
        self._silence = UnansweredTracker()
        self._circuits = CircuitBreakers()
        self._demerits = SlowPenalty()
        self._ip_spent_until: dict[str | None, float] = {}  # clock seconds
        self._opened = FirstFailures()
        self._dropped_at: dict[str, float] = {}  # clock seconds; by account, until it is answered
        # The seat left for a spare account: what its bot hears next is evidence.
        self._trial: ReadyBot | None = None
        self._clock = clock
        self._log = log

    def refusal_of(self, match_id: int) -> TimedOut | Unusable | None:
        """Return the error for a match that is left alone, or None when it is not."""
        left_s = self._silence.set_aside_for(match_id, self._clock.now())
        if left_s is None:
            return None
        match self._silence.why_aside(match_id):
            case Why.USELESS:
                return Unusable(UNUSABLE, left_s)
            case Why.TROUBLE:
                return TimedOut("the Game Coordinator has trouble with this match", left_s)
            case Why.SILENT:
                return TimedOut("the Game Coordinator does not answer about this match", left_s)

    def is_silent(self, account: str) -> bool:
        """Whether an account was silent last, over whatever session."""
        return account in self._circuits.open_accounts()

    def may_be_the_match(self, accounts: frozenset[str]) -> bool:
        """Whether a match would be set aside if none of these accounts gets it."""
        return self._silence.may_be_the_match(accounts, self._clock.now())

    def answered(self, seat: ReadyBot, match_id: int, asked_at: float, useless: Why | None) -> None:
        """The GC said something about the match; `useless`: why that is of no use, if it is not."""
        account, now = seat.account, self._clock.now()
        if not self.slow(seat, asked_at):
            self._demerits.in_time(account)
            self._seats.acquit(seat)
        self.hedging.answered(now - asked_at, now)
        self._circuits.answered(account)
        self._dropped_at.pop(account, None)
        self._opened.succeeded(account)
        self._seats.trust(seat)
        if useless is None:
            for spent in self._silence.answered(account, match_id, now):
                self._put_aside(spent)
        else:
            self._silence.heard(account, now)
            if self._silence.useless(account, match_id, useless, now):
                self._note_aside(match_id, useless)
        self._judge_trial(seat)

    def slow(self, seat: ReadyBot, asked_at: float) -> bool:
        """Demote a seat if it is slower than others are meanwhile; return whether it is."""
        is_slow = bool(self.hedging.is_slow(asked_at, self._clock.now()))
        if is_slow and self._seats.demote(seat):
            seconds = self._demerits.overdue(seat.account)
            log = self._log.bind(account=seat.account, delay_s=seconds)
            if seconds == FIRST_S:
                log.info("bot_demoted")
            else:  # again, before it was in time once
                log.debug("bot_demoted")
            self._clock.call_at(self._clock.now() + seconds, lambda: self._seats.restore(seat))
        return is_slow

    def dropped(self, seat: ReadyBot, match_id: int, *, others_got_it: bool) -> None:
        """The GC threw a request away: what silence is, without the time that silence takes.

        One such request is over too soon to see whether others are answered meanwhile, so the time since
        the one before it counts.
        """
        now = self._clock.now()
        since = self._dropped_at.get(seat.account, now)
        self._dropped_at[seat.account] = now
        self.silent(seat, match_id, since, others_got_it=others_got_it)

    def silent(self, seat: ReadyBot, match_id: int, since: float, *, others_got_it: bool) -> None:
        """Nothing came for long enough to be evidence, over a connection that is alive.

        `since`: clock seconds from which on it matters whether others are answered.
        """
        self._break_circuit(seat, since)
        if others_got_it:
            if self._silence.missed(seat.account, match_id, self._clock.now()):
                self._put_aside(seat.account)
        elif self._silence.silent(seat.account, match_id, self._clock.now()):
            self._note_aside(match_id, Why.SILENT)

    def broke(self, account: str) -> None:
        """Its connection is gone; what was not heard over it says nothing."""
        self._dropped_at.pop(account, None)
        self._silence.exonerate(account)

    def refused(self, seat: ReadyBot, refused: Refused) -> None:
        """The store did not reserve a request for it."""
        self._log_refused(seat, refused)
        if self._seats.is_retired(seat.bot_id):
            return
        if refused.scope == "lease":
            self._seats.await_lease(seat, UNCERTAIN_S)
            self._tell(seat, CheckLease())
        elif refused.scope == "ip":
            self._seats.bench_address(str(seat.ip), refused.retry_after)
        else:
            self._seats.note_budget(refused.retry_after)
            is_told = self._tell(seat, BudgetSpent(refused.retry_after))
            if self._seats.knows(seat):
                self._seats.rotate(seat.bot_id)  # it will say so itself, but only after this turn
                self._seats.bench(seat, refused.retry_after if is_told else UNCERTAIN_S)

    def _log_refused(self, seat: ReadyBot, refused: Refused) -> None:
        """Log a refused budget; that of an address at info for its first bot alone."""
        log = self._log.bind(account=seat.account, scope=refused.scope, delay_s=refused.retry_after)
        now = self._clock.now()
        if refused.scope == "ip" and now < self._ip_spent_until.get(seat.ip, 0.0):
            log.debug("budget_refused")
            return
        log.info("budget_refused")
        if refused.scope == "ip":
            self._ip_spent_until[seat.ip] = now + refused.retry_after

    def _put_aside(self, account: str) -> None:
        """An account is spent, whatever our own counters say."""
        self._log.warning("account_spent_early", account=account, delay_s=SPENT_EARLY_S)
        if (seat := self._seats.of_account(account)) is not None:
            self.refused(seat, Refused("account", SPENT_EARLY_S))

    def _note_aside(self, match_id: int, why: Why) -> None:
        self._log.warning("match_set_aside", match_id=match_id, reason=why.value)

    def _judge_trial(self, seat: ReadyBot) -> None:
        """A spare account was answered after others fell silent: probe those at once."""
        left = self._trial
        if left is None or left.bot_id != seat.bot_id or left.account == seat.account:
            return
        self._trial = None
        self._circuits.trial_won(self._clock.now())
        for account in self._circuits.open_accounts():
            if (silent := self._seats.of_account(account)) is not None:
                self._seats.resume(silent)

    def _break_circuit(self, seat: ReadyBot, since: float) -> None:
        """Do what the account's circuit breaker asks for after a silence."""
        if not self._seats.holds(seat):  # paused, or gone, since it was asked
            return
        account, now = seat.account, self._clock.now()
        step = self._circuits.silent(
            account,
            now,
            unanswered=self._seats.unanswered_by(seat),
            is_probe=self._seats.is_probed(seat),
            others_answer=self._silence.is_anybody_answered(since, but=account),
        )
        if step is Step.NOTHING:
            return
        self._tally.circuit_opened(step)
        log = self._log.bind(account=account, step=step.name.lower())
        if self._opened.is_news(account, step):
            log.warning("circuit_opened")
        else:  # again, or as all others
            log.debug("circuit_opened")
        self._silence.distrust(account)
        if step in (Step.PAUSE, Step.SPARE):
            self._seats.pause(seat, self._circuits.pause_s(account))
            if step is Step.SPARE:
                self._trial = seat
                self._tell(seat, Relog("silent; a spare account is tried", LEFT_FOR_SPARE_S))
        elif step is Step.RELOG:
            if self._tell(seat, Relog("nothing is answered over this session")):
                self._seats.leave(seat.bot_id, is_coming=True)
            else:
                self._seats.pause(seat, UNCERTAIN_S)
        else:
            self.refused(seat, Refused("account", SPENT_EARLY_S))

    def _tell(self, seat: ReadyBot, message: BudgetSpent | CheckLease | Relog) -> bool:
        try:
            seat.address.tell(message)
        except LocalProtocolError:  # the bot is about to end, or behind with its mail
            self._log.debug("notice_undelivered", account=seat.account, notice=str(message))
            return False
        return True
