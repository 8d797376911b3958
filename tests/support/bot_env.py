"""Bots on the real hub, Steam side and store, against the sandbox; for integration tests.

async with BotEnv(sandbox, valkey_url) as env:
    run = await env.start_bot("abaddon", prefix, with_token=True)
    await run.until(BotState.READY)
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import structlog
from redis.asyncio import Redis

from actors.accounts.auth_state import auth_from_json
from actors.accounts.keys import Keys
from actors.accounts.logon_limiter import LogonLimiter, LogonLimits
from actors.accounts.models import QuotaLimits
from actors.accounts.store import AccountStore
from actors.actor import Address
from actors.bot.bot import Bot
from actors.bot.log import BotLog
from actors.bot.messages import BotChanged, RouterToBot, ServeMatch
from actors.bot.metrics import LogonMetrics
from actors.bot.ports import BotMemory, BotPolicy, BotPorts, LeaseChecks, LogOnTimeouts
from actors.bot.states import BotState
from actors.errors import ServiceError
from actors.metrics import Instruments
from actors.redis.client import connect
from actors.steam.directory import CmDirectory
from actors.steam.hub import Hub
from actors.steam.link import SteamNetwork
from actors.steam.port import (
    AuthState,
    Credential,
    GuardCallback,
    GuardRequest,
    Server,
    TransportKind,
)
from actors.steam.steam_time import SteamTime
from actors.steam.transport.base import Trust
from bench.sandbox_process import SandboxProcess
from supervisor.clock import SystemClock
from support.bot_unit_env import HeardRegistry

WAIT_S = 10.0
LEASE_S = 60.0
POLICY = BotPolicy(
    lease_s=LEASE_S,
    fence_margin_s=8.0,
    connect_s=0.6,
    launch_s=1.0,
    log_on=LogOnTimeouts(token_s=0.6, credentials_s=5.0),
)
_bot_numbers = itertools.count(1)


async def no_code(_request: GuardRequest) -> str | None:
    return None


class WatchedDirectory(CmDirectory):
    """Records the CMs that are marked bad."""

    marked: list[Server]
    picked: asyncio.Event

    async def pick(self) -> Server:
        server = await super().pick()
        self.picked.set()
        return server

    def mark_bad(self, server: Server) -> None:
        self.marked.append(server)
        super().mark_bad(server)


class BotRun:
    """One run of a bot, and what it leaves in Redis."""

    def __init__(
        self,
        env: BotEnv,
        account: str,
        prefix: str,
        *,
        policy: BotPolicy = POLICY,
        transport: TransportKind | None = None,
        avoid: Sequence[str] = (),
        on_guard: GuardCallback = no_code,
    ) -> None:
        """`avoid`: endpoints that the bot does not connect to."""
        self.account = account
        self.changes: list[BotChanged] = []
        self.keys = Keys(prefix)
        self.redis = env.redis
        self.store = env.accounts(prefix, policy.lease_s)
        self.directory = env.directory(transport)
        for endpoint in avoid:
            self.directory._mark(endpoint)
        self.bot_id = f"bot-{next(_bot_numbers)}"
        self.address: Address[RouterToBot] = Address(self.bot_id)
        self._news = asyncio.Event()
        ports = BotPorts(
            store=self.store,
            network=env.network,
            directory=self.directory,
            limiter=LogonLimiter(env.redis, prefix=prefix, limits=LogonLimits(per_minute=0)),
            metrics=LogonMetrics(Instruments(), clock=env.clock),
            on_guard=on_guard,
            registry=HeardRegistry(self._hear),
            clock=env.clock,
            steam_time=SteamTime(env.clock),
            rng=random.Random(1),
            log=env.log,
            bot_log=BotLog(tuple, clock=env.clock),
            lease_checks=LeaseChecks(clock=env.clock, log=env.log),
        )
        self.bot = Bot(
            self.bot_id,
            f"us/{self.bot_id}",
            address=self.address,
            memory=BotMemory(),
            ports=ports,
            policy=policy,
        )
        self.task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        await self.bot.start()
        self.task = asyncio.create_task(self.bot.run(), name=f"{self.bot_id}-run")

    @property
    def states(self) -> list[BotState]:
        return [change.state for change in self.changes]

    async def until(self, state: BotState) -> None:
        await self._until(lambda: self.states[-1:] == [state])

    async def end(self) -> ServiceError | None:
        """Wait for the end of the run; return its error."""
        assert self.task is not None
        async with asyncio.timeout(WAIT_S):
            await asyncio.wait({self.task})
        error = self.task.exception()
        assert error is None or isinstance(error, ServiceError)
        return error

    def ask(self, match_id: int, timeout_s: float = 5.0) -> asyncio.Task[bytes]:
        """Send a request as the router does."""
        deadline = SystemClock().now() + timeout_s + 5.0
        return asyncio.create_task(
            self.address.ask(ServeMatch(match_id, timeout_s), deadline=deadline)
        )

    async def stop(self) -> ServiceError | None:
        self.bot.stop()
        return await self.end()

    # -- left in Redis ---------------------------------------------------------------------------

    async def cooldown_s(self) -> float | None:
        until = await self.redis.zscore(self.keys.cooldowns, self.account)
        seconds, micros = await self.redis.time()
        return None if until is None else until / 1000 - (seconds + micros / 1e6)

    async def is_leased(self) -> bool:
        leased = await self.redis.zscore(self.keys.leases, self.account) is not None
        score = await self.redis.zscore(self.keys.checkouts, self.account)
        assert leased == (score == 1)
        return leased

    async def token(self) -> str:
        text = await self.redis.hget(self.keys.sentries, self.account)
        auth = None if text is None else auth_from_json(str(text))
        return auth.refresh_token if auth else ""

    async def ip_is_stopped(self) -> bool:
        return bool(await self.redis.keys(self.keys.logon_circuit("*")))

    def _hear(self, change: BotChanged) -> None:
        self.changes.append(change)
        self._news.set()

    async def _until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not holds():
                self._news.clear()
                await self._news.wait()


class BotEnv:
    """The hub, and what all bots of a test module share."""

    def __init__(
        self,
        sandbox: SandboxProcess,
        valkey_url: str,
        transport: TransportKind = TransportKind.WEBSOCKET,
    ) -> None:
        self.sandbox = sandbox
        self.transport = transport
        self.clock = SystemClock()
        self.log = structlog.get_logger()
        self.redis: Redis = connect(valkey_url)
        self.hub = Hub(clock=self.clock, log=self.log)
        trust = Trust.load(sandbox.ca_file, sandbox.universe_key_file)
        self.network = SteamNetwork(
            self.hub, trust, clock=SteamTime(self.clock), rng=random.Random(1), log=self.log
        )
        self.complaints: list[dict[str, Any]] = []  # of the loop, which would only print them
        self._tokens: dict[str, AuthState] = {}

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, about: self.complaints.append(about))
        await self.hub.start()
        self._watch = asyncio.create_task(self.hub.run(), name="hub")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.hub.stop()
        await asyncio.wait({self._watch})
        await self.redis.aclose()
        assert not self.complaints

    def accounts(self, prefix: str, lease_s: float = LEASE_S) -> AccountStore:
        return AccountStore(self.redis, prefix=prefix, quota=QuotaLimits(), lease_s=lease_s)

    def directory(self, transport: TransportKind | None = None) -> WatchedDirectory:
        directory = WatchedDirectory(
            self.sandbox.directory_url,
            transport or self.transport,
            clock=self.clock,
            rng=random.Random(7),
            log=self.log,
        )
        directory.marked = []
        directory.picked = asyncio.Event()
        return directory

    async def start_bot(
        self,
        account: str,
        prefix: str,
        *,
        with_token: bool,
        **given: Any,
    ) -> BotRun:
        """Start a bot with only this account to check out; see `BotRun`."""
        store = self.accounts(prefix)
        await store.add(account, self._credential(account).password)
        if with_token:
            lease = await store.acquire("setup")
            await store.save_auth(lease, await self.token(account))
            await store.release(lease)
        run = BotRun(self, account, prefix, **given)
        await run.begin()
        return run

    def _credential(self, account: str) -> Credential:
        known = next(one for one in self.sandbox.accounts if one["name"] == account)
        return Credential(account, known["password"])

    async def token(self, account: str) -> AuthState:
        """Return a valid token; one password log-on per account and module."""
        if account not in self._tokens:
            server = await self.directory().pick()
            link = await self.network.open(server, lambda _: None, timeout_s=WAIT_S)
            credential = self._credential(account)
            self._tokens[account] = await link.authenticate(
                credential, None, no_code, timeout_s=WAIT_S
            )
            await link.close()
        return self._tokens[account]
