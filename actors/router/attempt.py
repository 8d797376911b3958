"""One GC request by one bot: reserve, ask, classify.

sent ──► overdue ──► late ──► silent
         hedge       no load  evidence: see unanswered.py

An attempt accepts its answer as long as the bot's GC session lives: the request is paid for. After
`bots.request_timeout` it is late and counts no longer as load of its bot; when it took several times as
long as the answers that others got meanwhile, it is silence.
"""

from __future__ import annotations

import asyncio
import math
import random
from dataclasses import dataclass, field, replace
from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.accounts.models import Refused, Reserved
from actors.accounts.store import AccountStore
from actors.bot.messages import ReadyBot, ServeMatch
from actors.clock import Cancellable, Clock, Tasks
from actors.errors import (
    AccountError,
    LocalProtocolError,
    RequestDropped,
    RequestStoreUnavailable,
    SteamError,
    StoreMisused,
)
from actors.matches.cache import MatchCache
from actors.matches.match import Known, NoMatch, NoMatchReason, answer_of
from actors.matches.protobuf.decoder import MatchDecoder
from actors.matches.protobuf.wire import DecodeError
from actors.matches.store import MatchStore
from actors.router.bot_health import LEAST_S, BotHealth
from actors.router.bot_pool import BotPool
from actors.router.claim import store_unavailable
from actors.router.messages import RouterPolicy
from actors.router.metrics import Failure, RouterMetrics
from actors.router.unanswered import Why

# CMsgGCMatchDetailsResponse.result, as odota/core reads it.
RESULT_OK: Final = 1
VERDICTS: Final = {2: NoMatchReason.NOT_FOUND, 15: NoMatchReason.BLOCKED}

# Trouble inside the GC (Busy, Timeout, ServiceUnavailable); it may be over soon.
TROUBLE: Final = frozenset({10, 16, 20})

BOT_GRACE_S: Final = 1.0  # for the bot's check of its connection
LOOKS: Final = 5  # within a request timeout, whether a late request counts as silence yet


@dataclass(slots=True)
class FetchContext:
    """What all fetches of a router share."""

    matches: MatchStore
    accounts: AccountStore
    memory: MatchCache
    pool: BotPool
    health: BotHealth
    decoder: MatchDecoder
    metrics: RouterMetrics
    policy: RouterPolicy
    rng: random.Random
    clock: Clock
    log: FilteringBoundLogger
    attempts: Tasks = field(default_factory=Tasks)
    storing: Tasks = field(default_factory=Tasks)  # short calls of Redis, never cancelled


@dataclass(frozen=True, slots=True)
class Failed:
    """The bot did not bring the match. `useless`: why its answer is of no use, where there was one."""

    reason: str
    kind: Failure = Failure.UNUSABLE
    useless: Why | None = None


Outcome = Known | Failed | Refused | RequestStoreUnavailable
SILENCE: Final = Failed("silence", Failure.SILENT)


