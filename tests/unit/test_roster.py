"""What the roster keeps of a bot: what its log-on waits for, and the shared cause of its last failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fake_clock import FakeClock, settle

from actors.actor import Address
from actors.bot_states import BotState
from actors.messages import BotChanged, BotReport, GetFleet
from actors.roster import BotSupervised, Roster, RosterMessage
from actors.shared_causes import CauseKind

pytestmark = pytest.mark.usefixtures("no_leaks")

S = BotState
CAUSE = CauseKind.STEAM_UNREACHABLE


class Told:
    """A roster, and what it says of one bot."""

    def __init__(self, clock: FakeClock) -> None:
        self.address: Address[RosterMessage] = Address("roster")
        self.roster = Roster(address=self.address, catch_up=lambda _: None, clock=clock)
        self._clock = clock

    async def after(self, state: BotState, **more: Any) -> BotReport:
        self.address.tell(BotChanged("bot-1", state, **more))
        return await self.report()

    async def supervised(self, state: BotState | None) -> BotReport:
        self.address.tell(BotSupervised("bot-1", state, 1, None, None))
        return await self.report()

    async def report(self) -> BotReport:
        fleet = await self.address.ask(GetFleet(), deadline=self._clock.now() + 1)
        return fleet.bots[0]


@pytest.fixture
async def told(clock: FakeClock) -> AsyncIterator[Told]:
    one = Told(clock)
    await one.roster.start()
    running = asyncio.create_task(one.roster.run())
    yield one
    one.roster.stop()
    await settle()
    await running


async def test_a_cause_stays_until_the_bot_is_ready_or_fails_by_itself(told: Told) -> None:
    assert (await told.after(S.BACKING_OFF, cause=CAUSE)).cause is CAUSE
    for state in (S.BACKING_OFF, None, S.PARKED):
        assert (await told.supervised(state)).cause is CAUSE
    for state in (S.WAITING_FOR_ACCOUNT, S.CONNECTING, S.AUTHENTICATING, S.LAUNCHING):
        assert (await told.after(state)).cause is CAUSE
    assert (await told.after(S.READY)).cause is None
    assert (await told.after(S.LAUNCHING, cause=CAUSE)).cause is CAUSE  # its GC session is lost
    for state in (S.BACKING_OFF, S.NEEDS_HUMAN, S.EXHAUSTED):
        await told.after(S.LAUNCHING, cause=CAUSE)
        assert (await told.after(state)).cause is None


async def test_what_a_log_on_waits_for_is_said_while_it_does(told: Told) -> None:
    assert (await told.after(S.CONNECTING)).waits is None
    assert (await told.after(S.CONNECTING, waits="pacing")).waits == "pacing"
    assert (await told.supervised(None)).waits == "pacing"
    assert (await told.after(S.CONNECTING, waits="rate-limit")).waits == "rate-limit"
    assert (await told.after(S.AUTHENTICATING)).waits is None
    await told.after(S.CONNECTING, waits="pacing")
    assert (await told.supervised(S.BACKING_OFF)).waits is None
