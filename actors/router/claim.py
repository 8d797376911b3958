"""Cross-instance single flight: one instance fetches a match, the others poll Redis for it.

Redis has the match         that is the answer
    no instance has a claim     cleared: this instance claims the match and renews the claim
    another instance has one    look again after a pause, until Redis has the match or the claim is gone

Instances poll instead of waiting for a notification: neither a lost connection nor a failover can make
them miss a result. The cost is a few look-ups for each match that several instances fetch at once.
"""

from __future__ import annotations

import random
from typing import Final, Protocol

from structlog.typing import FilteringBoundLogger

from actors.clock import Tasks, WallClock
from actors.errors import (
    AccountError,
    RequestStoreUnavailable,
    StoreMisused,
    TimedOut,
    store_trouble,
)
from actors.matches.match import Known
from actors.matches.store import ANYTHING, HOLD_EVERY_S, Claim, Locked
from actors.redis.client import Condition
from actors.router.fetch import Fetch
from actors.router.metrics import Tally

STORE_RETRY_S: Final = 2.0
TAKEN_RETRY_S: Final = 1.0
FIRST_LOOK_S: Final = 0.03  # about what a quick answer takes
LONGEST_LOOK_S: Final = 0.25
GROWTH: Final = 1.5


class KnowsMatches(Protocol):
    """What the router needs of `matches.store.MatchStore`; the contracts are there."""

    def claim(self, match_id: int) -> Claim:
        """Return a new claim."""

    def ours(self, claim: Claim) -> Condition:
        """Return what holds while the flight is the claim's."""

    async def look(self, claim: Claim, *, after: int = ANYTHING) -> Known | Claim | Locked:
        """Return what is known, or the claim if it is granted."""

    async def land(self, claim: Claim, known: Known, *, ttl_s: float) -> None:
        """Store what a flight has brought and end it."""

    async def hold(self, claim: Claim) -> bool:
        """Keep a flight for longer."""

    async def give_up(self, claim: Claim) -> None:
        """End a flight that brought nothing."""


class MatchClaim:
    """Obtains and renews the claims of flights in Redis. Owned by the router."""

    def __init__(
        self,
        matches: KnowsMatches,
        *,
        tally: Tally,
        clock: WallClock,
        rng: random.Random,
        log: FilteringBoundLogger,
    ) -> None:
        self._matches = matches
        self._tally = tally
        self._clock = clock
        self._rng = rng
        self._log = log
        self._tasks = Tasks()

    def claim(self, match_id: int) -> Claim:
        """Return a claim for a new flight."""
        return self._matches.claim(match_id)

    async def obtain(self, flight: Fetch, found: Known | Claim | Locked) -> Known | None:
        """Return what is known of the match, or None as soon as the flight is cleared.

        `found`: what a look has just found.

        Raises:
            RequestStoreUnavailable: Redis is away; without it no budget could be counted either.
            TimedOut: another instance held the claim until the deadline.
        """
        pause_s, was_taken = FIRST_LOOK_S, isinstance(found, Locked)
        while isinstance(found, Locked):
            if self._clock.now() >= flight.deadline:
                raise TimedOut("another instance did not get it in time", TAKEN_RETRY_S)
            await self._clock.sleep(pause_s * (0.5 + self._rng.random()))
            pause_s = min(pause_s * GROWTH, LONGEST_LOOK_S)
            found = await self.look(flight)
        if not isinstance(found, Claim):
            return found
        if was_taken:
            self._tally.took_over()
        return None

    async def look(self, flight: Fetch) -> Known | Claim | Locked:
        """Look once. Raises RequestStoreUnavailable."""
        while True:
            after = flight.after
            flight.may_be_claimed = True  # from the moment in which it is asked for
            try:
                found = await self._matches.look(flight.claim, after=after)
            except AccountError as error:
                if isinstance(error, StoreMisused):  # that Redis is away is said once, elsewhere
                    self._log.warning("look_failed", match_id=flight.match_id, reason=str(error))
                raise RequestStoreUnavailable(
                    f"{store_trouble(error)}, so no budget can be counted", STORE_RETRY_S
                ) from error
            if isinstance(found, Claim):
                self.keep(flight)
                return found
            flight.may_be_claimed = False
            if flight.after == after:  # else a client joined that wants news
                if isinstance(found, Locked):
                    flight.after = found.after
                return found

    def ours(self, flight: Fetch) -> Condition:
        """Return what holds in Redis while the flight is cleared."""
        return self._matches.ours(flight.claim)

    def keep(self, flight: Fetch) -> None:
        """It is cleared: stay so while it lasts. Harmless when repeated."""
        if flight.held is not flight.claim:
            flight.held = flight.claim
            self._hold_later(flight, flight.claim)

    async def land(self, flight: Fetch, known: Known) -> None:
        """Let all containers know what the flight has brought, as well as that can be done."""
        flight.may_be_claimed = False
        try:
            ttl_s = known.fresh_until - self._clock.wall()
            await self._matches.land(flight.claim, known, ttl_s=ttl_s)
        except AccountError as error:
            if isinstance(error, StoreMisused):
                self._log.warning("match_not_stored", match_id=flight.match_id, reason=str(error))

    def give_up(self, flight: Fetch) -> None:
        """Let others try. Does not wait; the flight may ask for clearance again."""
        if flight.may_be_claimed:
            flight.may_be_claimed = False
            claim, flight.claim = flight.claim, self._matches.claim(flight.match_id)
            self._tasks.start(self._give_up(claim), name=f"give-up-{claim.match_id}")

    async def finish(self) -> None:
        """Wait for what still goes on; each is bounded by Redis's time limits."""
        await self._tasks.finish()

    async def _give_up(self, claim: Claim) -> None:
        try:
            await self._matches.give_up(claim)
        except AccountError as error:  # it ends by itself soon
            self._log.debug("flight_not_given_up", match_id=claim.match_id, reason=str(error))

    def _hold_later(self, flight: Fetch, claim: Claim) -> None:
        def is_ours() -> bool:
            return flight.may_be_claimed and flight.held is claim

        async def hold() -> None:
            try:
                is_held = await self._matches.hold(claim)
            except AccountError:
                is_held = True  # perhaps; Redis may be back in time
            if not is_held:
                self._log.info("flight_lost", match_id=claim.match_id)
            elif is_ours():
                self._hold_later(flight, claim)

        def on_time() -> None:
            if is_ours():
                self._tasks.start(hold(), name=f"hold-{claim.match_id}")

        self._clock.call_at(self._clock.now() + HOLD_EVERY_S, on_time)
