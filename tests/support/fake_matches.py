"""The matches and claims that all instances share, without Redis: for routers in virtual time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from actors.accounts.models import Refused, Reserved
from actors.accounts.store import Charge
from actors.errors import StoreUnavailable
from actors.matches.match import Known, MatchAnswer, Source
from actors.matches.store import ANYTHING, CLAIM_S, NEWS, Claim, Locked, MatchStore
from support.fake_clock import FakeClock

TURNS: Final = 5  # of the loop, that an answer takes


@dataclass(frozen=True)
class FakeCharge(Charge):
    """`count` decides and counts, as the script does."""

    count: Callable[[], Reserved | Refused]


@dataclass
class FakeMatches(MatchStore):
    """Serves as a `MatchStore`; one may serve several routers.

    Attributes:
        looks, renewals: the number of calls.
        is_away: whether it fails like a Redis that is away.
    """

    clock: FakeClock
    known: dict[int, tuple[int, Known, float]] = field(default_factory=dict)
    claims: dict[int, tuple[str, float]] = field(default_factory=dict)
    looks: int = 0
    renewals: int = 0
    is_away: bool = False
    _landings: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    async def lookup(
        self, claim: Claim, *, after: int = ANYTHING, charge: Charge | None = None
    ) -> Known | Locked | Claim | Reserved | Refused:
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
        if self._owner(claim.match_id) not in {None, claim.token}:
            return Locked(after)
        self.claims[claim.match_id] = (claim.token, self.clock.now() + CLAIM_S)
        if charge is None:
            return claim
        assert isinstance(charge, FakeCharge)
        return charge.count()

    async def publish(self, claim: Claim, known: Known, *, ttl_s: float) -> None:
        self._check()
        self.known[claim.match_id] = (next(self._landings), known, self.clock.now() + ttl_s)
        await self.release(claim)

    async def renew(self, claim: Claim) -> bool:
        self._check()
        self.renewals += 1
        if self._owner(claim.match_id) != claim.token:
            return False
        self.claims[claim.match_id] = (claim.token, self.clock.now() + CLAIM_S)
        return True

    async def release(self, claim: Claim) -> None:
        self._check()
        if self._owner(claim.match_id) == claim.token:
            del self.claims[claim.match_id]

    def _owner(self, match_id: int) -> str | None:
        token, until = self.claims.get(match_id, (None, 0.0))
        return token if until > self.clock.now() else None

    def _check(self) -> None:
        if self.is_away:
            raise StoreUnavailable("fake")
