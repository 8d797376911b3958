"""What all containers know of matches, without Redis: for routers in virtual time."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field, replace
from typing import Final

from actors.errors import StoreUnavailable
from actors.matches.match import Known, MatchAnswer, Source
from actors.matches.store import ANYTHING, FLIGHT_S, NEWS, Claim, Locked
from actors.redis.client import Condition
from support.fake_clock import FakeClock

TURNS: Final = 5  # of the loop, that an answer takes


@dataclass
class FakeMatches:
    """Serves wherever a router wants a `MatchStore`; one may serve several routers.

    Attributes:
        looks, holds: the number of calls.
        is_away: whether it fails like a Redis that is away.
    """

    clock: FakeClock
    known: dict[int, tuple[int, Known, float]] = field(default_factory=dict)
    flights: dict[int, tuple[str, float]] = field(default_factory=dict)
    looks: int = 0
    holds: int = 0
    is_away: bool = False
    _tokens: itertools.count[int] = field(default_factory=itertools.count)
    _landings: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def claim(self, match_id: int) -> Claim:
        return Claim(match_id, f"token {next(self._tokens)}")

    def ours(self, claim: Claim) -> Condition:
        return Condition(str(claim.match_id), claim.token)

    def holds_in_redis(self, condition: Condition) -> bool:
        return self._pilot(int(condition.key)) == condition.value

    async def look(self, claim: Claim, *, after: int = ANYTHING) -> Known | Claim | Locked:
        self._check()
        self.looks += 1
        for _ in range(TURNS):  # as any answer, it comes later than it was asked for
            await asyncio.sleep(0)
        landed, known, until = self.known.get(claim.match_id, (0, None, 0.0))
        if until <= self.clock.now():
            landed, known = 0, None
        after = landed if after == NEWS else after
        if known is not None and landed > after:
            if isinstance(known, MatchAnswer):
                return replace(known, source=Source.REDIS, steam_id=None, ip=None)
            return known
        if self._pilot(claim.match_id) not in {None, claim.token}:
            return Locked(after)
        self.flights[claim.match_id] = (claim.token, self.clock.now() + FLIGHT_S)
        return claim

    async def land(self, claim: Claim, known: Known, *, ttl_s: float) -> None:
        self._check()
        self.known[claim.match_id] = (next(self._landings), known, self.clock.now() + ttl_s)
        await self.give_up(claim)

    async def hold(self, claim: Claim) -> bool:
        self._check()
        self.holds += 1
        if self._pilot(claim.match_id) != claim.token:
            return False
        self.flights[claim.match_id] = (claim.token, self.clock.now() + FLIGHT_S)
        return True

    async def give_up(self, claim: Claim) -> None:
        self._check()
        if self._pilot(claim.match_id) == claim.token:
            del self.flights[claim.match_id]

    def _pilot(self, match_id: int) -> str | None:
        token, until = self.flights.get(match_id, (None, 0.0))
        return token if until > self.clock.now() else None

    def _check(self) -> None:
        if self.is_away:
            raise StoreUnavailable("fake")
