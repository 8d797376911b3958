"""One run of a bot on fakes, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from actors.actor import Address
from actors.bot.bot import Bot
from actors.bot.log import BotLog
from actors.bot.messages import BotChanged, RouterToBot
from actors.bot.metrics import LogonMetrics
from actors.bot.ports import BotMemory, BotPolicy, BotPorts, LeaseChecks
from actors.bot.registry import BotRegistry
from actors.bot.shared_causes import SharedCauses
from actors.bot.states import BotState
from actors.metrics import Instruments
from actors.steam.port import Dropped, GcLost, GcReady, GuardRequest
from actors.steam.steam_time import SteamTime
from support.fake_clock import FakeClock, settle
from support.fake_steam import FakeDirectory, FakeLimiter, FakeSteam, FakeStore, Script

LEASE_S = 60.0


class HeardRegistry(BotRegistry):
    """Passes each change of a bot to the test."""

    def __init__(self, hear: Callable[[BotChanged], None]) -> None:
        self._hear = hear

    def changed(self, change: BotChanged) -> None:
        self._hear(change)


async def no_code(_request: GuardRequest) -> str | None:
    return None


def fake_ports(clock: FakeClock, **given: Any) -> BotPorts:
    """Return ports of fakes, with `given` ones in their place."""
    script, causes, log = Script(), SharedCauses(), structlog.get_logger()
    ports = BotPorts(
        store=FakeStore(script, []),
        network=FakeSteam(script),
        directory=FakeDirectory(script),
        limiter=FakeLimiter(),
        on_guard=no_code,
        registry=HeardRegistry(lambda _change: None),
        clock=clock,
        steam_time=SteamTime(clock),
        rng=random.Random(1),
        log=log,
        bot_log=BotLog(lambda: causes.active(clock.wall()), clock=clock),
        metrics=LogonMetrics(Instruments(), clock=clock),
        causes=causes,
        lease_checks=LeaseChecks(clock=clock, log=log),
    )
    return replace(ports, **given)


@dataclass
class BotUnitEnv:
    """A bot and its fakes."""

    clock: FakeClock
    script: Script
    store: FakeStore
    steam: FakeSteam
    directory: FakeDirectory
    limiter: FakeLimiter
    changes: list[BotChanged]
    address: Address[RouterToBot]
    bot: Bot
    causes: SharedCauses
    instruments: Instruments
    task: asyncio.Task[None] | None = None

    @property
    def run(self) -> asyncio.Task[None]:
        """The bot's run; starts when this is first read."""
        if self.task is None:
            self.task = asyncio.create_task(self.bot.run())
        return self.task

    @property
    def states(self) -> list[BotState]:
        return [change.state for change in self.changes]

    async def until_ready(self) -> None:
        await self.until_settled()
        assert self.states[-1] is BotState.READY

    async def until_settled(self) -> None:
        assert self.run is not None
        await settle()

    async def end(self) -> BaseException | None:
        """Wait for the end of the run; return its error."""
        await self.until_settled()
        assert self.run.done()
        return self.run.exception()

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
    directory, limiter = FakeDirectory(script), FakeLimiter()
    address: Address[RouterToBot] = Address("bot-1")
    ports = fake_ports(
        clock,
        store=store,
        network=steam,
        directory=directory,
        limiter=limiter,
        registry=HeardRegistry(changes.append),
        metrics=LogonMetrics(instruments := Instruments(), clock=clock),
    )
    policy = BotPolicy(lease_s=LEASE_S, fence_margin_s=8.0)
    bot = Bot("bot-1", "us/bot-1", address=address, memory=BotMemory(), ports=ports, policy=policy)
    await bot.start()
    env = BotUnitEnv(
        clock,
        script,
        store,
        steam,
        directory,
        limiter,
        changes,
        address,
        bot,
        ports.causes,
        instruments,
    )
    yield env
    bot.stop()
    for hold in script.held.values():
        hold.set()
    await asyncio.wait({env.run})
