"""Router actor: cache, single flight, bot changes.

known in memory    answered at once
    in flight          joined
    else               a flight of its own: see pilot.py

It owns everything that has to do with requests and bots, and hands each part only what that part needs.
"""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import Any, Final, assert_never

from structlog.typing import FilteringBoundLogger

from actors.actor import Actor, Address, Envelope, Reply
from actors.bot.messages import BotChanged, BotRemoved
from actors.bot.registry import BotRegistry
from actors.bot.states import BotState
from actors.clock import Tasks, WallClock
from actors.errors import NotReady, QuotaExhausted, RequestError
from actors.matches.cache import MatchCache
from actors.matches.match import Known, MatchAnswer
from actors.matches.protobuf.decoder import MatchDecoder
from actors.router.attempt import Attempts, ReservesBudget
from actors.router.bot_health import BotHealth
from actors.router.bot_pool import LONGEST_TURN_S, BotPool
from actors.router.claim import KnowsMatches, MatchClaim
from actors.router.fetch import Fetch, answer
from actors.router.fetch_loop import FetchLoop
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
from actors.router.metrics import Lookup, Tally
from actors.router.rotation import RoundRobin
from actors.router.spent_budgets import RestingAccounts

# States from which a bot gets ready by itself, soon.
COMING: Final = frozenset(
    {BotState.CONNECTING, BotState.AUTHENTICATING, BotState.LAUNCHING, BotState.BACKING_OFF}
)

