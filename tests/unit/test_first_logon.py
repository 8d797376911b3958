"""A log-on by hand: it is as polite as a bot's, and gives the account back whatever happens."""

from __future__ import annotations

import random

import pytest
from fake_clock import FakeClock
from fake_steam import FakeDirectory, FakePacing, FakeSteam, FakeStore, Script

from actors.accounts.lease import Lease
from actors.errors import LogOnRefused
from actors.first_logon import LEASE_S, ByHand
from actors.steam.port import FENCED_S, GuardRequest


class ByName:
    """Checks one account out of a fake store."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store

    async def take(self, account: str, holder: str, *, lease_s: float) -> Lease:
        del account, lease_s
        return await self._store.acquire(holder)


async def nobody(_request: GuardRequest) -> str | None:
    return None


@pytest.mark.parametrize("eresult", [84, 87, 105])
async def test_a_limit_met_by_hand_stops_everybody_behind_the_ip(
    clock: FakeClock, eresult: int
) -> None:
    script, pacing = Script(), FakePacing()
    store = FakeStore(script, ["axe"])
    by_hand = ByHand(
        admin=ByName(store),
        store=store,
        steam=FakeSteam(script),
        directory=FakeDirectory(),
        pacing=pacing,
        clock=clock,
        rng=random.Random(1),
        holder="hand",
    )
    script.errors["authenticate"] = LogOnRefused("credentials", eresult)
    with pytest.raises(LogOnRefused):
        await by_hand.log_on("axe", nobody)
    assert pacing.limited == 1
    assert store.held == {}


async def test_the_session_ends_by_itself_before_the_lease_does(clock: FakeClock) -> None:
    script = Script()
    store, steam, begun = FakeStore(script, ["axe"]), FakeSteam(script), clock.now()
    by_hand = ByHand(
        admin=ByName(store),
        store=store,
        steam=steam,
        directory=FakeDirectory(),
        pacing=FakePacing(),
        clock=clock,
        rng=random.Random(1),
        holder="hand",
    )
    await by_hand.log_on("axe", nobody)
    assert steam.link is not None
    assert begun < steam.link.fence_at < begun + LEASE_S - FENCED_S
