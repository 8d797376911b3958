"""One in-flight match and its waiters (single flight).

nothing is running      look the match up and take the next bot in turn, waiting in the queue for it if
                        need be; if a bot is free at once, the lookup reserves its request, too
an attempt is overdue   a second bot is asked too, if one is idle and hedges are within bounds
an attempt is late, or half the time is gone
                        so that there is time for an answer: another bot, waiting for it if need be,
                        unless no bot is answered
an attempt failed       another one, at once unless one is still running

The first attempt that is answered resolves the fetch. Its cost is bounded: three silent bots at most.

A request outlives its fetch, see attempt.py: an answer that comes after its fetch has ended resolves the
fetch of the match at that time, and goes to the cache.
"""

from __future__ import annotations

import asyncio
import math
from typing import Final

from actors.accounts.models import Refused, Reserved
from actors.actor import Reply
from actors.bot.messages import ReadyBot
from actors.errors import QuotaExhausted, RequestError, RequestStoreUnavailable, TimedOut, Unusable
from actors.matches.match import Known, MatchAnswer, NoMatch
from actors.matches.store import ANYTHING, NEWS, Claim, Locked
from actors.router.attempt import SILENCE, Attempt, Failed, FetchContext
from actors.router.bot_health import UNUSABLE
from actors.router.claim import MatchClaim
from actors.router.messages import FetchMatch
from actors.router.metrics import Failure, Lookup
from actors.router.unanswered import Why
from actors.router.wait_queue import Waiter

TIMED_OUT_RETRY_S: Final = 5.0
UNUSABLE_RETRY_S: Final = 30.0
LOCKED_RETRY_S: Final = 1.0
FIRST_POLL_S: Final = 0.03  # about what a quick answer takes
LONGEST_POLL_S: Final = 0.25
GROWTH: Final = 1.5
LOOK_AGAIN_S: Final = 0.5  # for a bot that was not asked yet


