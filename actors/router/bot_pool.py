"""Ready bots: acquire, release, suspend, drain.

Knows which bots can serve and who waits; knows nothing of matches or budgets. Single-threaded: it is
owned by the router and lives on its loop.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping

from actors.bot.messages import ReadyBot
from actors.clock import Cancellable, Clock
from actors.errors import Busy, NotReady, QuotaExhausted, RequestError, TimedOut
from actors.router.rotation import RoundRobin
from actors.router.spent_budgets import SpentBudgets
from actors.router.wait_queue import FairQueue, Waiter

NOT_READY_RETRY_S = 5.0  # when no better estimate exists
LOG_ON_S = 2.0  # about what a bot needs from its first step to being ready
LONGEST_RETRY_S = 30.0  # for what is overdue: it may be back any moment
BUSY_RETRY_S = 1.0
# A bot that takes another account is not worth waiting for any longer.
LONGEST_TURN_S = 10.0


class BotPool:
    """The seats of all ready bots. `queue`: how many may wait for one."""

    def __init__(self, turns: RoundRobin, *, queue: int, clock: Clock) -> None:
        self._turns = turns
        self._queue = queue
        self._clock = clock
        self._waiting = FairQueue()
        self._spent = SpentBudgets()
        self._paused: dict[str, ReadyBot] = {}
        self._addresses: dict[str, str | None] = {}  # egress address of each bot's latest seat
        self._coming: dict[str, float] = {}  # when each bot on its way sets out (again)
        self._rotating: dict[str, Cancellable] = {}  # by bot id: the alarm that ends it
        self._retired: dict[str, Callable[[], None]] = {}
        self._wake_up: Cancellable | None = None

    def change_limits(self, *, max_in_flight: int, min_interval_s: float, queue: int) -> None:
        """Apply new limits from now on; requests that wait already keep their places."""
        self._turns.change_limits(max_in_flight=max_in_flight, min_interval_s=min_interval_s)
        self._queue = queue
        self._hand_out()

    @property
    def ready(self) -> int:
        """How many seats could be used, busy ones and those whose lease is being checked included."""
        return len(self._turns)

    @property
    def waiting(self) -> int:
        """How many wait for a seat."""
        return len(self._waiting)

    def loads(self) -> Mapping[str, int]:
        """Requests in flight by bot id; a bot that was retired is gone when it has none."""
        return self._turns.loads()

    def of_account(self, account: str) -> ReadyBot | None:
        """Return the seat that uses an account, paused or not, if there is one."""
        paused = (seat for seat in self._paused.values() if seat.account == account)
        return self._turns.of_account(account) or next(paused, None)

    def has_others(self, accounts: frozenset[str], *, good: bool = False) -> bool:
        """Whether some seat, busy or not, uses an account that is not among `accounts`.

        `good`: only one that is neither demoted nor has overdue requests.
        """
        return self._turns.has_others(accounts, good=good)

    @property
    def spent_addresses(self) -> Mapping[str, float]:
        """When the budget of each spent egress address frees (clock seconds)."""
        return self._spent.addresses

    def join(self, seat: ReadyBot, *, is_probed: bool = False) -> None:
        """A bot is ready. Said again of the same seat, it means that the lease holds.

        Probed, the seat gets one request at a time until it is answered.
        """
        if self._turns.holds(seat):
            self._resume(seat)
            return
        if self._paused.get(seat.bot_id) is seat or self._spent.holds(seat):
            return
        self._forget(seat.bot_id)
        self._coming.pop(seat.bot_id, None)
        self._end_rotation(seat.bot_id)
        self._addresses[seat.bot_id] = seat.ip
        self._spent.note_account(None, self._clock.now())
        self._admit(seat, is_probed=is_probed)

    def leave(self, bot_id: str, *, is_coming: bool = False) -> None:
        """A bot is not ready (any more); `is_coming` when it is on its way to be."""
        self._forget(bot_id)
        self._turns.leave(bot_id)
        if is_coming:
            self._coming[bot_id] = self._clock.now()
        else:
            self._coming.pop(bot_id, None)
        self._refuse_waiting(only_if_spent=True)

    def expect(self, bot_id: str, seconds: float) -> None:
        """A bot that is not ready will try (again) in so many seconds."""
        self._coming[bot_id] = self._clock.now() + seconds

    def retire(self, bot_id: str, on_idle: Callable[[], None]) -> None:
        """A bot leaves for good: no more requests for it; `on_idle` when none is in flight."""
        self._turns.retire(bot_id)
        self.leave(bot_id)
        self.stop_rotating(bot_id)
        self._retired[bot_id] = on_idle
        self._tell_if_idle(bot_id)

    def is_retired(self, bot_id: str) -> bool:
        """Whether a bot has left for good; whatever it does now, it does not come back."""
        return bot_id in self._retired

    def forget(self, bot_id: str) -> None:
        """A bot does not exist any more; one of the same name would be another."""
        self.leave(bot_id)
        self.stop_rotating(bot_id)
        self._retired.pop(bot_id, None)
        self._addresses.pop(bot_id, None)

    def rotate(self, bot_id: str) -> None:
        """A bot has spent its account and is about to take another: worth waiting for, for a while."""
        if bot_id not in self._rotating:
            until = self._clock.now() + LONGEST_TURN_S
            alarm = self._clock.call_at(until, lambda: self.stop_rotating(bot_id))
            self._rotating[bot_id] = alarm

    def stop_rotating(self, bot_id: str) -> None:
        """There was no other account, or the bot failed on the way."""
        self._end_rotation(bot_id)
        self._refuse_waiting()

    def bench(self, seat: ReadyBot, seconds: float) -> None:
        """Do not use a seat for a while: its account's budget is spent. One that has left is not kept."""
        if not self.knows(seat):
            return
        self._forget(seat.bot_id)
        self._turns.leave(seat.bot_id)
        until = self._clock.now() + seconds
        self._spent.put_account(seat, until)
        self._clock.call_at(until, lambda: self._admit_freed(until))
        self._refuse_waiting(only_if_spent=True)

    def bench_address(self, ip: str, seconds: float) -> None:
        """Use no seat that leaves from this egress address for a while: its budget is spent."""
        until = self._clock.now() + seconds
        seats = [seat for seat in self._turns.seats() if seat.ip == ip]
        for seat in seats:
            self._turns.leave(seat.bot_id)
        self._spent.put_address(ip, seats, until)
        self._clock.call_at(until, lambda: self._admit_freed(until))
        self._refuse_waiting(only_if_spent=True)

    def free_address(self, ip: str) -> None:
        """The budget of an egress address has freed sooner than expected: use its seats again."""
        self._spent.free_address(ip)
        self._admit_freed(self._clock.now())

    def forget_budgets(self) -> None:
        """Budgets are counted by other limits now: try every seat again."""
        self._spent.note_account(None, self._clock.now())
        self._admit_freed(math.inf)

    def await_lease(self, seat: ReadyBot, seconds: float) -> None:
        """Do not use a seat until its bot says again that it is ready, but no longer than this."""
        self._turns.suspend(seat)
        self._clock.call_at(self._clock.now() + seconds, lambda: self._resume(seat))

    def pause(self, seat: ReadyBot, seconds: float) -> None:
        """Give a seat nothing for a while, and then one request at a time until it is trusted again."""
        if not self._turns.holds(seat):
            return
        self._turns.leave(seat.bot_id)
        self._paused[seat.bot_id] = seat
        self.expect(seat.bot_id, seconds)
        self._clock.call_at(self._clock.now() + seconds, lambda: self.resume(seat))

    def resume(self, seat: ReadyBot) -> None:
        """End a seat's pause: it gets one request at a time until it is answered."""
        if self._paused.get(seat.bot_id) is seat:
            del self._paused[seat.bot_id]
            self._coming.pop(seat.bot_id, None)
            self._admit(seat, is_probed=True)

    def is_probed(self, seat: ReadyBot) -> bool:
        """Whether a seat is on trial after a pause."""
        return self._turns.is_probed(seat)

    def holds(self, seat: ReadyBot) -> bool:
        """Whether this very seat is used, or may be."""
        return self._turns.holds(seat)

    def knows(self, seat: ReadyBot) -> bool:
        """Whether this very seat is used or paused."""
        return self._turns.holds(seat) or self._paused.get(seat.bot_id) is seat

    def overdue(self, seat: ReadyBot) -> None:
        """One more request of a seat is overdue."""
        self._turns.overdue(seat)

    def not_overdue(self, seat: ReadyBot, *, is_silence: bool) -> None:
        """An overdue request of a seat counts as silence now, or ended by something else."""
        self._turns.not_overdue(seat, is_silence=is_silence)
        self._hand_out()

    def unanswered_by(self, seat: ReadyBot) -> int:
        """Return how many requests of a seat became overdue since its last answer."""
        return self._turns.unanswered_by(seat)

    def trust(self, seat: ReadyBot) -> None:
        """A seat was answered: as many requests as any other from now on, also if it is paused."""
        self.resume(seat)
        self._turns.trust(seat, self._clock.now())
        self._hand_out()

    def demote(self, seat: ReadyBot) -> bool:
        """Use a seat only when there is no other, until it is restored; return whether that is new."""
        return self._turns.demote(seat)

    def restore(self, seat: ReadyBot) -> None:
        """Give a demoted seat turns again, one request at a time until it is acquitted."""
        self._turns.restore(seat)
        self._hand_out()

    def acquit(self, seat: ReadyBot) -> None:
        """A seat has answered in time: it is as good as any."""
        self._turns.acquit(seat)
        self._hand_out()

    def note_budget(self, frees_in: float | None) -> None:
        """Remember when some account's budget frees, for those who find no seat at all."""
        if frees_in is not None:
            now = self._clock.now()
            self._spent.note_account(now + frees_in, now)

    def take_now(self, avoid: frozenset[str]) -> ReadyBot | None:
        """Return the seat whose turn it is, or None where one would have to wait in line.

        `avoid`: accounts to use only when there is no other.
        """
        if self._waiting:
            return None
        return self._turns.take(self._clock.now(), avoid)

    def take_idle(self, avoid: frozenset[str], *, heard_since: float) -> ReadyBot | None:
        """Return a seat that is idle or was answered since then, of an account not in `avoid`.

        None where one would have to wait in line.
        """
        if self._waiting:
            return None
        return self._turns.take_idle(self._clock.now(), avoid, heard_since=heard_since)

    async def take(self, place: Waiter) -> ReadyBot:
        """Wait in line for a seat; a cancelled place is free at once.

        Raises:
            NotReady, QuotaExhausted: there is no seat at all.
            Busy: too many wait already, or the wait took until the deadline.
            TimedOut: it took until the deadline, and no bot is answered.
        """
        refusal = self.refusal()
        if refusal is not None and (not place.patient or isinstance(refusal, QuotaExhausted)):
            raise refusal
        self._make_room_for(place)
        self._waiting.add(place)
        self._hand_out()
        self._give_up_later(place)
        try:
            return await place.seat
        except asyncio.CancelledError:
            if place.seat.done() and not place.seat.cancelled() and place.seat.exception() is None:
                self.give_back(place.seat.result())
            raise
        finally:
            self._waiting.discard(place)
            if place.alarm is not None:
                place.alarm.cancel()

    def keep_up(self, place: Waiter | None, priority: int, deadline: float) -> None:
        """Raise a place to the priority and deadline of a request that joined its flight."""
        if place is None or place.seat.done():
            return
        place.deadline = max(place.deadline, deadline)
        if priority > place.priority:
            self._waiting.promote(place, priority)

    def give_back(self, seat: ReadyBot) -> None:
        """A request of this seat is over."""
        self._turns.give_back(seat)
        self._tell_if_idle(seat.bot_id)
        self._hand_out()

    def put_back(self, seat: ReadyBot, taken_at: float) -> None:
        """A request of this seat, which was taken then, was not made after all: see `RoundRobin`."""
        self._turns.put_back(seat, taken_at)
        self._tell_if_idle(seat.bot_id)
        self._hand_out()

    def refusal(self) -> NotReady | QuotaExhausted | None:
        """Return what a new request is refused with, or None while it may be served or wait."""
        return None if self.ready or self._rotating else self._unavailable()

    def _refuse_waiting(self, *, only_if_spent: bool = False) -> None:
        """Refuse those in line what they cannot get in time: a spent budget frees too late for all."""
        if not self._waiting or (refusal := self.refusal()) is None:
            return
        is_spent = isinstance(refusal, QuotaExhausted)
        if only_if_spent and not is_spent:
            return
        for place in self._waiting:
            if (is_spent or not place.patient) and not place.seat.done():
                place.seat.set_exception(self._unavailable())

    def _tell_if_idle(self, bot_id: str) -> None:
        on_idle = self._retired.get(bot_id)
        if on_idle is not None and not self._turns.is_busy(bot_id):
            on_idle()

    def _make_room_for(self, place: Waiter) -> None:
        if len(self._waiting) < self._queue:
            return
        busy = Busy("too many requests are waiting for a bot; try again soon", BUSY_RETRY_S)
        displaced = self._waiting.displaced_by(place)
        if displaced is None:
            raise busy
        self._waiting.discard(displaced)
        displaced.seat.set_exception(busy)

    def _give_up_later(self, place: Waiter) -> None:
        place.alarm = self._clock.call_at(place.deadline, lambda: self._give_up(place))

    def _give_up(self, place: Waiter) -> None:
        if self._clock.now() < place.deadline:  # later than it was
            self._give_up_later(place)
        elif not place.seat.done():
            place.seat.set_exception(self._no_seat_in_time())

    def _no_seat_in_time(self) -> RequestError:
        if not self.ready:
            return self._unavailable()
        if not self._turns.is_any_answered:
            return TimedOut("the Game Coordinator answers no bot at the moment", NOT_READY_RETRY_S)
        return Busy("no bot had time within the deadline; try again soon", BUSY_RETRY_S)

    def _hand_out(self) -> None:
        now = self._clock.now()
        while (place := self._waiting.first()) is not None:
            if place.seat.done():
                self._waiting.discard(place)
                continue
            seat = self._turns.take(now, place.avoid)
            if seat is None:
                break
            self._waiting.serve(place)
            place.seat.set_result(seat)
        self._set_wake_up(now)

    def _set_wake_up(self, now: float) -> None:
        """Come back when the pacing interval of the next seat is over."""
        if self._wake_up is not None:
            self._wake_up.cancel()
            self._wake_up = None
        if self._waiting and (rest := self._turns.next_rest_over(now)):
            self._wake_up = self._clock.call_at(now + rest, self._hand_out)

    def _admit(self, seat: ReadyBot, *, is_probed: bool = False) -> None:
        """Let a seat take turns, or wait until the budget of its egress address frees."""
        if self._spent.keep_back(seat):
            self._refuse_waiting(only_if_spent=True)
        else:
            self._turns.join(seat, is_probed=is_probed)
            self._hand_out()

    def _admit_freed(self, by: float) -> None:
        for seat in self._spent.freed(by):
            self._admit(seat)

    def _end_rotation(self, bot_id: str) -> None:
        if (alarm := self._rotating.pop(bot_id, None)) is not None:
            alarm.cancel()

    def _forget(self, bot_id: str) -> None:
        self._spent.forget(bot_id)
        self._paused.pop(bot_id, None)

    def _resume(self, seat: ReadyBot) -> None:
        self._turns.resume(seat)
        self._hand_out()

    def _unavailable(self) -> NotReady | QuotaExhausted:
        now = self._clock.now()
        spent = self._spent.refusal(now)
        if spent is not None and not self._is_budget_coming:
            return spent
        return NotReady("no bot is ready to ask the Game Coordinator", self._ready_in(now))

    @property
    def _is_budget_coming(self) -> bool:
        """Whether a bot is on its way that may have budget left.

        While seats wait for the budget of an address, that is one which last left from another address:
        the others are likely to leave from a spent one.
        """
        if not self._spent.keeps_addresses:
            return bool(self._coming)
        spent = {None, *self._spent.addresses}
        return any(self._addresses.get(bot_id) not in spent for bot_id in self._coming)

    def _ready_in(self, now: float) -> float:
        """Return when it makes sense to ask again: when the first bot may be back."""
        if not self._coming:
            return NOT_READY_RETRY_S
        sets_out_in = min(self._coming.values()) - now
        if sets_out_in >= 0:
            return sets_out_in + LOG_ON_S
        # Overdue: Steam is slow or away. What has lasted for a while will last for about as long.
        return min(max(-sets_out_in, LOG_ON_S), LONGEST_RETRY_S)
