"""Router actor: cache, single flight, bot changes.

known in memory    answered at once
being fetched      joined
else               a new fetch: see fetch.py
"""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import Final, assert_never

from structlog.typing import FilteringBoundLogger

from actors.accounts.store import AccountStore
from actors.actor import Actor, Address, resolve
from actors.bot.messages import BotChanged, BotRemoved
from actors.bot.registry import BotRegistry
from actors.bot.states import BotState
from actors.clock import Clock, Tasks
from actors.errors import NotReady, QuotaExhausted
from actors.matches.cache import MatchCache
from actors.matches.match import MatchAnswer
from actors.matches.protobuf.decoder import MatchDecoder
from actors.matches.store import MatchStore
from actors.router.attempt import FetchContext
from actors.router.bot_health import BotHealth
from actors.router.bot_pool import LONGEST_ROTATION_S, BotPool
from actors.router.fetch import Fetch
from actors.router.messages import (
    FetchMatch,
    GetAsked,
    GetLoads,
    GetRouter,
    Hurry,
    Reconfigure,
    RetireBot,
    RouterMessage,
    RouterPolicy,
    RouterReport,
)
from actors.router.metrics import Lookup, RouterMetrics

# States from which a bot gets ready by itself, soon.
COMING: Final = frozenset(
    {BotState.CONNECTING, BotState.AUTHENTICATING, BotState.LAUNCHING, BotState.BACKING_OFF}
)

# States of a bot that was about to take another account and failed on the way.
OFF_COURSE: Final = frozenset(BotState) - COMING - {
    BotState.EXHAUSTED,
    BotState.WAITING_FOR_ACCOUNT,
} | {BotState.BACKING_OFF}