@dataclass(slots=True, eq=False)
class Attempt:
    """A request of a bot for a match, from the moment in which the bot is acquired."""

    _match_id: int
    bot: ReadyBot
    _request_id: str
    _context: FetchContext
    _changed: asyncio.Event  # set when it is late or silent
    started_at: float  # clock seconds
    asked_at: float = math.inf  # clock seconds; inf until the bot is asked
    is_late: bool = False  # its bot is released
    is_silent: bool = False  # its outcome is silence, so far
    others_got_it: bool = False  # another attempt brought the match; the fetch sets it
    _is_overdue: bool = False
    _alarm: Cancellable = field(init=False)  # the next look at it, once the bot is asked

    async def run(self, counted: Reserved | Refused | None) -> Outcome:
        """Ask the bot, however late it answers. `counted`: None where the request is still to be."""
        verdict = counted or await self._reserve()
        if isinstance(verdict, Refused):
            self._context.health.refused(self.bot, verdict)
        if not isinstance(verdict, Reserved):
            return verdict
        context, bot = self._context, self.bot
        asked_at = self.asked_at = context.clock.now()
        timeout_s = context.policy.request_timeout_s
        first_look_s = min(context.health.hedging.overdue_s, timeout_s + BOT_GRACE_S)
        self._alarm = context.clock.call_at(asked_at + first_look_s, self._look)
        try:
            body = await bot.address.ask(
                ServeMatch(self._match_id, timeout_s, self._request_id, late_s=math.inf),
                deadline=math.inf,
            )
        except TimeoutError:
            return self._failed(SILENCE)
        except RequestDropped as error:
            return self._failed(Failed(str(error), Failure.DROPPED))
        except (SteamError, LocalProtocolError) as error:
            return self._failed(Failed(str(error), Failure.BROKE))
        finally:
            self._alarm.cancel()
        outcome = self._classified(body)
        useless = outcome.useless if isinstance(outcome, Failed) else None
        context.health.answered(bot, self._match_id, asked_at, useless)
        return self._failed(outcome) if isinstance(outcome, Failed) else outcome

    async def _reserve(self) -> Reserved | Refused | Failed | RequestStoreUnavailable:
        bot = self.bot
        try:
            return await self._context.accounts.reserve(bot.account, bot.fencing_token, bot.ip)
        except StoreMisused as error:  # a key of this account; others may be in order
            return self._failed(Failed(str(error), Failure.BROKE))
        except AccountError as error:
            return store_unavailable(error)

    def _classified(self, body: bytes) -> Known | Failed:
        match_id, context = self._match_id, self._context
        now, freshness = context.clock.wall(), context.policy.freshness
        try:
            details = context.decoder.decode(body)
        except DecodeError as error:
            return Failed(str(error), useless=Why.USELESS)
        context.metrics.latency.observe(context.clock.now() - self.asked_at)
        if (verdict := VERDICTS.get(details.result)) is not None:
            return NoMatch(match_id, verdict, now, now + freshness.negative_ttl_s)
        if details.result != RESULT_OK:
            useless = Why.TROUBLE if details.result in TROUBLE else Why.USELESS
            return Failed(f"result {details.result}", useless=useless)
        if details.match_id != match_id:  # never return another match, whatever went wrong
            return Failed(f"the answer was about match {details.match_id}", useless=Why.USELESS)
        ttl_s = freshness.ttl_of(details, now)
        answer = answer_of(match_id, body, details, now=now, ttl_s=ttl_s)
        return replace(answer, steam_id=self.bot.steam_id, ip=self.bot.ip)

    def _look(self) -> None:
        """Note whether it is overdue, late or silent by now, and look again later."""
        now, health = self._context.clock.now(), self._context.health
        timeout_s, overdue_s = self._context.policy.request_timeout_s, health.hedging.overdue_s
        late_at = self.asked_at + timeout_s + BOT_GRACE_S
        if now < late_at:
            self._note_overdue()
            is_slow = health.slow(self.bot, self.asked_at)
            look_s = math.inf if is_slow else max(now - self.asked_at, LEAST_S)
            self._alarm = self._context.clock.call_at(min(late_at, now + look_s), self._look)
            return
        if not self.is_late:
            self.is_late = True
            self._context.pool.release(self.bot)
            self._changed.set()
        silent_at = health.hedging.silent_at(self.asked_at, timeout_s)
        if now >= min(silent_at, self.asked_at + overdue_s):
            self._note_overdue()
        if now < silent_at:
            look_at = min(silent_at, now + timeout_s / LOOKS)
            self._alarm = self._context.clock.call_at(look_at, self._look)
            return
        self._failed(SILENCE)
        self.is_silent = True
        self._changed.set()

    def _note_overdue(self) -> None:
        if not self._is_overdue:
            self._is_overdue = True
            self._context.pool.rotation.overdue(self.bot)

    def _failed(self, failed: Failed) -> Failed:
        """Count and log a failure, and note what it says about the bot, the account or the match."""
        if self.is_silent:  # noted by then
            return failed
        bot, context = self.bot, self._context
        context.metrics.failures[failed.kind].inc()
        # A bot that breaks is logged by itself.
        is_news = failed.kind is not Failure.BROKE and context.health.failures.is_news(bot.account)
        write = context.log.info if is_news else context.log.debug
        write(
            "attempt_failed",
            match_id=self._match_id,
            account=bot.account,
            reason=failed.reason,
            request_id=self._request_id,
        )
        is_dropped = failed.kind is Failure.DROPPED
        is_silence = is_dropped or failed.kind is Failure.SILENT
        if is_dropped:  # as if it were overdue: it counts among those that were not answered
            self._note_overdue()
        if is_silence:
            asked_at = None if is_dropped else self.asked_at
            context.health.silent(bot, self._match_id, asked_at, others_got_it=self.others_got_it)
        if self._is_overdue:  # after that: a bot that is paused for it gets no further request
            context.pool.not_overdue(bot, is_silence=is_silence)
        return failed
