"""One life of a bot with everything around it, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import structlog

from actors.actor import Address
from actors.bot.bot import Bot
from actors.bot.log import BotLog
from actors.bot.messages import BotChanged, RouterToBot
from actors.bot.ports import BotMemory, BotPolicy, BotPorts
from actors.bot.renewals import LeaseChecks
from actors.bot.shared_causes import SharedCauses
from actors.bot.states import BotState
from actors.steam.port import Dropped, GcLost, GcReady, GuardRequest
from support.fake_clock import FakeClock, settle
from support.fake_steam import FakeDirectory, FakePacing, FakeSteam, FakeStore, Script

LEASE_S = 60.0


async def no_code(_request: GuardRequest) -> str | None:
    return None


@dataclass
class BotUnitEnv:
    """A bot with everything around it."""

    clock: FakeClock
    script: Script
    store: FakeStore
    steam: FakeSteam
    directory: FakeDirectory
    pacing: FakePacing
    changes: list[BotChanged]
    address: Address[RouterToBot]
    bot: Bot
    causes: SharedCauses
    begun: asyncio.Task[None] | None = None

    @property
    def life(self) -> asyncio.Task[None]:
        """The bot's run; begins when it is first asked for."""
        if self.begun is None:
            self.begun = asyncio.create_task(self.bot.run())
        return self.begun

    @property
    def states(self) -> list[BotState]:
        return [change.state for change in self.changes]

    async def until_ready(self) -> None:
        await self.until_settled()
        assert self.states[-1] is BotState.READY

    async def until_settled(self) -> None:
        assert self.life is not None
        await settle()

    async def end(self) -> BaseException | None:
        """Let the life come to its end; return what it ended with."""
        await self.until_settled()
        assert self.life.done()
        return self.life.exception()

    def drop(self, event: Dropped | GcLost | GcReady) -> None:
        assert self.steam.link is not None
        self.steam.link.listener(event)


@contextlib.asynccontextmanager
async def bot_unit_env(
    clock: FakeClock, *, accounts: Sequence[str] = ("axe", "bane")
) -> AsyncIterator[BotUnitEnv]:
    """Yield a bot, with `accounts` to check out."""
    script, changes = Script(), list[BotChanged]()
    store, steam = FakeStore(script, list(accounts)), FakeSteam(script)
    directory = FakeDirectory(script)
    pacing = FakePacing()
    address: Address[RouterToBot] = Address("bot-1")
    causes = SharedCauses()
    ports = BotPorts(
        store=store,
        steam=steam,
        directory=directory,
        pacing=pacing,
        on_guard=no_code,
        publish=changes.append,
        clock=clock,
        wall=clock.wall,
        rng=random.Random(1),
        log=structlog.get_logger(),
        bot_log=BotLog(lambda: causes.active(clock.wall()), clock=clock),
        causes=causes,
        lease_checks=LeaseChecks(clock=clock, log=structlog.get_logger()),
    )
    policy = BotPolicy(lease_s=LEASE_S, fence_margin_s=8.0)
    bot = Bot("bot-1", "us/bot-1", address=address, memory=BotMemory(), ports=ports, policy=policy)
    await bot.start()
    stage = BotUnitEnv(
        clock, script, store, steam, directory, pacing, changes, address, bot, ports.causes
    )
    yield stage
    bot.stop()
    for hold in script.held.values():
        hold.set()
    await asyncio.wait({stage.life})
