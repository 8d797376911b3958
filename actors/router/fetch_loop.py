"""The retry and hedge loop of one in-flight match.

nothing in the air      the next seat in turn, waiting in line for it if need be; if it is free at
                            once, its request is counted while the match is looked up, if we may fly
    a try is overdue        a second bot is asked too, if one is idle and hedges are within bounds
    a try is late, or half the time is gone
                            so that there is time for an answer: another bot, waiting for it if need be,
                            unless no bot is answered
    a try failed            another one, at once unless one is still in the air

Whichever try lands first ends the flight. What a try costs is bounded: three silent bots at most.
"""

from __future__ import annotations

import math
from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.bot.messages import ReadyBot
from actors.clock import WallClock
from actors.errors import QuotaExhausted, RequestError, TimedOut, Unusable
from actors.matches.match import Known
from actors.matches.store import Claim, Locked
from actors.router.attempt import Attempts
from actors.router.bot_health import UNUSABLE, BotHealth
from actors.router.bot_pool import BotPool
from actors.router.claim import MatchClaim
from actors.router.fetch import Fetch
from actors.router.metrics import Tally
from actors.router.wait_queue import Waiter

TIMED_OUT_RETRY_S: Final = 5.0
UNUSABLE_RETRY_S: Final = 30.0
LOOK_AGAIN_S: Final = 0.5  # for a bot that was not asked yet