class Router(Actor[RouterMessage]):
    """Actor that answers match requests."""

    def __init__(
        self,
        *,
        address: Address[RouterMessage],
        accounts: AccountStore,
        matches: MatchStore,
        memory: MatchCache,
        decoder: MatchDecoder,
        policy: RouterPolicy,
        metrics: RouterMetrics,
        registry: BotRegistry,
        clock: Clock,
        rng: random.Random,
        log: FilteringBoundLogger,
    ) -> None:
        """`memory`: the cache, which HTTP routes also read; `registry`: tells the state of every bot."""
        super().__init__(address, clock=clock, capacity=policy.queue * 2 + 1024)
        log = log.bind(actor="router")
        self._registry = registry
        self._pool = BotPool(policy, clock=clock)
        self._health = BotHealth(self._pool, accounts, metrics, clock, log)
        self._context = FetchContext(
            *(matches, accounts, memory, self._pool, self._health, decoder),
            *(metrics, policy, rng, clock, log),
        )
        self._fetches: dict[int, Fetch] = {}  # by match
        self._running = Tasks()

    async def on_start(self) -> None:
        """Get the state of every bot."""
        self._registry.subscribe(self.address)

    async def on_stop(self) -> None:
        """End all fetches."""
        self._stop_fetches()
        await self._running.finish()
        await self._context.attempts.finish()
        await self._context.storing.finish()
        await self._health.stop()

    async def handle(self, message: RouterMessage) -> object:
        """Return the answer; never waits: whatever takes time is a task."""
        match message:
            case FetchMatch():
                return self._fetch_match(message)
            case BotChanged() | BotRemoved():
                self._on_fleet_change(message)
            case RetireBot(bot_id=bot_id):
                return self._retire(bot_id)
            case Reconfigure():
                self._on_reconfigure(message)
            case Hurry():
                self._stop_fetches()
            case GetRouter():
                return self._report()
            case GetLoads():
                return dict(self._pool.rotation.loads())
            case GetAsked(match_id=match_id):
                fetch = self._fetches.get(match_id)
                return None if fetch is None else fetch.asked
            case other:
                assert_never(other)
        return None

    # -- fetches -------------------------------------------------------------------------------

    def _fetch_match(self, request: FetchMatch) -> MatchAnswer | asyncio.Future[MatchAnswer]:
        """Return a known match, or the future of one that is fetched. Raises RequestError."""
        match_id, now = request.match_id, self._context.clock.wall()
        if not request.refresh and (known := self._context.memory.get(match_id, now)) is not None:
            self._context.metrics.looked_up(Lookup.MEMORY)
            if isinstance(known, MatchAnswer):
                return known
            raise known.error(now)
        if (fetch := self._fetches.get(match_id)) is not None:
            self._context.metrics.joined.inc()
            return fetch.join(request)
        fetch = self._fetches[match_id] = Fetch(match_id, self._fetches, self._context)
        answer = fetch.join(request)
        self._running.start(fetch.run(), name=f"fetch-{match_id}")
        return answer

    def _stop_fetches(self) -> None:
        for fetch in self._fetches.values():
            fetch.fail(NotReady("the service is stopping"))
        self._fetches.clear()
        self._running.cancel()
        self._context.attempts.cancel()

    # -- bots ----------------------------------------------------------------------------------

    def _on_fleet_change(self, change: BotChanged | BotRemoved) -> None:
        if isinstance(change, BotRemoved):
            self._pool.forget(change.bot_id)
        elif change.bot_id in self._pool.retired:  # it does not come back
            return
        else:
            self._on_bot_changed(change)

    def _on_bot_changed(self, changed: BotChanged) -> None:
        availability, now = self._pool.availability, self._clock.now()
        availability.resting.note(changed, now)
        if (bot := changed.ready_bot) is not None:
            self._pool.add(bot, self._health.standing_of_new(bot.account))
            return
        self._pool.remove(changed.bot_id, is_coming=changed.state in COMING)
        if changed.state is BotState.BACKING_OFF and changed.account is not None:
            self._health.broke(changed.account)
        if changed.goes_on_in is not None:
            availability.coming[changed.bot_id] = now + changed.goes_on_in
        if changed.state is BotState.WAITING_FOR_ACCOUNT and changed.budget_frees_in is not None:
            availability.budget_frees(now + changed.budget_frees_in, now)
        if changed.state is BotState.EXHAUSTED:
            self._pool.rotate(changed.bot_id)
        elif (
            changed.nothing_free
            or changed.state in OFF_COURSE
            or (changed.goes_on_in or 0.0) > LONGEST_ROTATION_S
        ):
            self._pool.stop_rotating(changed.bot_id)

    def _retire(self, bot_id: str) -> asyncio.Future[None]:
        """Give a bot no more requests; return the future of the moment when it has none in flight."""
        idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pool.retire(bot_id, partial(resolve, idle, None))
        return idle

    # -- the rest ------------------------------------------------------------------------------

    def _report(self) -> RouterReport:
        pool, now = self._pool, self._context.clock.wall()
        ahead_s = now - self._clock.now()
        refusal, frees_at = pool.refusal(), None
        if isinstance(refusal, QuotaExhausted) and refusal.retry_after is not None:
            frees_at = round(now + refusal.retry_after)
        return RouterReport(
            ready=len(pool.rotation),
            in_flight=sum(bool(one.waiters) for one in self._fetches.values()),
            waiting=pool.queue.size,
            refusal=None if refusal is None else str(refusal),
            budget="left" if frees_at is None else "spent",
            frees_at=frees_at,
            spent_addresses={
                ip: round(at + ahead_s) for ip, at in pool.availability.spent_addresses.items()
            },
            retry_after=None if refusal is None else refusal.retry_after,
        )

    def _on_reconfigure(self, change: Reconfigure) -> None:
        policy = self._context.policy = change.policy
        self._context.memory.reconfigure(policy.freshness.memory_entries)
        if change.budgets_changed:
            self._pool.forget_budgets()
        self._pool.reconfigure(policy)
