"""Release of an account while Redis is unavailable, in virtual time."""

from __future__ import annotations

import asyncio

import pytest
from support.fake_clock import FakeClock
from support.fake_steam import FakeStore, Script

from actors.accounts.models import Lease
from actors.bot.leases import release
from actors.errors import StoreUnavailable

pytestmark = pytest.mark.usefixtures("no_leaks")

LEASE = Lease("axe", 1, "us")


class AwayUntil(FakeStore):
    """Answers from an instant on."""

    def __init__(self, clock: FakeClock, instant: float) -> None:
        super().__init__(Script(), [])
        self._clock = clock
        self._instant = instant
        self.released_at: float | None = None

    async def release(self, lease: Lease) -> None:
        assert lease == LEASE
        if self._clock.now() < self._instant:
            raise StoreUnavailable("release")
        self.released_at = self._clock.now()


async def released_after(clock: FakeClock, *, away_s: float, for_s: float) -> float | None:
    """Return after how many seconds the account was released; None when it was not."""
    begun = clock.now()
    store = AwayUntil(clock, begun + away_s)
    work = asyncio.create_task(release(store, LEASE, for_s=for_s, clock=clock))
    await clock.advance(60.0)
    assert work.done()
    assert isinstance(work.exception(), StoreUnavailable | None)
    return None if store.released_at is None else store.released_at - begun


@pytest.mark.parametrize(
    ("away_s", "for_s", "after_s"),
    [(0.0, 3.0, 0.0), (1.5, 3.0, 2.0), (3.0, 3.0, 3.0), (3.5, 3.0, None), (0.5, 0.0, None)],
)
async def test_it_is_tried_every_second_for_as_long_as_was_asked(
    clock: FakeClock, away_s: float, for_s: float, after_s: float | None
) -> None:
    assert await released_after(clock, away_s=away_s, for_s=for_s) == after_s