# States in which a bot that was about to take another account will not be back at once.
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
        budgets: ReservesBudget,
        matches: KnowsMatches,
        memory: MatchCache,
        decoder: MatchDecoder,
        policy: RouterPolicy,
        tally: Tally,
        registry: BotRegistry,
        clock: WallClock,
        rng: random.Random,
        log: FilteringBoundLogger,
    ) -> None:
        """`memory`: the cache, which HTTP routes also read; `registry`: tells the state of every bot."""
        super().__init__(address, clock=clock, capacity=policy.queue * 2 + 1024)
        log = log.bind(actor="router")
        self._registry = registry
        self._policy = policy
        self._tally = tally
        self._wall = clock.wall
        turns = RoundRobin(max_in_flight=policy.max_in_flight, min_interval_s=policy.min_interval_s)
        self._seats = BotPool(turns, queue=policy.queue, clock=clock)
        conduct = self._conduct = BotHealth(self._seats, tally=tally, clock=clock, log=log)
        self._memory = memory
        self._clearance = MatchClaim(matches, tally=tally, clock=clock, rng=rng, log=log)
        self._tries = Attempts(
            budgets=budgets,
            seats=self._seats,
            conduct=conduct,
            decoder=decoder,
            on_cleared=self._clearance.keep,
            on_brought=self._on_brought,
            on_over=self._close_if_over,
            policy=policy,
            tally=tally,
            clock=clock,
            log=log,
        )
        self._pilot = FetchLoop(
            clearance=self._clearance,
            seats=self._seats,
            conduct=conduct,
            tries=self._tries,
            tally=tally,
            clock=clock,
            log=log,
        )
        self._resting = RestingAccounts()
        self._flights: dict[int, Fetch] = {}
        self._flying = Tasks()
        self._storing = Tasks()

    async def start(self) -> None:
        """Take over the address and learn of the bots that are there already."""
        await super().start()
        self._registry.subscribe(self.address)

    async def run(self) -> None:
        """Route until stopped; flights still under way then end with NotReady."""
        try:
            await super().run()
        finally:
            self._cancel_flights()
            for part in (self._flying, self._tries, self._storing, self._clearance):
                await part.finish()

    async def handle(self, envelope: Envelope[RouterMessage]) -> None:
        """Never waits: whatever takes time is a task."""
        match envelope.message:
            case FetchMatch() as fetch:
                self._on_fetch_match(fetch, envelope.reply)
            case BotChanged() | BotRemoved() as news:
                self._on_news(news)
            case RetireBot(bot_id=bot_id):
                self._on_retire(bot_id, envelope.reply)
            case Reconfigure() as change:
                self._on_reconfigure(change)
            case Hurry():
                self._cancel_flights()
            case GetRouter() | GetLoads() | GetAsked() as question:
                self._on_question(question, envelope.reply)
            case other:
                assert_never(other)

    # -- flights -------------------------------------------------------------------------------

    def _on_fetch_match(self, fetch: FetchMatch, reply: Reply[MatchAnswer] | None) -> None:
        if reply is None:
            return
        now = self._wall()
        if not fetch.refresh and (known := self._memory.get(fetch.match_id, now)) is not None:
            self._tally.looked_up(Lookup.MEMORY)
            answer(reply, known, now)
            return
        if (flight := self._flights.get(fetch.match_id)) is None:
            flight = self._new_flight(fetch.match_id)
        else:
            self._tally.joined()
        flight.join(fetch, reply, partial(self._on_abandoned, flight))
        self._seats.keep_up(flight.place, flight.priority, flight.deadline)
        if flight.pilot is None:
            flight.pilot = self._flying.start(self._fly(flight), name=f"flight-{flight.match_id}")

    def _new_flight(self, match_id: int) -> Fetch:
        claim = self._clearance.claim(match_id)
        flight = Fetch(match_id, claim, tries=self._policy.tries, breaks=self._policy.breaks)
        self._flights[match_id] = flight
        return flight

    async def _fly(self, flight: Fetch) -> None:
        try:
            known = await self._pilot.fly(flight)
            self._tally.looked_up(Lookup.REDIS)
            self._land(flight, known)
        except RequestError as error:
            flight.fail(self._corrected(error))
        finally:
            self._on_pilot_done(flight)

    def _on_pilot_done(self, flight: Fetch) -> None:
        # A flight that was abandoned may have another one by now, or need none.
        if flight.pilot is asyncio.current_task():
            flight.pilot = None
            self._close_if_over(flight)

    def _on_abandoned(self, flight: Fetch) -> None:
        """No request waits: leave the line, start no more tries. Running tries still get answers."""
        if flight.pilot is not None:
            flight.pilot.cancel()
            flight.pilot = None
            self._close_if_over(flight)

    def _on_brought(self, flight: Fetch, known: Known) -> None:
        """A try has landed; a late one serves the flight that is under way for the match now."""
        flight = self._flights.get(flight.match_id, flight)
        if flight.has_landed:
            return
        self._land(flight, known)
        if flight.pilot is not None:
            flight.pilot.cancel()
        store = self._clearance.land(flight, known)
        self._storing.start(store, name=f"store-{flight.match_id}")

    def _land(self, flight: Fetch, known: Known) -> None:
        self._memory.put(known)
        flight.land(known, self._wall())
        self._forget(flight)

    def _close_if_over(self, flight: Fetch) -> None:
        """Forget a flight that has failed, once nothing of it is in the air.

        Others may try as soon as all that is in the air is late.
        """
        if flight.pilot is not None or flight.has_landed:
            return
        if not flight.in_air:
            self._forget(flight)
        if flight.in_air.keys() <= flight.late:
            self._clearance.give_up(flight)

    def _forget(self, flight: Fetch) -> None:
        if self._flights.get(flight.match_id) is flight:
            del self._flights[flight.match_id]

    def _cancel_flights(self) -> None:
        for flight in tuple(self._flights.values()):
            flight.fail(NotReady("the service is stopping"))
        self._flying.cancel()
        self._tries.cancel()

    # -- bots ----------------------------------------------------------------------------------

    def _on_news(self, news: BotChanged | BotRemoved) -> None:
        if isinstance(news, BotRemoved):
            self._seats.forget(news.bot_id)
            self._resting.forget(news.bot_id)
        elif self._seats.is_retired(news.bot_id):  # whatever it does now, it does not come back
            return
        else:
            self._on_bot_changed(news)

    def _on_bot_changed(self, changed: BotChanged) -> None:
        self._resting.note(changed, self._clock.now())
        if changed.seat is not None:
            is_silent = self._conduct.is_silent(changed.seat.account)
            self._seats.join(changed.seat, is_probed=is_silent)
            return
        self._seats.leave(changed.bot_id, is_coming=changed.state in COMING)
        if changed.state is BotState.BACKING_OFF and changed.account is not None:
            self._conduct.broke(changed.account)
        if changed.goes_on_in is not None:
            self._seats.expect(changed.bot_id, changed.goes_on_in)
        if changed.state is BotState.WAITING_FOR_ACCOUNT:
            self._seats.note_budget(changed.budget_frees_in)
        if changed.state is BotState.EXHAUSTED:
            self._seats.rotate(changed.bot_id)
        elif (
            changed.nothing_free
            or changed.state in OFF_COURSE
            or (changed.goes_on_in or 0.0) > LONGEST_TURN_S
        ):
            self._seats.stop_rotating(changed.bot_id)

    def _corrected(self, error: RequestError) -> RequestError:
        if isinstance(error, NotReady):
            return self._resting.corrected(error, self._clock.now())
        return error

    def _on_retire(self, bot_id: str, reply: Reply[Any] | None) -> None:
        self._resting.forget(bot_id)

        def on_idle() -> None:
            if reply is not None:
                reply.set(None)

        self._seats.retire(bot_id, on_idle)

    # -- the rest ------------------------------------------------------------------------------

    def _on_question(
        self, question: GetRouter | GetLoads | GetAsked, reply: Reply[Any] | None
    ) -> None:
        if reply is None:
            return
        match question:
            case GetRouter():
                reply.set(self._report())
            case GetLoads():
                reply.set(dict(self._seats.loads()))
            case GetAsked(match_id=match_id):
                flight = self._flights.get(match_id)
                reply.set(None if flight is None else flight.asked)

    def _report(self) -> RouterReport:
        seats, now = self._seats, self._wall()
        ahead_s = now - self._clock.now()
        refused, frees_at = seats.refusal(), None
        refusal = None if refused is None else self._corrected(refused)
        if isinstance(refusal, QuotaExhausted) and refusal.retry_after is not None:
            frees_at = round(now + refusal.retry_after)
        return RouterReport(
            ready=seats.ready,
            in_flight=sum(not one.is_abandoned for one in self._flights.values()),
            waiting=seats.waiting,
            refusal=None if refusal is None else str(refusal),
            budget="left" if frees_at is None else "spent",
            frees_at=frees_at,
            spent_addresses={ip: round(at + ahead_s) for ip, at in seats.spent_addresses.items()},
            retry_after=None if refusal is None else refusal.retry_after,
        )

    def _on_reconfigure(self, change: Reconfigure) -> None:
        policy = self._policy = self._tries.policy = change.policy
        self._memory.reconfigure(policy.freshness.memory_entries)
        if change.budgets_changed:
            self._seats.forget_budgets()
        self._seats.change_limits(
            max_in_flight=policy.max_in_flight,
            min_interval_s=policy.min_interval_s,
            queue=policy.queue,
        )
