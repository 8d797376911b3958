"""One try: one request of one bot, counted before it is sent, and judged by what comes of it.

A try lasts as long as a bot may take, whether its flight still waits for it or not: what is paid for is
heard to the end. A late answer is remembered like any other, and only full-length silence is evidence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from structlog.typing import FilteringBoundLogger

from actors.accounts.quota import Refused, Reserved, Unmet
from actors.bot_log import FirstFailures
from actors.clearance import STORE_RETRY_S
from actors.clock import WallClock
from actors.conduct import Conduct
from actors.errors import (
    AccountError,
    LocalProtocolError,
    RequestStoreUnavailable,
    SteamError,
    StoreMisused,
)
from actors.flight import Flight
from actors.matches.answer import answer_of
from actors.matches.decoder import DecodeError, MatchDecoder
from actors.matches.details import MatchDetails
from actors.matches.refusal import Known, Refusal, Verdict
from actors.messages import RouterPolicy, Seat, ServeMatch
from actors.redis_client import Condition
from actors.seats import Seats
from actors.tally import Failure, Lookup, Tally
from actors.tasks import Tasks

# CMsgGCMatchDetailsResponse.result, as odota/core reads it.
RESULT_OK: Final = 1
VERDICTS: Final = {2: Verdict.NOT_FOUND, 15: Verdict.BLOCKED}

BOT_GRACE_S: Final = 1.0  # the bot keeps the time; this is for its answer


class ReservesBudget(Protocol):
    """What the router needs of the accounts' store."""

    async def reserve(
        self, account: str, fencing_token: int, ip: str | None, *, if_: Condition | None = None
    ) -> Reserved | Refused | Unmet:
        """Count one request before it is sent. Raises StoreUnavailable, StoreMisused."""


class _TryFailed(Exception):
    """This bot did not bring the match; the text says why."""

    def __init__(self, reason: str, kind: Failure = Failure.UNUSABLE) -> None:
        self.kind = kind
        super().__init__(reason)


@dataclass(slots=True, eq=False)
class Try:
    """One of them. `if_`: what had to hold for its request to be counted."""

    flight: Flight
    seat: Seat
    begun: float  # clock seconds
    if_: Condition | None
    is_void: bool = False  # nothing was to be counted after all
    _settled: asyncio.Event = field(default_factory=asyncio.Event)

    async def is_made(self) -> bool:
        """Return whether it is, or was, one, as soon as that is clear."""
        await self._settled.wait()
        return not self.is_void

    def settle(self) -> None:
        """It is clear."""
        self._settled.set()


