"""Ready bots, and the fetches that wait for one (see `wait_queue`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from actors.bot.messages import ReadyBot
from actors.clock import Cancellable, Clock
from actors.errors import Busy, NotReady, QuotaExhausted, RequestError, TimedOut
from actors.router.bot_availability import NOT_READY_RETRY_S, BotAvailability, BudgetScope
from actors.router.messages import RouterPolicy
from actors.router.rotation import RoundRobin, Standing
from actors.router.wait_queue import FairQueue, Waiter

BUSY_RETRY_S: Final = 1.0
LONGEST_ROTATION_S: Final = 10.0  # for how long a bot that takes another account is waited for


class BotPool:
    """All ready bots; it knows no matches.

    Attributes:
        rotation: tells what is known of a bot.
        availability: tells when a bot can be used again.
        queue: the fetches that wait for a bot.
        retired: bots that leave; whatever one reports from then on, it does not come back.
    """

    def __init__(self, policy: RouterPolicy, *, clock: Clock) -> None:
        self.rotation = RoundRobin(policy.max_in_flight, policy.min_interval_s)
        self.availability = BotAvailability()
        self.queue = FairQueue()
        self._capacity = policy.queue
        self._clock = clock
        self._rotating: dict[str, Cancellable] = {}  # by bot id: the alarm that ends it
        self.retired: set[str] = set()
        self._wake_up: Cancellable | None = None

    def reconfigure(self, policy: RouterPolicy) -> None:
        """Apply new limits from now on; waiters stay in the queue."""
        self.rotation.reconfigure(policy.max_in_flight, policy.min_interval_s)
        self._capacity = policy.queue
        self._hand_out()

    # -- bots come and go ----------------------------------------------------------------------

    def add(self, bot: ReadyBot, standing: Standing = Standing.GOOD) -> None:
        """A bot is ready. Said again of the same bot, it means that its lease holds."""
        if self.rotation.standing(bot) is not None:
            self._end_standing(bot, Standing.SUSPENDED)
            return
        if self.availability.holds(bot):
            return
        self.availability.ready(bot)
        self.rotation.remove(bot.bot_id)
        self._end_rotation(bot.bot_id)
        self._admit(bot, standing)

    def remove(self, bot_id: str, *, is_coming: bool = False) -> None:
        """A bot is not ready (any more); `is_coming` when it is on its way to be."""
        self.availability.not_waiting(bot_id)
        self.rotation.remove(bot_id)
        if is_coming:
            self.availability.coming[bot_id] = self._clock.now()
        else:
            self.availability.coming.pop(bot_id, None)
        self._refuse_waiters(only_if_spent=True)

    def retire(self, bot_id: str, on_idle: Callable[[], None]) -> None:
        """Give a bot that leaves no more requests; call `on_idle` when it has none in flight."""
        self.availability.resting.forget(bot_id)
        self.rotation.retire(bot_id, on_idle)
        self.remove(bot_id)
        self.stop_rotating(bot_id)
        self.retired.add(bot_id)

    def forget(self, bot_id: str) -> None:
        """A bot does not exist any more; one of the same name would be another."""
        self.remove(bot_id)
        self.stop_rotating(bot_id)
        self.retired.discard(bot_id)
        self.availability.forget(bot_id)

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

    def suspend(self, bot: ReadyBot, scope: BudgetScope, seconds: float) -> None:
        """Do not use a bot, or all bots of its egress address, for a while: a budget is spent."""
        until = self._clock.now() + seconds
        name, bots = bot.account, [bot]
        if scope == "ip":
            name, bots = str(bot.ip), [one for one in self.rotation.bots() if one.ip == bot.ip]
        for one in bots:
            self.rotation.remove(one.bot_id)
        self.availability.spent(scope, name, bots, until)
        self._clock.call_at(until, lambda: self._admit_all(self.availability.freed(until)))
        self._refuse_waiters(only_if_spent=True)

    def free_address(self, ip: str) -> None:
        """Use the bots of an egress address again: its budget freed sooner than expected."""
        self._admit_all(self.availability.freed_address(ip))

    def forget_budgets(self) -> None:
        """Budgets are counted by other limits now: try every bot again."""
        self._admit_all(self.availability.all_freed())

    # -- standing ------------------------------------------------------------------------------

    def set_standing(self, bot: ReadyBot, standing: Standing, for_s: float) -> None:
        """Apply a standing for a while, see `RoundRobin`, unless the bot is paused or gone."""
        if self.rotation.standing(bot) in (None, Standing.PAUSED):
            return
        until = self._clock.now() + for_s
        if standing is Standing.PAUSED:
            self.availability.coming[bot.bot_id] = until
        self.rotation.set_standing(bot, standing)
        self._clock.call_at(until, lambda: self._end_standing(bot, standing))

    def resume(self, bot: ReadyBot) -> None:
        """End the pause of a bot, which is on probation then."""
        if self.rotation.standing(bot) is Standing.PAUSED:
            self.availability.coming.pop(bot.bot_id, None)
            self._admit(bot, Standing.PROBATION)

    def answered(self, bot: ReadyBot, *, is_good: bool) -> None:
        """A bot was answered; `is_good`: in time, so it is as good as any."""
        if bot.bot_id in self.rotation.paused:
            self.resume(bot)
        self.rotation.answered(bot, self._clock.now(), is_good=is_good)
        if self.queue.size:
            self._hand_out()

    def not_overdue(self, bot: ReadyBot, *, is_silence: bool) -> None:
        """An overdue request of a bot counts as silence now, or ended by something else."""
        self.rotation.not_overdue(bot, is_silence=is_silence)
        self._hand_out()

    # -- acquire and release -------------------------------------------------------------------

    def acquire_now(self, avoid: frozenset[str]) -> ReadyBot | None:
        """Return the next bot by `RoundRobin.take`, or None where one would have to wait."""
        return None if self.queue.size else self.rotation.take(self._clock.now(), avoid)

    def acquire_idle(self, avoid: frozenset[str], *, answered_since: float) -> ReadyBot | None:
        """Return a bot by `RoundRobin.take_idle`, or None where one would have to wait."""
        if self.queue.size:
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
        self.queue.add(waiter)
        self._hand_out()
        self._expire(waiter)
        try:
            return await waiter.bot
        except asyncio.CancelledError:
            if waiter.bot.done() and not waiter.bot.cancelled() and waiter.bot.exception() is None:
                self.release(waiter.bot.result())
            raise
        finally:
            self.queue.discard(waiter)
            if waiter.alarm is not None:
                waiter.alarm.cancel()

    def leave(self, waiter: Waiter) -> None:
        """Take a waiter out of the queue; its `acquire` raises Busy unless it has a bot already."""
        self.queue.discard(waiter)
        if not waiter.bot.done():
            waiter.bot.set_exception(Busy("no request waits any more", BUSY_RETRY_S))

    def raise_to(self, waiter: Waiter, priority: int, deadline: float) -> None:
        """Raise a waiter to the priority and deadline of a request that joined its fetch."""
        if waiter.bot.done():
            return
        waiter.deadline = max(waiter.deadline, deadline)
        if priority > waiter.priority:
            self.queue.promote(waiter, priority)

    def release(self, bot: ReadyBot, *, unused_since: float | None = None) -> None:
        """End a request of a bot; `unused_since`: it was not made, see `RoundRobin.release`."""
        self.rotation.release(bot, unused_since=unused_since)
        if self.queue.size:
            self._hand_out()

    def refusal(self) -> NotReady | QuotaExhausted | None:
        """Return the error for a new request, or None while it may be served or wait."""
        is_served = len(self.rotation) or self._rotating
        return None if is_served else self.availability.error(self._clock.now())

    def _refuse_waiters(self, *, only_if_spent: bool = False) -> None:
        """Refuse waiters that get no bot in time; a spent budget frees too late for all of them."""
        if not self.queue.size or (refusal := self.refusal()) is None:
            return
        is_spent = isinstance(refusal, QuotaExhausted)
        if only_if_spent and not is_spent:
            return
        for waiter in self.queue:
            if (is_spent or not waiter.patient) and not waiter.bot.done():
                waiter.bot.set_exception(self.availability.error(self._clock.now()))

    def _make_room_for(self, waiter: Waiter) -> None:
        if self.queue.size < self._capacity:
            return
        busy = Busy("too many requests are waiting for a bot; try again soon", BUSY_RETRY_S)
        displaced = self.queue.displaced_by(waiter)
        if displaced is None:
            raise busy
        self.queue.discard(displaced)
        displaced.bot.set_exception(busy)

    def _expire(self, waiter: Waiter) -> None:
        """End the wait at its deadline, which may be put off until then."""
        if self._clock.now() < waiter.deadline:
            waiter.alarm = self._clock.call_at(waiter.deadline, lambda: self._expire(waiter))
        elif not waiter.bot.done():
            waiter.bot.set_exception(self._no_bot_in_time())

    def _no_bot_in_time(self) -> RequestError:
        if not len(self.rotation):
            return self.availability.error(self._clock.now())
        if not self.rotation.is_any_answered:
            return TimedOut("the Game Coordinator answers no bot at the moment", NOT_READY_RETRY_S)
        return Busy("no bot had time within the deadline; try again soon", BUSY_RETRY_S)

    def _hand_out(self) -> None:
        """Give waiters the bots with room, now and when the pacing interval of the next one is over."""
        now = self._clock.now()
        while (waiter := self.queue.first()) is not None:
            if waiter.bot.done():
                self.queue.discard(waiter)
                continue
            bot = self.rotation.take(now, waiter.avoid)
            if bot is None:
                break
            self.queue.serve(waiter)
            waiter.bot.set_result(bot)
        if self._wake_up is not None:
            self._wake_up.cancel()
            self._wake_up = None
        if self.queue.size and (rest := self.rotation.next_rest_over(now)):
            self._wake_up = self._clock.call_at(now + rest, self._hand_out)

    def _admit(self, bot: ReadyBot, standing: Standing = Standing.GOOD) -> None:
        """Let a bot take turns, or wait until the budget of its egress address frees."""
        if self.availability.keep_back(bot):
            self.rotation.remove(bot.bot_id)
            self._refuse_waiters(only_if_spent=True)
        else:
            self.rotation.add(bot, standing)
            self._hand_out()

    def _admit_all(self, bots: list[ReadyBot]) -> None:
        for bot in bots:
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
