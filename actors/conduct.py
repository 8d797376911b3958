"""What bots do with their requests, and what follows for their seats.

answered in time      as good as any
overdue               demoted: used only when there is no other, for longer each time in a row
silent to the end     evidence, see silence.py and circuit.py: paused, logged on anew, put aside
budget refused        benched until it frees; of an address, with all others that leave from it
lease refused         out of use while the bot looks at its lease
"""

from __future__ import annotations

from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.accounts.quota import Refused
from actors.bot_log import FirstFailures
from actors.circuit import Circuits, Step
from actors.clock import Clock
from actors.demerits import FIRST_S, Demerits
from actors.errors import LocalProtocolError
from actors.hedging import Hedging
from actors.messages import BudgetSpent, CheckLease, Relog, Seat
from actors.seats import Seats
from actors.silence import Silence
from actors.tally import Tally

# Until an account that Valve counts differently than we do is tried again.
SPENT_EARLY_S: Final = 3600.0
# Until a seat is used again although its bot has not said that its lease holds, or was not told something
# because its mailbox was full: longer than Redis may take to answer.
UNCERTAIN_S: Final = 5.0


class Conduct:
    """See the module. Owned by the router."""

    def __init__(
        self, seats: Seats, *, tally: Tally, clock: Clock, log: FilteringBoundLogger
    ) -> None:
        self.hedging = Hedging()
        self._seats = seats
        self._tally = tally
        self._silence = Silence()
        self._circuits = Circuits()
        self._demerits = Demerits()
        self._ip_spent_until: dict[str | None, float] = {}  # clock seconds
        self._opened = FirstFailures()
        self._clock = clock
        self._log = log

    def set_aside_for(self, match_id: int) -> float | None:
        """Return for how long a match is left alone, or None when it is not."""
        return self._silence.set_aside_for(match_id, self._clock.now())

    def answered(self, seat: Seat, match_id: int, took_s: float) -> None:
        """The GC said something about the match."""
        account = seat.account
        if took_s < self.hedging.overdue_s:
            self._demerits.in_time(account)
            self._seats.acquit(seat)
        self.hedging.answered(took_s)
        self._circuits.answered(account)
        self._opened.succeeded(account)
        self._seats.trust(seat)
        for spent in self._silence.answered(account, match_id, self._clock.now()):
            self._put_aside(spent)

    def overdue(self, seat: Seat) -> None:
        """It takes longer than it should, and may never end."""
        if self._seats.demote(seat):
            seconds = self._demerits.overdue(seat.account)
            log = self._log.bind(account=seat.account, delay_s=seconds)
            if seconds == FIRST_S:
                log.info("bot_demoted")
            else:  # again, before it was in time once
                log.debug("bot_demoted")
            self._clock.call_at(self._clock.now() + seconds, lambda: self._seats.restore(seat))

    def silent(self, seat: Seat, match_id: int, *, others_got_it: bool) -> None:
        """Nothing came in all the time that a try has, over a connection that is alive."""
        self._break_circuit(seat)
        if others_got_it:
            if self._silence.missed(seat.account, match_id, self._clock.now()):
                self._put_aside(seat.account)
        elif self._silence.silent(seat.account, match_id, self._clock.now()):
            self._log.warning("match_set_aside", match_id=match_id)

    def broke(self, account: str) -> None:
        """Its connection is gone; what was not heard over it says nothing."""
        self._silence.exonerate(account)

    def refused(self, seat: Seat, refused: Refused) -> None:
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

    def _log_refused(self, seat: Seat, refused: Refused) -> None:
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

    def _break_circuit(self, seat: Seat) -> None:
        """Do what the account's circuit breaker asks for after a silence."""
        if not self._seats.holds(seat):  # paused, or gone, since it was asked
            return
        account, now = seat.account, self._clock.now()
        step = self._circuits.silent(
            account,
            is_probe=self._seats.is_probed(seat),
            others_answer=self._silence.is_anybody_answered(now, but=account),
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
        if step is Step.PAUSE:
            self._seats.pause(seat, self._circuits.pause_s(account))
        elif step is Step.RELOG:
            if self._tell(seat, Relog("nothing is answered over this session")):
                self._seats.leave(seat.bot_id, is_coming=True)
            else:
                self._seats.pause(seat, UNCERTAIN_S)
        else:
            self.refused(seat, Refused("account", SPENT_EARLY_S))

    def _tell(self, seat: Seat, message: BudgetSpent | CheckLease | Relog) -> bool:
        try:
            seat.address.tell(message)
        except LocalProtocolError:  # the bot is about to end, or behind with its mail
            self._log.debug("notice_undelivered", account=seat.account, notice=str(message))
            return False
        return True