class Tries:
    """See the module. Owned by the router."""

    def __init__(
        self,
        *,
        budgets: ReservesBudget,
        seats: Seats,
        conduct: Conduct,
        decoder: MatchDecoder,
        on_cleared: Callable[[Flight], None],
        on_brought: Callable[[Flight, Known], None],
        on_over: Callable[[Flight], None],
        policy: RouterPolicy,
        tally: Tally,
        clock: WallClock,
        log: FilteringBoundLogger,
    ) -> None:
        """See the module.

        `on_cleared`: the condition of a try holds; `on_brought`: the GC has said what there is;
        `on_over`: a try has ended, after all else.
        """
        self.policy = policy
        self._budgets = budgets
        self._seats = seats
        self._conduct = conduct
        self._decoder = decoder
        self._on_cleared = on_cleared
        self._on_brought = on_brought
        self._on_over = on_over
        self._tally = tally
        self._clock = clock
        self._log = log
        self._failures = FirstFailures()
        self._running = Tasks()

    def start(self, flight: Flight, seat: Seat, *, if_: Condition | None = None) -> Try:
        """Let a bot try; the seat is given back when it is over.

        `if_`: only if that holds when its request is to be counted; else it was none.
        """
        if if_ is None:
            self.missed(flight)
        one = Try(flight, seat, self._clock.now(), if_)
        flight.took_off(seat.account, one.begun)
        task = self._running.start(self._try(one), name=f"try-{flight.match_id}-{seat.bot_id}")
        # Not in the task: one that is cancelled before its first step would never get there.
        task.add_done_callback(lambda _: self._end(one))
        return one

    def missed(self, flight: Flight) -> None:
        """The match is nowhere; counted once for a flight."""
        if not flight.was_missed:
            flight.was_missed = True
            self._tally.looked_up(Lookup.MISS)

    def cancel(self) -> None:
        """Give up all that run."""
        self._running.cancel()

    async def finish(self) -> None:
        """Wait for all that run."""
        await self._running.finish()

    async def _try(self, one: Try) -> None:
        flight, seat = one.flight, one.seat
        if flight.is_abandoned:
            one.is_void = True
            return
        try:
            if await self._charge(one):
                one.settle()
                self._on_brought(flight, await self._ask(flight, seat))
        except _TryFailed as failed:
            self._note_failure(flight, seat, failed)

    def _end(self, one: Try) -> None:
        if one.is_void:
            self._seats.put_back(one.seat, one.begun)
        else:
            self._seats.give_back(one.seat)
        one.settle()
        one.flight.came_down(one.seat.account)
        self._on_over(one.flight)

    async def _charge(self, one: Try) -> bool:
        """Return whether the request is counted. Raises _TryFailed."""
        flight, seat = one.flight, one.seat
        try:
            verdict = await self._budgets.reserve(
                seat.account, seat.fencing_token, seat.ip, if_=one.if_
            )
        except StoreMisused as error:  # a key of this account; others may be in order
            raise _TryFailed(str(error), Failure.BROKE) from error
        except AccountError:
            flight.trouble = RequestStoreUnavailable(
                "Redis is unreachable, so no budget can be counted", STORE_RETRY_S
            )
            return False
        if isinstance(verdict, Unmet):
            one.is_void = True
            return False
        if one.if_ is not None:
            self._on_cleared(flight)
        if isinstance(verdict, Refused):
            self._tally.refused(verdict.scope)
            self._conduct.refused(seat, verdict)
            return False
        return True

    async def _ask(self, flight: Flight, seat: Seat) -> Known:
        """Raises _TryFailed."""
        flight.asked = seat
        match_id, timeout_s = flight.match_id, self.policy.request_timeout_s
        begun = self._clock.now()
        overdue_at = begun + self._conduct.hedging.overdue_s
        alarm = self._clock.call_at(overdue_at, lambda: self._conduct.overdue(seat))
        try:
            body = await seat.address.ask(
                ServeMatch(match_id, timeout_s, flight.request_id),
                deadline=begun + timeout_s + BOT_GRACE_S,
            )
            details = self._decoder.decode(body)
        except TimeoutError:
            raise _TryFailed("silence", Failure.SILENT) from None
        except DecodeError as error:
            raise _TryFailed(str(error)) from error
        except (SteamError, LocalProtocolError) as error:
            raise _TryFailed(str(error), Failure.BROKE) from error
        finally:
            alarm.cancel()
        took_s = self._clock.now() - begun
        self._tally.answered(took_s)
        self._conduct.answered(seat, match_id, took_s)
        known = self._judged(match_id, body, details, seat)
        self._failures.succeeded(seat.account)
        return known

    def _judged(self, match_id: int, body: bytes, details: MatchDetails, seat: Seat) -> Known:
        now, freshness = self._clock.wall(), self.policy.freshness
        if (verdict := VERDICTS.get(details.result)) is not None:
            return Refusal(match_id, verdict, now, now + freshness.negative_ttl_s)
        if details.result != RESULT_OK:
            raise _TryFailed(f"result {details.result}")
        if details.match_id != match_id:  # never hand out another match, whatever went wrong
            raise _TryFailed(f"the answer was about match {details.match_id}")
        ttl_s = freshness.ttl_of(details, now)
        answer = answer_of(match_id, body, details, now=now, ttl_s=ttl_s)
        return replace(answer, steam_id=seat.steam_id, ip=seat.ip)

    def _note_failure(self, flight: Flight, seat: Seat, failed: _TryFailed) -> None:
        flight.reason = str(failed)
        flight.failed |= {seat.account}
        bot_broke = failed.kind is Failure.BROKE  # and perhaps the GC was never asked
        flight.tries -= not bot_broke
        flight.breaks -= bot_broke
        self._tally.failed(failed.kind)
        log = self._log.bind(
            match_id=flight.match_id,
            account=seat.account,
            reason=flight.reason,
            request_id=flight.request_id,
        )
        if not bot_broke and self._failures.is_news(seat.account):
            log.info("try_failed")
        else:  # a bot that breaks says so itself
            log.debug("try_failed")
        if failed.kind is Failure.SILENT:
            self._conduct.silent(seat, flight.match_id, others_got_it=flight.has_landed)
