"""One in-flight match and its waiters (single flight).

nothing is running      look the match up and take the next bot in turn, waiting in the queue if need be;
                        if a bot is free at once, the lookup reserves its request, too
an attempt is overdue   a second bot is asked (a hedge), if one is idle and hedges are within bounds
it is late, or half the time is gone
                        another bot, waiting in the queue if need be, unless no bot is answered
an attempt failed       another one, at once unless one is still running

The first answer resolves the fetch; three silent bots at most are asked. A request outlives its fetch: a
later answer resolves the fetch of the match at that time, and goes to the cache.
"""

from __future__ import annotations

import asyncio
import math
from typing import Final

from actors.accounts.models import Refused, Reserved
from actors.actor import fail, resolve
from actors.bot.messages import ReadyBot
from actors.errors import QuotaExhausted, RequestError, RequestStoreUnavailable, TimedOut, Unusable
from actors.matches.match import Known, MatchAnswer, NoMatch
from actors.matches.store import ANYTHING, NEWS, Claim, Locked
from actors.router.attempt import SILENCE, Attempt, Failed, FetchContext, Outcome
from actors.router.bot_health import LEAST_S, TIMES
from actors.router.claim import MatchClaim
from actors.router.messages import FetchMatch
from actors.router.metrics import Failure, Lookup
from actors.router.unanswered import UNUSABLE, Why
from actors.router.wait_queue import Waiter

TIMED_OUT_RETRY_S: Final = 5.0
UNUSABLE_RETRY_S: Final = 30.0
LOCKED_RETRY_S: Final = 1.0
LOOK_AGAIN_S: Final = 0.5  # for a bot that was not asked yet
NO_ANSWER: Final = Failed("no answer within the deadline")