class FetchLoop:
    """Runs any number of flights. Owned by the router."""

    def __init__(
        self,
        *,
        clearance: MatchClaim,
        seats: BotPool,
        conduct: BotHealth,
        tries: Attempts,
        tally: Tally,
        clock: WallClock,
        log: FilteringBoundLogger,
    ) -> None:
        self._clearance = clearance
        self._seats = seats
        self._conduct = conduct
        self._tries = tries
        self._tally = tally
        self._clock = clock
        self._log = log

    async def fly(self, flight: Fetch) -> Known:
        """Start tries until this is cancelled because one landed; cancelling it ends no try.

        Returns what another container has brought meanwhile.

        Raises:
            RequestError: it is over without a match.
        """
        while True:
            if flight.in_air:
                seat = await self._one_more_seat(flight)
            else:
                self._refuse_if_hopeless(flight)
                found = await self._look(flight)
                if found is None:
                    continue
                cleared = await self._cleared_seat(flight, found)
                if not isinstance(cleared, ReadyBot):
                    return cleared
                seat = cleared
            if seat is not None:
                self._tries.start(flight, seat)

    def _refuse_if_hopeless(self, flight: Fetch) -> None:
        if (refusal := self._conduct.refusal_of(flight.match_id)) is not None:
            raise refusal
        if flight.trouble is not None:
            trouble, flight.trouble = flight.trouble, None
            raise trouble
        # Its only account would say the same again.
        is_useless = flight.is_useless and not self._seats.has_others(flight.failed)
        if is_useless or not flight.may_try or self._clock.now() >= flight.deadline:
            raise self._in_vain(flight)

    def _in_vain(self, flight: Fetch) -> TimedOut | Unusable | QuotaExhausted:
        if isinstance(spent := self._seats.refusal(), QuotaExhausted):  # so no other bot was asked
            return spent
        if flight.is_useless:
            return Unusable(f"{UNUSABLE}: {flight.reason}", UNUSABLE_RETRY_S)
        reason = flight.reason or "no answer within the deadline"
        return TimedOut(f"the Game Coordinator did not answer: {reason}", TIMED_OUT_RETRY_S)

    # -- nothing in the air --------------------------------------------------------------------

    async def _look(self, flight: Fetch) -> Known | Claim | Locked | None:
        """Return what a look finds, or None when there is a try by then.

        If a seat is free, a try starts with the look. Both of their commands go to Redis at once, the
        look first, and the request is counted if that cleared the flight; if it did not, there was no
        try and the seat still has its turn. Once for each flight: whatever came between, to look and
        then to try is always right.
        """
        seat = None if flight.was_tried_at_once else self._seats.take_now(flight.avoid)
        if seat is None:
            return await self._clearance.look(flight)
        flight.was_tried_at_once = True
        one = self._tries.start(flight, seat, if_=self._clearance.ours(flight))
        found = await self._clearance.look(flight)
        if not isinstance(found, Claim):
            return found
        self._tries.missed(flight)
        return None if await one.is_made() else found

    async def _cleared_seat(self, flight: Fetch, found: Known | Claim | Locked) -> ReadyBot | Known:
        """Return a seat once the flight is cleared, or what is known of the match.

        A flight in line holds no claim: another instance may have a free bot.
        """
        while True:
            known = await self._clearance.obtain(flight, found)
            if known is not None:
                return known
            seat = self._seats.take_now(flight.avoid)
            if seat is not None:
                return seat
            self._clearance.give_up(flight)
            seat = await self._seat_in_line(flight)
            is_cleared = False
            try:
                found = await self._clearance.look(flight)
                is_cleared = isinstance(found, Claim)
            finally:
                if not is_cleared:
                    self._seats.give_back(seat)
            if is_cleared:
                return seat

    async def _seat_in_line(self, flight: Fetch) -> ReadyBot:
        flight.place = Waiter(
            flight.client,
            flight.priority,
            flight.deadline,
            avoid=flight.avoid,
            patient=bool(flight.reason),
        )
        try:
            return await self._seats.take(flight.place)
        finally:
            flight.place = None

    # -- something in the air ------------------------------------------------------------------

    async def _one_more_seat(self, flight: Fetch) -> ReadyBot | None:
        """Return another seat when it is time for it, or None when nothing is in the air any more."""
        not_before = -math.inf
        while flight.in_air:
            hedge_at, retry_at = self._one_more_at(flight)
            at = max(min(hedge_at, retry_at), not_before)
            if self._clock.now() < at:
                await self._wait(flight, at)
                continue
            not_before = self._clock.now() + LOOK_AGAIN_S
            if self._clock.now() >= retry_at:
                seat = await self._other_seat(flight)
            else:
                seat = self._hedge(flight)
            if seat is not None:
                return seat
        return None

    async def _wait(self, flight: Fetch, until: float) -> None:
        await flight.wait_stirred(min(until, flight.deadline), self._clock)
        if flight.in_air and self._clock.now() >= flight.deadline:
            raise self._in_vain(flight)

    def _one_more_at(self, flight: Fetch) -> tuple[float, float]:
        """Return when a hedge is due and when another try is, whatever that costs; inf for never."""
        if not self._may_be_one_more(flight):
            return math.inf, math.inf
        hedging, begun = self._conduct.hedging, max(flight.in_air.values())
        overdue_s, left_s = hedging.overdue_s, flight.deadline - begun
        last_s = left_s - hedging.answer_s
        hedge_s = math.inf if flight.has_hedged or not hedging.is_allowed else overdue_s
        timeout_s = self._tries.policy.request_timeout_s
        retry_s = max(overdue_s, min(timeout_s, left_s / 2))
        if retry_s >= timeout_s and self._conduct.may_be_the_match(flight.avoid):
            retry_s = math.inf  # then it is clear soon whether the match is to be set aside
        return (
            begun + hedge_s if hedge_s <= last_s else math.inf,
            begun + retry_s if retry_s <= last_s else math.inf,
        )

    def _hedge(self, flight: Fetch) -> ReadyBot | None:
        """Return an idle seat, if there is one; only one hedge for each flight."""
        if not self._conduct.hedging.is_answered:
            return None
        flight.has_hedged = True
        begun = max(flight.in_air.values())
        if self._conduct.hedging.is_slow(begun, self._clock.now()) is False:
            return None
        seat = self._seats.take_idle(flight.avoid, heard_since=begun)
        if seat is not None:
            self._conduct.hedging.hedged()
            self._tally.hedged()
            self._log.info(
                "flight_hedged",
                match_id=flight.match_id,
                account=seat.account,
                request_id=flight.request_id,
            )
        return seat

    async def _other_seat(self, flight: Fetch) -> ReadyBot | None:
        """Return a seat of an account that has not been asked for this match, if there is any.

        None while others are not answered sooner either: where all are slow, one more request makes it
        slower. While no bot is answered at all, only one that has no overdue request itself.
        """
        hedging, now = self._conduct.hedging, self._clock.now()
        is_slow = hedging.is_slow(max(flight.in_air.values()), now)
        if is_slow is False or not self._seats.has_others(flight.avoid, good=is_slow is None):
            return None
        if is_slow is None and not hedging.ask_blindly(now):
            return None
        try:
            seat = await self._seat_in_line(flight)
        except RequestError:  # what is in the air may still land
            return None
        if seat.account in flight.avoid or not self._may_be_one_more(flight):
            self._seats.give_back(seat)
            return None
        return seat

    def _may_be_one_more(self, flight: Fetch) -> bool:
        """Whether another try may start beside those in the air; each of them may still fail."""
        is_aside = self._conduct.refusal_of(flight.match_id) is not None
        is_cleared = flight.may_be_claimed  # not if it was left to others meanwhile
        is_possible = flight.may_try and is_cleared and flight.trouble is None and not is_aside
        return is_possible and flight.tries > len(flight.in_air)
