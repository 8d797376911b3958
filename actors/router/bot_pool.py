"""Ready bots: acquire, release, suspend, drain.

The pool knows which bots can serve and which fetches wait for one; it knows no matches. It belongs to the
router and lives on the router's loop.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping

from actors.bot.messages import ReadyBot
from actors.clock import Cancellable, Clock
from actors.errors import Busy, NotReady, QuotaExhausted, RequestError, TimedOut
from actors.router.rotation import RoundRobin, Standing
from actors.router.spent_budgets import RestingAccounts, SpentBudgets
from actors.router.wait_queue import FairQueue, Waiter

NOT_READY_RETRY_S = 5.0  # when no better estimate exists
LOG_ON_S = 2.0  # about what a bot needs from its first step to being ready
LONGEST_RETRY_S = 30.0  # for what is overdue: it may be back any moment
BUSY_RETRY_S = 1.0
LONGEST_ROTATION_S = 10.0  # for how long a bot that takes another account is worth waiting for


class BotPool:
    """All ready bots. `queue`: how many fetches may wait for one.

    `rotation` answers what is known of a bot; `resting` is told of every change of a bot.
    """

    def __init__(self, rotation: RoundRobin, *, queue: int, clock: Clock) -> None:
        self.rotation = rotation
        self._capacity = queue
        self._clock = clock
        self._queue = FairQueue()
        self.resting = RestingAccounts()
        self._spent = SpentBudgets()
        self._addresses: dict[str, str | None] = {}  # egress address of each bot's last session
        self._coming: dict[str, float] = {}  # when each bot on its way sets out (again)
        self._rotating: dict[str, Cancellable] = {}  # by bot id: the alarm that ends it
        self._retired: dict[str, Callable[[], None]] = {}
        self._wake_up: Cancellable | None = None

    def change_limits(self, *, max_in_flight: int, min_interval_s: float, queue: int) -> None:
        """Apply new limits from now on; waiters stay in the queue."""
        self.rotation.change_limits(max_in_flight=max_in_flight, min_interval_s=min_interval_s)
        self._capacity = queue
        self._hand_out()

    @property
    def ready(self) -> int:
        """How many bots could be used, busy and suspended ones included."""
        return len(self.rotation)

    @property
    def waiting(self) -> int:
        """How many fetches wait for a bot."""
        return self._queue.size

    @property
    def spent_addresses(self) -> Mapping[str, float]:
        """When the budget of each spent egress address frees (clock seconds)."""
        return self._spent.addresses

    # -- bots come and go ----------------------------------------------------------------------

    def add(self, bot: ReadyBot, standing: Standing = Standing.GOOD) -> None:
        """A bot is ready. Said again of the same bot, it means that its lease holds."""
        if self.rotation.standing(bot) is not None:
            self._end_standing(bot, Standing.SUSPENDED)
            return
        if self._spent.holds(bot):
            return
        self._spent.forget(bot.bot_id)
        self.rotation.remove(bot.bot_id)
        self._coming.pop(bot.bot_id, None)
        self._end_rotation(bot.bot_id)
        self._addresses[bot.bot_id] = bot.ip
        self._spent.note_account(None, self._clock.now())
        self._admit(bot, standing)

    def remove(self, bot_id: str, *, is_coming: bool = False) -> None:
        """A bot is not ready (any more); `is_coming` when it is on its way to be."""
        self._spent.forget(bot_id)
        self.rotation.remove(bot_id)
        if is_coming:
            self._coming[bot_id] = self._clock.now()
        else:
            self._coming.pop(bot_id, None)
        self._refuse_waiters(only_if_spent=True)

    def expect(self, bot_id: str, seconds: float) -> None:
        """A bot that is not ready starts again in so many seconds."""
        self._coming[bot_id] = self._clock.now() + seconds

    def retire(self, bot_id: str, on_idle: Callable[[], None]) -> None:
        """Give a bot that leaves no more requests; call `on_idle` when it has none in flight."""
        self.rotation.retire(bot_id)
        self.remove(bot_id)
        self.stop_rotating(bot_id)
        self._retired[bot_id] = on_idle
        self._report_if_idle(bot_id)

    def is_retired(self, bot_id: str) -> bool:
        """Whether a bot was retired; whatever it reports from then on, it does not come back."""
        return bot_id in self._retired

    def forget(self, bot_id: str) -> None:
        """A bot does not exist any more; one of the same name would be another."""
        self.remove(bot_id)
        self.stop_rotating(bot_id)
        self._retired.pop(bot_id, None)
        self._addresses.pop(bot_id, None)

    def rotate(self, bot_id: str) -> None:
        """A bot is about to take another account: worth waiting for, for a while."""
        if bot_id not in self._rotating:
            until = self._clock.now() + LONGEST_ROTATION_S
            alarm = self._clock.call_at(until, lambda: self.stop_rotating(bot_id))
            self._rotating[bot_id] = alarm

    def stop_rotating(self, bot_id: str) -> None:
        """There was no other account, or the bot failed on the way."""
        self._end_rotation(bot_id)
        self._refuse_waiters()

    # -- budgets -------------------------------------------------------------------------------

    def suspend_account(self, bot: ReadyBot, seconds: float) -> None:
        """Do not use a bot for a while: its account's budget is spent. One that has left is ignored."""
        if self.rotation.standing(bot) is None:
            return
        self.rotation.remove(bot.bot_id)
        until = self._clock.now() + seconds
        self._spent.put_account(bot, until)
        self._clock.call_at(until, lambda: self._admit_freed(until))
        self._refuse_waiters(only_if_spent=True)

    def suspend_address(self, ip: str, seconds: float) -> None:
        """Do not use the bots of an egress address for a while: its budget is spent."""
        until = self._clock.now() + seconds
        bots = [bot for bot in self.rotation.bots() if bot.ip == ip]
        for bot in bots:
            self.rotation.remove(bot.bot_id)
        self._spent.put_address(ip, bots, until)
        self._clock.call_at(until, lambda: self._admit_freed(until))
        self._refuse_waiters(only_if_spent=True)

    def free_address(self, ip: str) -> None:
        """Use the bots of an egress address again: its budget freed sooner than expected."""
        self._spent.free_address(ip)
        self._admit_freed(self._clock.now())

    def forget_budgets(self) -> None:
        """Budgets are counted by other limits now: try every bot again."""
        self._spent.note_account(None, self._clock.now())
        self._admit_freed(math.inf)

    def note_budget(self, frees_in: float | None) -> None:
        """Remember when some account's budget frees, for requests that find no bot at all."""
        if frees_in is not None:
            now = self._clock.now()
            self._spent.note_account(now + frees_in, now)

    # -- standing ------------------------------------------------------------------------------

    def set_standing(self, bot: ReadyBot, standing: Standing, for_s: float) -> None:
        """Apply a standing for a while, unless the bot is paused or gone.

        After that a suspended bot stands as before, and every other one is on probation.
        """
        if self.rotation.standing(bot) in (None, Standing.PAUSED):
            return
        if standing is Standing.PAUSED:
            self.expect(bot.bot_id, for_s)
        self.rotation.set_standing(bot, standing)
        until = self._clock.now() + for_s
        self._clock.call_at(until, lambda: self._end_standing(bot, standing))

    def resume(self, bot: ReadyBot) -> None:
        """End the pause of a bot, which is on probation then."""
        if self.rotation.standing(bot) is Standing.PAUSED:
            self._coming.pop(bot.bot_id, None)
            self._admit(bot, Standing.PROBATION)

    def answered(self, bot: ReadyBot, *, is_good: bool) -> None:
        """A bot was answered; `is_good`: in time, so it is as good as any."""
        if bot.bot_id in self.rotation.paused:
            self.resume(bot)
        self.rotation.answered(bot, self._clock.now(), is_good=is_good)
        if self._queue.size:
            self._hand_out()

    def not_overdue(self, bot: ReadyBot, *, is_silence: bool) -> None:
        """An overdue request of a bot counts as silence now, or ended by something else."""
        self.rotation.not_overdue(bot, is_silence=is_silence)
        self._hand_out()

    # -- acquire and release -------------------------------------------------------------------

    def acquire_now(self, avoid: frozenset[str]) -> ReadyBot | None:
        """Return the next bot by `RoundRobin.take`, or None where one would have to wait."""
        if self._queue.size:
            return None
        return self.rotation.take(self._clock.now(), avoid)

    def acquire_idle(self, avoid: frozenset[str], *, answered_since: float) -> ReadyBot | None:
        """Return a bot that is idle or was answered since then, of an account not in `avoid`.

        None where one would have to wait.
        """
        if self._queue.size:
            return None
        return self.rotation.take_idle(self._clock.now(), avoid, answered_since=answered_since)

    async def acquire(self, waiter: Waiter) -> ReadyBot:
        """Wait in the queue for a bot; `leave` ends the wait.

        Raises:
            NotReady, QuotaExhausted: there is no bot at all.
            Busy: too many wait already, or the wait took until the deadline.
            TimedOut: it took until the deadline, and no bot is answered.
        """
        refusal = self.refusal()
        if refusal is not None and (not waiter.patient or isinstance(refusal, QuotaExhausted)):
            raise refusal
        self._make_room_for(waiter)
        self._queue.add(waiter)
        self._hand_out()
        self._expire_later(waiter)
        try:
            return await waiter.bot
        except asyncio.CancelledError:
            if waiter.bot.done() and not waiter.bot.cancelled() and waiter.bot.exception() is None:
                self.release(waiter.bot.result())
            raise
        finally:
            self._queue.discard(waiter)
            if waiter.alarm is not None:
                waiter.alarm.cancel()

    def leave(self, waiter: Waiter) -> None:
        """Take a waiter out of the queue; its `acquire` raises Busy unless it has a bot already."""
        self._queue.discard(waiter)
        if not waiter.bot.done():
            waiter.bot.set_exception(Busy("no request waits any more", BUSY_RETRY_S))

    def raise_to(self, waiter: Waiter, priority: int, deadline: float) -> None:
        """Raise a waiter to the priority and deadline of a request that joined its fetch."""
        if waiter.bot.done():
            return
        waiter.deadline = max(waiter.deadline, deadline)
        if priority > waiter.priority:
            self._queue.promote(waiter, priority)

    def release(self, bot: ReadyBot, *, unused_since: float | None = None) -> None:
        """End a request of a bot; `unused_since`: it was not made, see `RoundRobin.release`."""
        self.rotation.release(bot, unused_since=unused_since)
        if self._retired:
            self._report_if_idle(bot.bot_id)
        if self._queue.size:
            self._hand_out()

    def refusal(self) -> NotReady | QuotaExhausted | None:
        """Return the error for a new request, or None while it may be served or wait."""
        return None if self.ready or self._rotating else self._unavailable()

    def _refuse_waiters(self, *, only_if_spent: bool = False) -> None:
        """Refuse what waiters cannot get in time: a spent budget frees too late for all of them."""
        if not self._queue.size or (refusal := self.refusal()) is None:
            return
        is_spent = isinstance(refusal, QuotaExhausted)
        if only_if_spent and not is_spent:
            return
        for waiter in self._queue:
            if (is_spent or not waiter.patient) and not waiter.bot.done():
                waiter.bot.set_exception(self._unavailable())

    def _report_if_idle(self, bot_id: str) -> None:
        on_idle = self._retired.get(bot_id)
        if on_idle is not None and not self.rotation.is_busy(bot_id):
            on_idle()

    def _make_room_for(self, waiter: Waiter) -> None:
        if self._queue.size < self._capacity:
            return
        busy = Busy("too many requests are waiting for a bot; try again soon", BUSY_RETRY_S)
        displaced = self._queue.displaced_by(waiter)
        if displaced is None:
            raise busy
        self._queue.discard(displaced)
        displaced.bot.set_exception(busy)

    def _expire_later(self, waiter: Waiter) -> None:
        waiter.alarm = self._clock.call_at(waiter.deadline, lambda: self._expire(waiter))

    def _expire(self, waiter: Waiter) -> None:
        if self._clock.now() < waiter.deadline:  # later than it was
            self._expire_later(waiter)
        elif not waiter.bot.done():
            waiter.bot.set_exception(self._no_bot_in_time())

    def _no_bot_in_time(self) -> RequestError:
        if not self.ready:
            return self._unavailable()
        if not self.rotation.is_any_answered:
            return TimedOut("the Game Coordinator answers no bot at the moment", NOT_READY_RETRY_S)
        return Busy("no bot had time within the deadline; try again soon", BUSY_RETRY_S)

    def _hand_out(self) -> None:
        now = self._clock.now()
        while (waiter := self._queue.first()) is not None:
            if waiter.bot.done():
                self._queue.discard(waiter)
                continue
            bot = self.rotation.take(now, waiter.avoid)
            if bot is None:
                break
            self._queue.serve(waiter)
            waiter.bot.set_result(bot)
        self._set_wake_up(now)

    def _set_wake_up(self, now: float) -> None:
        """Hand out again when the pacing interval of the next bot is over."""
        if self._wake_up is not None:
            self._wake_up.cancel()
            self._wake_up = None
        if self._queue.size and (rest := self.rotation.next_rest_over(now)):
            self._wake_up = self._clock.call_at(now + rest, self._hand_out)

    def _admit(self, bot: ReadyBot, standing: Standing = Standing.GOOD) -> None:
        """Let a bot take turns, or wait until the budget of its egress address frees."""
        if self._spent.keep_back(bot):
            self.rotation.remove(bot.bot_id)
            self._refuse_waiters(only_if_spent=True)
        else:
            self.rotation.add(bot, standing)
            self._hand_out()

    def _admit_freed(self, by: float) -> None:
        for bot in self._spent.freed(by):
            self._admit(bot)

    def _end_standing(self, bot: ReadyBot, standing: Standing) -> None:
        if standing is Standing.PAUSED:
            self.resume(bot)
        else:
            self.rotation.end_standing(bot, standing)
            self._hand_out()

    def _end_rotation(self, bot_id: str) -> None:
        if (alarm := self._rotating.pop(bot_id, None)) is not None:
            alarm.cancel()

    def _unavailable(self) -> NotReady | QuotaExhausted:
        now = self._clock.now()
        spent = self._spent.refusal(now)
        if spent is not None and not self._is_budget_coming:
            return spent
        error = NotReady("no bot is ready to ask the Game Coordinator", self._ready_in(now))
        return self.resting.corrected(error, now)

    @property
    def _is_budget_coming(self) -> bool:
        """Whether a bot is on its way that may have budget left.

        While bots wait for the budget of an address, that is one which last left from another address:
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
