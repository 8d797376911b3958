"""The Steam side against the sandbox, for integration tests.

async with SteamEnv(sandbox, Transport.TCP) as env:
    bot = await env.ready("abaddon")
    body = await bot.link.request_match(7490235544, timeout_s=5)
"""

from __future__ import annotations

import asyncio
import gc
import random
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

import structlog
from gevent import Greenlet

from actors.steam.directory import CmDirectory
from actors.steam.hub import Hub
from actors.steam.link import SteamLink, SteamNetwork
from actors.steam.port import (
    AuthState,
    Credential,
    GuardCallback,
    GuardRequest,
    LinkEvent,
    LoggedOn,
    TransportKind,
)
from actors.steam.steam_time import SteamTime
from actors.steam.transport.base import Trust
from bench.sandbox_process import SandboxProcess
from supervisor.clock import SystemClock

ACCOUNTS: list[dict[str, Any]] = [
    {"name": "abaddon", "password": "mist-coil-1"},
    {"name": "bane", "password": "nightmare-2"},
    {"name": "mail", "password": "letter-3", "email_code": "R2D2X"},
    # One per transport: a code is valid once, and the next one follows half a minute later.
    {"name": "totp-websockets", "password": "clock-4", "shared_secret": "b25lIHNlY3JldA=="},
    {"name": "totp-netfilter", "password": "clock-5", "shared_secret": "YW5vdGhlciBzZWNyZXQ="},
    {"name": "poor-websockets", "password": "coin-6", "no_license": True},
    {"name": "poor-netfilter", "password": "coin-7", "no_license": True},
    {"name": "locked", "password": "key-8", "locked": True},
]
WAIT_S = 10.0
Event = TypeVar("Event", bound=LinkEvent)


@dataclass
class OpenLink:
    """One open link and its events."""

    link: SteamLink
    account: dict[str, Any]
    events: list[LinkEvent] = field(default_factory=list)
    auth: AuthState | None = None
    logged_on: LoggedOn | None = None

    def __post_init__(self) -> None:
        self._news = asyncio.Event()

    def hear(self, event: LinkEvent) -> None:
        self.events.append(event)
        self._news.set()

    async def wait_event(self, kind: type[Event], count: int = 1) -> Event:
        """Wait for `count` events of this kind; return the newest."""
        async with asyncio.timeout(WAIT_S):
            while len(found := [one for one in self.events if isinstance(one, kind)]) < count:
                self._news.clear()
                await self._news.wait()
        return found[-1]

    @property
    def credential(self) -> Credential:
        account = self.account
        return Credential(account["name"], account["password"], account.get("shared_secret"))

    async def authenticate(
        self, ask: GuardCallback | None = None, guard_data: str | None = None
    ) -> AuthState:
        self.auth = await self.link.authenticate(
            self.credential, guard_data, ask or no_code, timeout_s=WAIT_S
        )
        return self.auth

    async def log_on(self, auth: AuthState | None = None) -> LoggedOn:
        auth = auth or self.auth or await self.authenticate()
        self.logged_on = await self.link.log_on(self.account["name"], auth, timeout_s=WAIT_S)
        return self.logged_on


async def no_code(request: GuardRequest) -> str | None:
    raise AssertionError(f"no code should be requested: {request}")


class SteamEnv:
    """A hub, a network and a directory; closes every link at the end."""

    def __init__(
        self, sandbox: SandboxProcess, transport: TransportKind, trust: Trust | None = None
    ) -> None:
        self.sandbox = sandbox
        self.transport = transport
        clock, log = SteamTime(SystemClock()), structlog.get_logger()
        self.at_steam = clock
        self.hub = Hub(clock=SystemClock(), log=log)
        trust = trust or Trust.load(sandbox.ca_file, sandbox.universe_key_file)
        self.network = SteamNetwork(self.hub, trust, clock=clock, rng=random.Random(1), log=log)
        self.directory = CmDirectory(
            sandbox.directory_url,
            transport,
            clock=SystemClock(),
            rng=random.Random(7),
            log=log,
            time=clock,
        )
        self._bots: list[OpenLink] = []
        self.complaints: list[dict[str, Any]] = []  # of the loop, which would only print them

    async def __aenter__(self) -> Self:
        asyncio.get_running_loop().set_exception_handler(self._complain)
        await self.hub.start()
        self._watch = asyncio.create_task(self.hub.run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for bot in self._bots:
            await bot.link.close()
        self.hub.stop()
        await asyncio.wait({self._watch})
        # Like `no_leaks`, without a garbage collection after each of many tests.
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"left behind: {left}"
        assert not [one for one in threading.enumerate() if one.name == "steam-hub"]
        assert not self.complaints

    def _complain(self, _: asyncio.AbstractEventLoop, about: dict[str, Any]) -> None:
        self.complaints.append(about)

    async def open(self, name: str, *, timeout_s: float = 5.0) -> OpenLink:
        """Connect only."""
        account = next(one for one in self.sandbox.accounts if one["name"] == name)
        server = await self.directory.pick()
        bot: OpenLink | None = None

        def hear(event: LinkEvent) -> None:
            if bot is not None:
                bot.hear(event)

        link = await self.network.open(server, hear, timeout_s=timeout_s)
        assert isinstance(link, SteamLink)
        bot = OpenLink(link, account)
        self._bots.append(bot)
        return bot

    async def logged_on(self, name: str) -> OpenLink:
        bot = await self.open(name)
        await bot.log_on()
        return bot

    async def ready(self, name: str) -> OpenLink:
        bot = await self.logged_on(name)
        await bot.link.launch(timeout_s=WAIT_S)
        return bot


def running_greenlets() -> int:
    """Count the greenlets that have not ended, in all threads."""
    gc.collect()
    found = [one for one in gc.get_objects() if isinstance(one, Greenlet)]
    return sum(not one.dead for one in found)
