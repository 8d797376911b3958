"""The router: match requests in, one flight per match, each flown by the next bot in turn.

For every try it takes a seat, reserves one of the account's and one of the IP's daily budget (counted
before it is sent), asks the bot, and decodes. A bot that fails or stays silent is followed by another
one, bounded in number and by the deadline; each try is charged where it was spent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, Protocol, assert_never

from structlog.typing import FilteringBoundLogger

from actors.accounts.quota import Refused, Reserved
from actors.actor import Actor, Address, Envelope, Reply
from actors.bot_states import BotState
from actors.circuit import Circuits, Step
from actors.clock import WallClock
from actors.errors import (
    LocalProtocolError,
    MatchBlocked,
    MatchNotFound,
    NotReady,
    RequestError,
    RequestStoreUnavailable,
    SteamError,
    StoreUnavailable,
    TimedOut,
)
from actors.flight import Flight
from actors.matches.answer import MatchAnswer, answer_of
from actors.matches.decoder import DecodeError, MatchDecoder
from actors.matches.details import MatchDetails
from actors.messages import (
    BotChanged,
    BotExpected,
    BotRemoved,
    BudgetSpent,
    FetchMatch,
    GetLoads,
    GetRouter,
    Hurry,
    Reconfigure,
    Relog,
    RetireBot,
    RouterMessage,
    RouterPolicy,
    RouterReport,
    Seat,
    ServeMatch,
)
from actors.seats import Seats
from actors.silence import Silence
from actors.turns import Turns

# CMsgGCMatchDetailsResponse.result, as odota/core reads it.
RESULT_OK: Final = 1
RESULT_NOT_FOUND: Final = 2
RESULT_BLOCKED: Final = 15

# States from which a bot gets ready by itself, soon.
COMING: Final = frozenset(
    {BotState.CONNECTING, BotState.AUTHENTICATING, BotState.LAUNCHING, BotState.BACKING_OFF}
)

# States in which a bot that was about to take another account will not be back at once.
OFF_COURSE: Final = frozenset(BotState) - COMING - {
    BotState.EXHAUSTED,
    BotState.WAITING_FOR_ACCOUNT,
} | {BotState.BACKING_OFF}

TIMED_OUT_RETRY_S: Final = 5.0
STORE_RETRY_S: Final = 2.0
# Until an account that Valve counts differently than we do is tried again.
SPENT_EARLY_S: Final = 3600.0


class ReservesBudget(Protocol):
    """What the router needs of the store."""

    async def reserve(self, account: str, fencing_token: int, ip: str | None) -> Reserved | Refused:
        """Count one request before it is sent. Raises StoreUnavailable."""


class _TryFailed(Exception):
    """This bot did not bring the match; the text says why."""

    def __init__(self, reason: str, *, bot_broke: bool = False, was_silent: bool = False) -> None:
        self.bot_broke = bot_broke  # and perhaps the GC was never asked
        self.was_silent = was_silent
        super().__init__(reason)


class Router(Actor[RouterMessage]):
    """See the module."""

    def __init__(
        self,
        *,
        address: Address[RouterMessage],
        store: ReservesBudget,
        decoder: MatchDecoder,
        policy: RouterPolicy,
        catch_up: Callable[[Address[RouterMessage]], None],
        clock: WallClock,
        log: FilteringBoundLogger,
    ) -> None:
        """`catch_up` tells a router that has just started how every bot is."""
        super().__init__(address, clock=clock, capacity=policy.queue * 2 + 1024)
        self._catch_up = catch_up
        self._store = store
        self._decoder = decoder
        self._policy = policy
        self._clock = clock
        self._wall = clock.wall
        self._log = log.bind(actor="router")
        turns = Turns(max_in_flight=policy.max_in_flight, min_interval_s=policy.min_interval_s)
        self._seats = Seats(turns, queue=policy.queue, clock=clock)
        self._silence = Silence()
        self._circuits = Circuits()
        self._retired: dict[str, Reply[None] | None] = {}  # until they are removed
        self._flights: dict[int, Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Take over the address and learn of the bots that are there already."""
        await super().start()
        self._catch_up(self.address)

    async def run(self) -> None:
        """Route until stopped; flights still under way then end with NotReady."""
        try:
            await super().run()
        finally:
            self._cancel_flights()
            if self._tasks:
                await asyncio.wait(self._tasks)

    async def handle(self, envelope: Envelope[RouterMessage]) -> None:
        """Never waits: whatever takes time is a flight's task."""
        match envelope.message:
            case FetchMatch() as fetch:
                self._on_fetch_match(fetch, envelope.reply)
            case BotChanged() | BotExpected() | BotRemoved() as news:
                self._on_news(news)
            case RetireBot(bot_id=bot_id):
                self._seats.retire(bot_id)
                self._retired[bot_id] = envelope.reply
                self._answer_if_idle(bot_id)
            case Reconfigure() as change:
                self._on_reconfigure(change)
            case Hurry():
                self._cancel_flights()
            case GetRouter() | GetLoads() as question:
                self._on_question(question, envelope.reply)
            case other:
                assert_never(other)

    def _cancel_flights(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _on_news(self, news: BotChanged | BotExpected | BotRemoved) -> None:
        match news:
            case BotChanged() as changed:
                self._on_bot_changed(changed)
            case BotExpected(bot_id=bot_id, in_s=in_s):
                if bot_id not in self._retired:
                    self._seats.expect(bot_id, in_s)
            case BotRemoved(bot_id=bot_id):
                self._seats.retire(bot_id)
                self._retired.pop(bot_id, None)

    def _on_question(self, question: GetRouter | GetLoads, reply: Reply[Any] | None) -> None:
        if reply is not None:
            is_report = isinstance(question, GetRouter)
            reply.set(self._report() if is_report else dict(self._seats.loads()))

    def _on_fetch_match(self, fetch: FetchMatch, reply: Reply[MatchAnswer] | None) -> None:
        if reply is None:
            return
        if (flight := self._flights.get(fetch.match_id)) is not None:
            flight.join(reply, fetch.deadline)
            return
        flight = Flight(fetch.match_id, fetch.deadline, [reply])
        self._flights[fetch.match_id] = flight
        task = asyncio.create_task(self._fly(flight), name=f"flight-{fetch.match_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _on_reconfigure(self, change: Reconfigure) -> None:
        policy = self._policy = change.policy
        if change.budgets_changed:
            self._seats.forget_budgets()
        self._seats.change_limits(
            max_in_flight=policy.max_in_flight,
            min_interval_s=policy.min_interval_s,
            queue=policy.queue,
        )

    def _give_back(self, seat: Seat) -> None:
        self._seats.give_back(seat)
        if seat.bot_id in self._retired:
            self._answer_if_idle(seat.bot_id)

    def _answer_if_idle(self, bot_id: str) -> None:
        """Tell whoever retired a bot that it has nothing in flight any more."""
        reply = self._retired[bot_id]
        if reply is not None and bot_id not in self._seats.loads():
            reply.set(None)

    def _on_bot_changed(self, changed: BotChanged) -> None:
        if changed.bot_id in self._retired:  # whatever it does now, it does not come back
            return
        if changed.seat is not None:
            self._seats.join(changed.seat)
            return
        self._seats.leave(changed.bot_id, is_coming=changed.state in COMING)
        if changed.state is BotState.BACKING_OFF and changed.account is not None:
            self._silence.exonerate(changed.account)
        if changed.goes_on_in is not None:
            self._seats.expect(changed.bot_id, changed.goes_on_in)
        if changed.state is BotState.WAITING_FOR_ACCOUNT:
            self._seats.note_budget(changed.budget_frees_in)
        if changed.state is BotState.EXHAUSTED:
            self._seats.rotate(changed.bot_id)
        elif changed.nothing_free or changed.state in OFF_COURSE:
            self._seats.stop_rotating(changed.bot_id)

    def _report(self) -> RouterReport:
        return RouterReport(self._seats.ready, len(self._flights), self._seats.waiting)

    # -- one flight ----------------------------------------------------------------------------

    async def _fly(self, flight: Flight) -> None:
        try:
            answer = await self._bring(flight)
        except RequestError as error:
            flight.fail(error)
        except asyncio.CancelledError:
            flight.fail(NotReady("the service is stopping"))
            raise
        else:
            flight.land(answer)
        finally:
            del self._flights[flight.match_id]

    async def _bring(self, flight: Flight) -> MatchAnswer:
        self._refuse_if_aside(flight.match_id)
        tries, breaks, reason = self._policy.tries, self._policy.breaks, ""
        while tries and breaks and not self._is_over(flight):
            seat = await self._seat_with_budget(flight, patient=bool(reason))
            try:
                return await self._ask(seat, flight)
            except _TryFailed as failed:
                reason = str(failed)
                flight.failed |= {seat.account}
                self._log_failed_try(flight, seat, reason)
                tries -= not failed.bot_broke
                breaks -= failed.bot_broke
                if failed.was_silent:
                    self._note_silence(flight, seat)
            finally:
                self._give_back(seat)
        raise TimedOut(f"the Game Coordinator did not answer: {reason}", TIMED_OUT_RETRY_S)

    def _refuse_if_aside(self, match_id: int) -> None:
        if (left := self._silence.set_aside_for(match_id, self._clock.now())) is not None:
            raise TimedOut("the Game Coordinator stays silent about this match", left)

    def _note_silence(self, flight: Flight, seat: Seat) -> None:
        """Learn from silence; ends the flight when it is the match that is at fault."""
        self._break_circuit(seat)
        if self._silence.silent(seat.account, flight.match_id, self._clock.now()):
            self._log.warning("match_set_aside", match_id=flight.match_id)
            self._refuse_if_aside(flight.match_id)

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
        self._log.warning("circuit_opened", account=account, step=step.name.lower())
        self._silence.distrust(account)
        if step is Step.PAUSE:
            self._seats.pause(seat, self._circuits.pause_s(account))
        elif step is Step.RELOG:
            self._seats.leave(seat.bot_id, is_coming=True)
            self._tell(seat, Relog("nothing is answered over this session"))
        else:
            self._on_refused(seat, Refused("account", SPENT_EARLY_S))

    def _note_answer(self, flight: Flight, seat: Seat) -> None:
        self._circuits.answered(seat.account)
        self._seats.trust(seat)
        spent = self._silence.answered(seat.account, flight.match_id, self._clock.now())
        for account in spent:
            self._log.warning("account_spent_early", account=account, delay_s=SPENT_EARLY_S)
            if (other := self._seats.of_account(account)) is not None:
                self._on_refused(other, Refused("account", SPENT_EARLY_S))

    def _is_over(self, flight: Flight) -> bool:
        return flight.is_abandoned or self._clock.now() >= flight.deadline

    async def _seat_with_budget(self, flight: Flight, *, patient: bool) -> Seat:
        """Return a seat for which this request is already counted."""
        while True:
            seat = await self._seats.take(flight.failed, flight.deadline, patient=patient)
            charged = False
            try:
                charged = await self._charge(seat)
            finally:
                if not charged:
                    self._give_back(seat)
            if charged:
                return seat

    async def _charge(self, seat: Seat) -> bool:
        try:
            verdict = await self._store.reserve(seat.account, seat.fencing_token, seat.ip)
        except StoreUnavailable as error:
            raise RequestStoreUnavailable(
                "Redis is unreachable, so no budget can be counted", STORE_RETRY_S
            ) from error
        if isinstance(verdict, Reserved):
            return True
        self._on_refused(seat, verdict)
        return False

    def _on_refused(self, seat: Seat, refused: Refused) -> None:
        self._log.info(
            "budget_refused", account=seat.account, scope=refused.scope, delay_s=refused.retry_after
        )
        if seat.bot_id in self._retired:
            return
        if refused.scope == "lease":  # the bot is about to find out by itself
            self._seats.leave(seat.bot_id)
            return
        self._seats.bench(seat, refused.retry_after)
        if refused.scope == "account":
            self._seats.note_budget(refused.retry_after)
            self._seats.rotate(seat.bot_id)  # it will say so itself, but only after this turn
            self._tell(seat, BudgetSpent(refused.retry_after))

    def _tell(self, seat: Seat, message: BudgetSpent | Relog) -> None:
        try:
            seat.address.tell(message)
        except LocalProtocolError:  # the bot is about to end anyway
            self._log.debug("notice_undelivered", account=seat.account, notice=str(message))

    async def _ask(self, seat: Seat, flight: Flight) -> MatchAnswer:
        """Raises _TryFailed, MatchNotFound or MatchBlocked."""
        now = self._clock.now()
        timeout_s = max(0.0, min(self._policy.request_timeout_s, flight.deadline - now))
        try:
            body = await seat.address.ask(
                ServeMatch(flight.match_id, timeout_s), deadline=now + timeout_s + 1.0
            )
            details = self._decoder.decode(body)
        except TimeoutError:
            # Only a try of full length is evidence; a short one may have missed a slow answer.
            was_silent = timeout_s >= self._policy.request_timeout_s
            raise _TryFailed("silence", was_silent=was_silent) from None
        except DecodeError as error:
            raise _TryFailed(str(error)) from error
        except (SteamError, LocalProtocolError) as error:
            raise _TryFailed(str(error), bot_broke=True) from error
        self._note_answer(flight, seat)
        _judge(flight.match_id, details)
        answer = answer_of(flight.match_id, body, details, now=self._wall(), ttl_s=0.0)
        return replace(answer, steam_id=seat.steam_id)

    def _log_failed_try(self, flight: Flight, seat: Seat, reason: str) -> None:
        self._log.info("try_failed", match_id=flight.match_id, account=seat.account, reason=reason)


def _judge(match_id: int, details: MatchDetails) -> None:
    """Raise unless it is the match that was asked for."""
    if details.result == RESULT_NOT_FOUND:
        raise MatchNotFound("there is no such match, or it is not available yet")
    if details.result == RESULT_BLOCKED:
        raise MatchBlocked("Valve does not give out this match")
    if details.result != RESULT_OK:
        raise _TryFailed(f"result {details.result}")
    if details.match_id != match_id:  # never hand out another match, whatever went wrong
        raise _TryFailed(f"the answer was about match {details.match_id}")