class Fetch:
    """One match that is being fetched, and the requests that wait for it."""

    def __init__(self, match_id: int, fetches: dict[int, Fetch], context: FetchContext) -> None:
        """`fetches`: all of the router, by match."""
        self.waiters: dict[asyncio.Future[MatchAnswer], None] = {}
        self._match_id = match_id
        self._fetches = fetches
        self._context = context
        self._clock = context.clock
        self._claim = MatchClaim(
            context.matches, match_id, context.storing, clock=context.clock, log=context.log
        )
        self._client = ""  # whose share of the queue it uses
        self._priority = 0  # the highest of its waiters
        self._deadline = 0.0  # the latest of its waiters
        self._request_id = ""
        self._after = ANYTHING  # whether what is known already will do
        self._attempts: list[Attempt] = []
        self._running: list[Attempt] = []  # those that may still be answered in time
        self._attempts_left = context.policy.attempts  # how many bots may still fail it
        self._breaks_left = context.policy.breaks  # how many bots may still be lost
        self._failed: frozenset[str] = frozenset()  # accounts; used last from now on
        self._last_failure = NO_ANSWER
        self._trouble: RequestStoreUnavailable | None = None  # fails it once nothing is running
        self._was_missed = False  # it was found nowhere, so a bot was, or is, asked for it
        self._has_hedged = False
        self._in_queue: Waiter | None = None
        self._known: Known | None = None
        self._changed = asyncio.Event()

    @property
    def asked(self) -> ReadyBot | None:
        """The bot that was asked last."""
        return next((one.bot for one in reversed(self._attempts) if one.asked_at < math.inf), None)

    def join(self, request: FetchMatch) -> asyncio.Future[MatchAnswer]:
        """Add a waiter and return its answer; each keeps its own deadline."""
        if not self.waiters:
            self._client, self._request_id = request.client, request.request_id
            self._priority = request.priority
            if self._running:  # `run` waits for them
                self._changed.set()
        waiter: asyncio.Future[MatchAnswer] = asyncio.get_running_loop().create_future()
        self.waiters[waiter] = None
        waiter.add_done_callback(self._leave)
        self._deadline = max(self._deadline, request.deadline)
        self._priority = max(self._priority, request.priority)
        if request.refresh and self._after == ANYTHING and not (self._running and self._was_missed):
            self._after = NEWS
        if self._in_queue is not None:
            self._context.pool.raise_to(self._in_queue, self._priority, self._deadline)
        return waiter

    async def run(self) -> None:
        """Run until resolved, or until there are neither waiters nor running attempts."""
        try:
            while self._known is None and (self.waiters or self._running):
                await self._step()
        finally:
            self._forget()
            self._claim.release()

    def deliver(self, known: Known) -> None:
        """Resolve with an answer of the Game Coordinator, also after the end of `run`."""
        if self._known is None:
            self._resolve(known)
            self._claim.publish(known)

    def fail(self, error: RequestError) -> None:
        """Fail all waiters; a later request may still succeed."""
        if (asked := self.asked) is not None:
            error.steam_id, error.ip = asked.steam_id, asked.ip
        for waiter in self.waiters:
            fail(waiter, error)
        self.waiters.clear()

    async def _step(self) -> None:
        try:
            if not self.waiters:
                if all(one.is_late for one in self._running):
                    self._claim.release()
                await self._wait(math.inf)
            elif self._running:
                await self._add_attempt()
            else:
                await self._begin()
        except RequestError as error:
            self.fail(error)

    async def _wait(self, until: float) -> None:
        """Return when an attempt or the waiters changed, at `until` at the latest."""
        alarm = self._clock.call_at(until, self._changed.set) if until < math.inf else None
        try:
            await self._changed.wait()
        finally:
            self._changed.clear()
            if alarm is not None:
                alarm.cancel()
        self._drop_silent()

    def _leave(self, waiter: asyncio.Future[MatchAnswer]) -> None:
        """Remove a waiter; without any, leave the queue and start no more attempts."""
        self.waiters.pop(waiter, None)
        if not self.waiters:
            self._changed.set()
            if self._in_queue is not None:
                self._context.pool.leave(self._in_queue)

    def _resolve(self, known: Known) -> None:
        """Answer all waiters with the match, or why there is none."""
        self._known = known
        self._forget()
        self._changed.set()
        for one in self._running:
            one.others_got_it = True
        self._context.memory.put(known)
        if isinstance(known, NoMatch):
            self.fail(known.error(self._clock.wall()))
        else:
            for waiter in self.waiters:
                resolve(waiter, known)
            self.waiters.clear()

    def _forget(self) -> None:
        if self._fetches.get(self._match_id) is self:
            del self._fetches[self._match_id]

    def _raise_if_hopeless(self) -> None:
        if (refusal := self._refusal()) is not None:
            raise refusal
        trouble, self._trouble = self._trouble, None
        if trouble is not None:
            raise trouble
        is_over = self._clock.now() >= self._deadline
        is_over |= min(self._attempts_left, self._breaks_left) <= 0
        is_useless = self._last_failure.useless is Why.USELESS
        if is_over or (is_useless and not self._context.pool.rotation.has_others(self._failed)):
            raise self._failure()  # the only account would answer the same again

    def _refusal(self) -> TimedOut | Unusable | None:
        aside = self._context.health.unanswered.aside.get(self._match_id)
        return None if aside is None else aside.refusal(self._clock.now())

    def _failure(self) -> TimedOut | Unusable | QuotaExhausted:
        spent = self._context.pool.refusal()
        if isinstance(spent, QuotaExhausted):  # so no other bot was asked
            return spent
        failed = self._last_failure
        if failed.useless is Why.USELESS:
            return Unusable(f"{UNUSABLE}: {failed.reason}", UNUSABLE_RETRY_S)
        return TimedOut(f"the Game Coordinator did not answer: {failed.reason}", TIMED_OUT_RETRY_S)

    @property
    def _avoid(self) -> frozenset[str]:
        """Accounts that this match should not be asked of while there are others."""
        return self._failed | {one.bot.account for one in self._running}

    # -- nothing is running --------------------------------------------------------------------

    async def _begin(self) -> None:
        """Look the match up, and start an attempt with the claim. Raises RequestError."""
        self._raise_if_hopeless()
        pool, was_locked = self._context.pool, False
        bot = pool.acquire_now(self._avoid)
        while self.waiters:
            found = await self._lookup(bot)
            if isinstance(found, MatchAnswer | NoMatch):
                if self._known is None:
                    self._context.metrics.looked_up(Lookup.REDIS)
                    self._resolve(found)
                return
            if isinstance(found, Locked):
                bot, was_locked = None, True
                if self._clock.now() >= self._deadline:
                    raise TimedOut("another instance did not get it in time", LOCKED_RETRY_S)
                pause_s = self._claim.poll_s * (0.5 + self._context.rng.random())
                await self._wait(self._clock.now() + pause_s)
                continue
            if was_locked:
                self._context.metrics.taken_over.inc()
            if isinstance(found, Claim) and not self.waiters:  # and nothing is counted
                break
            if (bot := bot or pool.acquire_now(self._avoid)) is not None:
                self._start(bot, None if isinstance(found, Claim) else found)
                return
            self._claim.release()  # another instance may have a free bot
            bot, was_locked = await self._queue(), False
        if bot is not None:
            pool.release(bot, unused_since=self._clock.now())

    async def _lookup(self, bot: ReadyBot | None) -> Known | Locked | Claim | Reserved | Refused:
        """Look the match up, and reserve a request of `bot` with it; release the bot if that failed."""
        taken_at, charge, is_ours = self._clock.now(), None, False
        if bot is not None:
            charge = self._context.accounts.charge(bot.account, bot.fencing_token, bot.ip)
        try:
            while True:
                after = self._after
                found = await self._claim.lookup(after, charge)
                is_ours = isinstance(found, Claim | Reserved | Refused)
                if is_ours or self._after == after:  # else a client joined that wants news
                    break
        finally:
            if bot is not None and not is_ours:
                self._context.pool.release(bot, unused_since=taken_at)
        if isinstance(found, Locked):
            self._after = found.after
        return found

    async def _queue(self) -> ReadyBot:
        """Wait in the queue for a bot. Raises RequestError."""
        is_patient = self._last_failure is not NO_ANSWER
        waiter = self._in_queue = Waiter(
            self._client, self._priority, self._deadline, avoid=self._avoid, patient=is_patient
        )
        try:
            return await self._context.pool.acquire(waiter)
        finally:
            self._in_queue = None

    # -- attempts are running ------------------------------------------------------------------

    async def _add_attempt(self) -> None:
        """Start another attempt when it is time for it; return when something else happened."""
        not_before = -math.inf
        while self._running and self.waiters:
            now = self._clock.now()
            # Nothing is overdue sooner.
            hedge_at = retry_at = self._running[-1].started_at + LEAST_S
            if now >= hedge_at:
                hedge_at, retry_at = self._next_attempt_at()
            at = max(min(hedge_at, retry_at), not_before)
            if now < at:
                await self._wait(min(at, self._deadline))
                if self._running and self.waiters and self._clock.now() >= self._deadline:
                    raise self._failure()
                continue
            not_before = now + LOOK_AGAIN_S
            bot = await self._other_bot() if now >= retry_at else self._hedge()
            if bot is not None:
                self._start(bot, None)
                return

    def _next_attempt_at(self) -> tuple[float, float]:
        """Return when a hedge is due and when a retry is, whatever that costs; inf for never."""
        if not self._may_add:
            return math.inf, math.inf
        health, timeout_s = self._context.health, self._context.policy.request_timeout_s
        overdue_s, begun = health.hedging.overdue_s, self._running[-1].started_at
        left_s = self._deadline - begun
        last_s = left_s - overdue_s / TIMES  # an attempt without time for an answer makes no sense
        may_hedge = health.hedging.is_allowed and not self._has_hedged and overdue_s <= last_s
        hedge_at = begun + overdue_s if may_hedge else math.inf
        retry_s = max(overdue_s, min(timeout_s, left_s / 2))
        if retry_s >= timeout_s:  # it is clear soon whether the match is to be set aside
            is_witnessed = health.unanswered.may_be_the_match(self._avoid, self._clock.now())
            retry_s = math.inf if is_witnessed else retry_s
        return hedge_at, begun + retry_s if retry_s <= last_s else math.inf

    @property
    def _may_add(self) -> bool:
        """Whether another attempt may start beside those that run; each of them may still fail."""
        is_claimed = self._claim.may_be_held  # else the match was left to other instances
        is_possible = is_claimed and self._trouble is None and self._refusal() is None
        return is_possible and self._breaks_left > 0 and self._attempts_left > len(self._running)

    def _hedge(self) -> ReadyBot | None:
        """Return an idle bot, if there is one; only one hedge for each fetch."""
        hedging = self._context.health.hedging
        if not hedging.is_answered:
            return None
        self._has_hedged = True
        begun = self._running[-1].started_at
        if hedging.is_slow(begun, self._clock.now()) is False:
            return None
        bot = self._context.pool.acquire_idle(self._avoid, answered_since=begun)
        if bot is not None:
            hedging.hedged()
            self._context.metrics.hedges.inc()
            self._context.log.info(
                "fetch_hedged",
                match_id=self._match_id,
                account=bot.account,
                request_id=self._request_id,
            )
        return bot

    async def _other_bot(self) -> ReadyBot | None:
        """Return a bot of an account that was not asked for this match, if there is one to ask.

        None while all bots are slow: one more request makes that worse. While no bot is answered at all,
        only a bot without overdue requests.
        """
        health, pool, now = self._context.health, self._context.pool, self._clock.now()
        is_slow = health.hedging.is_slow(self._running[-1].started_at, now)
        if is_slow is False or not pool.rotation.has_others(self._avoid, good=is_slow is None):
            return None
        if is_slow is None and not health.hedging.ask_blindly(now):
            return None
        try:
            bot = await self._queue()
        except RequestError:  # what is running may still be answered
            return None
        self._drop_silent()
        if bot.account in self._avoid or not self.waiters or not self._may_add:
            pool.release(bot)
            return None
        return bot

    def _start(self, bot: ReadyBot, counted: Reserved | Refused | None) -> None:
        """Start an attempt; `counted`: what the lookup has reserved for it."""
        if not self._was_missed:
            self._was_missed = True
            self._context.metrics.lookups[(Lookup.MISS,)] += 1
        context, now = self._context, self._clock.now()
        one = Attempt(self._match_id, bot, self._request_id, context, self._changed, now)
        self._attempts.append(one)
        self._running.append(one)
        name = f"attempt-{self._match_id}-{bot.bot_id}"
        task = context.attempts.start(one.run(counted), name=name)
        task.add_done_callback(lambda task: self._on_end(one, task))

    def _on_end(self, one: Attempt, task: asyncio.Task[Outcome]) -> None:
        if not one.is_late:
            self._context.pool.release(one.bot)
        if was_running := one in self._running:
            self._running.remove(one)
            self._changed.set()
        if task.cancelled():
            return
        match task.result():
            case MatchAnswer() | NoMatch() as known:
                self._fetches.get(self._match_id, self).deliver(known)
            case RequestStoreUnavailable() as error:
                self._trouble = error
            case Failed() as failed if was_running:
                self._note_failure(one.bot.account, failed)

    def _drop_silent(self) -> None:
        for one in [one for one in self._running if one.is_silent]:
            self._running.remove(one)
            self._note_failure(one.bot.account, SILENCE)

    def _note_failure(self, account: str, failed: Failed) -> None:
        self._last_failure, self._failed = failed, self._failed | {account}
        bot_broke = failed.kind is Failure.BROKE  # and perhaps the GC was never asked
        self._breaks_left -= bot_broke
        self._attempts_left -= not bot_broke