class Fetch:
    """One match that is being fetched. `asked`: the bot that was asked last."""

    def __init__(self, match_id: int, fetches: dict[int, Fetch], context: FetchContext) -> None:
        """`fetches`: all of the router, by match."""
        self.asked: ReadyBot | None = None
        self.task: asyncio.Task[None] | None = None  # of `run`
        self._match_id = match_id
        self._fetches = fetches
        self._context = context
        self._clock = context.clock
        self._claim = MatchClaim(
            *(context.matches, match_id, context.storing), clock=context.clock, log=context.log
        )
        self._waiters: dict[Reply[MatchAnswer], None] = {}
        self._client = ""  # whose share of the queue it uses
        self._priority = 0  # the highest of its waiters
        self._deadline = 0.0  # the latest of its waiters
        self._request_id = ""
        self._after = ANYTHING  # whether what is known already will do
        self._running: list[Attempt] = []
        self._tries = context.policy.tries  # how many bots may still fail it
        self._breaks = context.policy.breaks  # how many bots may still be lost
        self._failed: frozenset[str] = frozenset()  # accounts; used last from now on
        self._last_failure: Failed | None = None
        self._trouble: RequestStoreUnavailable | None = (
            None  # ends it unless an attempt is answered
        )
        self._was_missed = False  # it was found nowhere, so a bot was, or is, asked for it
        self._has_hedged = False
        self._in_queue: Waiter | None = None
        self._known: Known | None = None
        self._changed = asyncio.Event()

    @property
    def has_waiters(self) -> bool:
        """Whether a request waits for the match."""
        return bool(self._waiters)

    def join(self, request: FetchMatch, reply: Reply[MatchAnswer]) -> None:
        """Add a waiter; each keeps its own deadline."""
        if not self._waiters:
            self._client, self._request_id = request.client, request.request_id
            self._priority = request.priority
            self._changed.set()
        self._waiters[reply] = None
        reply.when_done(lambda: self._on_reply_done(reply))
        self._deadline = max(self._deadline, request.deadline)
        self._priority = max(self._priority, request.priority)
        is_asked_for = bool(self._running) and self._was_missed
        if request.refresh and not is_asked_for and self._after == ANYTHING:
            self._after = NEWS
        if self._in_queue is not None:
            self._context.pool.raise_to(self._in_queue, self._priority, self._deadline)

    async def run(self) -> None:
        """Run until resolved, or until there are neither waiters nor running attempts."""
        with self._claim:
            try:
                while self._known is None and (self._waiters or self._running):
                    await self._step()
            finally:
                self._forget()

    def resolve(self, known: Known) -> None:
        """Answer all waiters with what the Game Coordinator answered, and publish that."""
        if self._known is None:
            self._claim.publish(known)
            self._resolve(known)

    def stop(self, error: RequestError) -> None:
        """Fail all waiters and end `run`."""
        self._fail(error)
        self._forget()
        if self.task is not None:
            self.task.cancel()

    async def _step(self) -> None:
        try:
            if not self._waiters:
                if all(one.is_late for one in self._running):
                    self._claim.release()
                await self._wait(math.inf)
            elif self._running:
                await self._add_attempt()
            else:
                await self._begin()
        except RequestError as error:
            self._fail(error)

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

    # -- the end -------------------------------------------------------------------------------

    def _on_reply_done(self, reply: Reply[MatchAnswer]) -> None:
        self._waiters.pop(reply, None)
        if not self._waiters:
            self._abandon()

    def _abandon(self) -> None:
        """No request waits: leave the queue and start no more attempts."""
        self._changed.set()
        if self._in_queue is not None:
            self._context.pool.leave(self._in_queue)

    def _resolve(self, known: Known) -> None:
        """Answer all waiters with the match, or why there is none."""
        self._known = known
        for one in self._running:
            one.others_got_it = True
        self._context.memory.put(known)
        waiters, self._waiters = self._waiters, {}
        for reply in waiters:
            answer(reply, known, self._clock.wall(), self.asked)
        self._forget()
        self._abandon()

    def _fail(self, error: RequestError) -> None:
        """Fail all waiters; a later request may still succeed."""
        waiters, self._waiters = self._waiters, {}
        for reply in waiters:
            refuse(reply, error, self.asked)

    def _forget(self) -> None:
        if self._fetches.get(self._match_id) is self:
            del self._fetches[self._match_id]

    def _raise_if_hopeless(self) -> None:
        if (refusal := self._context.health.refusal_of(self._match_id)) is not None:
            raise refusal
        if self._trouble is not None:
            trouble, self._trouble = self._trouble, None
            raise trouble
        # Its only account would answer the same again.
        is_useless = self._is_useless and not self._context.pool.rotation.has_others(self._failed)
        if is_useless or not self._may_try or self._clock.now() >= self._deadline:
            raise self._failure()

    def _failure(self) -> TimedOut | Unusable | QuotaExhausted:
        spent = self._context.pool.refusal()
        if isinstance(spent, QuotaExhausted):  # so no other bot was asked
            return spent
        failed = self._last_failure
        if failed is not None and self._is_useless:
            return Unusable(f"{UNUSABLE}: {failed.reason}", UNUSABLE_RETRY_S)
        reason = failed.reason if failed else "no answer within the deadline"
        return TimedOut(f"the Game Coordinator did not answer: {reason}", TIMED_OUT_RETRY_S)

    @property
    def _is_useless(self) -> bool:
        return self._last_failure is not None and self._last_failure.useless is Why.USELESS

    @property
    def _may_try(self) -> bool:
        return self._tries > 0 and self._breaks > 0

    @property
    def _avoid(self) -> frozenset[str]:
        """Accounts that this match should not be asked of while there are others."""
        return self._failed | {one.bot.account for one in self._running}

    # -- nothing is running --------------------------------------------------------------------

    async def _begin(self) -> None:
        """Look the match up, and start an attempt once this instance has the claim.

        A fetch in the queue holds no claim: another instance may have a free bot.

        Raises:
            RequestError: it failed without a match.
        """
        self._raise_if_hopeless()
        pool, poll_s, was_locked = self._context.pool, FIRST_POLL_S, False
        bot = pool.acquire_now(self._avoid)
        while self._waiters:
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
                await self._wait(self._clock.now() + poll_s * (0.5 + self._context.rng.random()))
                poll_s = min(poll_s * GROWTH, LONGEST_POLL_S)
                continue
            if was_locked:
                self._context.metrics.taken_over.inc()
            if bot is None and self._waiters:
                bot = pool.acquire_now(self._avoid)
            if bot is not None:
                self._start(bot, found)
                return
            self._claim.release()
            bot, was_locked = await self._queue(), False
        if bot is not None:
            pool.release(bot, unused_since=self._clock.now())

    async def _lookup(self, bot: ReadyBot | None) -> Known | Locked | Claim | Reserved | Refused:
        """Look the match up, and reserve a request of `bot` with it; release the bot if that failed."""
        taken_at, accounts = self._clock.now(), self._context.accounts
        charge = None
        if bot is not None:
            charge = accounts.charge(bot.account, bot.fencing_token, bot.ip)
        is_ours = False
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
        is_patient = self._last_failure is not None
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
        while self._running and self._waiters:
            hedge_at, retry_at = self._next_attempt_at()
            at, now = max(min(hedge_at, retry_at), not_before), self._clock.now()
            if now < at:
                await self._wait(min(at, self._deadline))
                if self._running and self._waiters and self._clock.now() >= self._deadline:
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
        hedging, begun = health.hedging, self._last_start
        overdue_s, left_s = hedging.overdue_s, self._deadline - begun
        last_s = left_s - hedging.answer_s
        hedge_s = math.inf if self._has_hedged or not hedging.is_allowed else overdue_s
        retry_s = max(overdue_s, min(timeout_s, left_s / 2))
        if retry_s >= timeout_s and health.may_be_the_match(self._avoid):
            retry_s = math.inf  # then it is clear soon whether the match is to be set aside
        return (
            begun + hedge_s if hedge_s <= last_s else math.inf,
            begun + retry_s if retry_s <= last_s else math.inf,
        )

    @property
    def _last_start(self) -> float:
        return max(one.started_at for one in self._running)

    @property
    def _may_add(self) -> bool:
        """Whether another attempt may start beside those that run; each of them may still fail."""
        is_aside = self._context.health.refusal_of(self._match_id) is not None
        is_claimed = self._claim.may_be_held  # not if it was left to other instances meanwhile
        is_possible = self._may_try and is_claimed and self._trouble is None and not is_aside
        return is_possible and self._tries > len(self._running)

    def _hedge(self) -> ReadyBot | None:
        """Return an idle bot, if there is one; only one hedge for each fetch."""
        hedging = self._context.health.hedging
        if not hedging.is_answered:
            return None
        self._has_hedged = True
        begun = self._last_start
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
        """Return a bot of an account that has not been asked for this match, if there is any.

        None while others are not answered sooner either: where all are slow, one more request makes it
        slower. While no bot is answered at all, only one that has no overdue request itself.
        """
        health, pool, now = self._context.health, self._context.pool, self._clock.now()
        is_slow = health.hedging.is_slow(self._last_start, now)
        if is_slow is False or not pool.rotation.has_others(self._avoid, good=is_slow is None):
            return None
        if is_slow is None and not health.hedging.ask_blindly(now):
            return None
        try:
            bot = await self._queue()
        except RequestError:  # what is running may still be answered
            return None
        if bot.account in self._avoid or not self._waiters or not self._may_add:
            pool.release(bot)
            return None
        return bot

    # -- attempts ------------------------------------------------------------------------------

    def _start(self, bot: ReadyBot, found: Claim | Reserved | Refused | None) -> None:
        """Start an attempt; `found`: what the lookup has reserved for it."""
        context = self._context
        if not self._was_missed:
            self._was_missed = True
            context.metrics.lookups[(Lookup.MISS,)] += 1
        if isinstance(found, Refused):
            context.health.refused(bot, found)
            context.pool.release(bot)
            return
        one = Attempt(self._match_id, bot, self._request_id, context, self._changed)
        self._running.append(one)
        work = self._attempt(one, is_reserved=isinstance(found, Reserved))
        task = context.attempts.start(work, name=f"attempt-{self._match_id}-{bot.bot_id}")
        # Not in the task: one that is cancelled before its first step would never get there.
        task.add_done_callback(lambda _: self._end(one))

    async def _attempt(self, one: Attempt, *, is_reserved: bool) -> None:
        try:
            refused = None if is_reserved else await one.reserve()
        except RequestStoreUnavailable as error:
            self._trouble = error
            return
        if refused is None:
            self.asked = one.bot
            outcome = await one.ask()
            if not isinstance(outcome, Failed):
                # A late answer is for the fetch of the match at this time.
                self._fetches.get(self._match_id, self).resolve(outcome)
                return
            refused = outcome
        if isinstance(refused, Failed) and not one.is_silent:
            self._note_failure(one.bot.account, refused)

    def _end(self, one: Attempt) -> None:
        one.end()
        if one in self._running:
            self._running.remove(one)

    def _drop_silent(self) -> None:
        """Wait no longer for attempts that are silent."""
        for one in [one for one in self._running if one.is_silent]:
            self._running.remove(one)
            self._note_failure(one.bot.account, SILENCE)

    def _note_failure(self, account: str, failed: Failed) -> None:
        self._last_failure = failed
        self._failed |= {account}
        if failed.kind is Failure.BROKE:  # and perhaps the GC was never asked
            self._breaks -= 1
        else:
            self._tries -= 1


def answer(
    reply: Reply[MatchAnswer], known: Known, now: float, asked: ReadyBot | None = None
) -> None:
    """Answer with what is known; `now` in UTC seconds, `asked`: the bot that was asked last."""
    if isinstance(known, MatchAnswer):
        reply.set(known)
    else:
        refuse(reply, known.error(now), asked)


def refuse(reply: Reply[MatchAnswer], error: RequestError, asked: ReadyBot | None) -> None:
    """Answer with an error, and with the bot that was asked last."""
    if asked is not None:
        error.steam_id, error.ip = asked.steam_id, asked.ip
    reply.fail(error)
