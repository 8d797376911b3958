"""A bot held in one state by a switch of the sandbox, and a neighbour that must not be affected."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any, Final

from actors.bot.ports import LogOnTimeouts
from actors.bot.states import BotState
from actors.steam.port import GuardRequest, TransportKind
from support.bot_env import POLICY, BotEnv, BotRun

NEIGHBOUR: Final = "neighbour"
WITH_TOKEN: Final = "victim"
WITH_CODE: Final = "coded"  # logs on with a password and a code that the test submits
ACCOUNTS: Final = [
    {"name": NEIGHBOUR, "password": "quiet-1"},
    {"name": WITH_TOKEN, "password": "unlucky-2"},
    {"name": WITH_CODE, "password": "unlucky-3", "email_code": "R2D2X"},
]
THIEF: Final = "9999999999 0 them/bot-1"  # fencing token, since, holder
# Time limits longer than any test.
PATIENT: Final = replace(
    POLICY, connect_s=60.0, launch_s=60.0, log_on=LogOnTimeouts(token_s=60.0, credentials_s=60.0)
)
_prefixes = itertools.count(1)
_matches = itertools.count(6_100_000_000)


class At(enum.Enum):
    """What the bot is doing, and its state."""

    CONNECTING = "connecting", BotState.CONNECTING
    TOKEN = "authenticating-token", BotState.AUTHENTICATING
    PASSWORD = "authenticating-password", BotState.AUTHENTICATING
    LAUNCHING = "launching", BotState.LAUNCHING
    IDLE = "ready-idle", BotState.READY
    SERVING = "ready-serving", BotState.READY
    DRAINING = "draining", BotState.DRAINING

    @property
    def state(self) -> BotState:
        return self.value[1]

    def __str__(self) -> str:
        return self.value[0]


@dataclass(frozen=True)
class End:
    """State at the end of a run, and what the run leaves. READY: it continues."""

    state: BotState
    cools_for: float | None = None  # seconds
    marks_cm: bool = False
    stops_ip: bool = False
    forgets_token: bool = False
    keeps_lease: bool = False


class FaultEnv:
    """One bot in one state, connected to another CM than its neighbour."""

    def __init__(self, env: BotEnv, at: At, transport: TransportKind) -> None:
        self.sandbox = env.sandbox
        self.at = at
        self.account = WITH_CODE if at is At.PASSWORD else WITH_TOKEN
        endpoints = self.sandbox.endpoints[transport.value]
        self.cm = ("ws" if transport is TransportKind.WEBSOCKET else "tcp") + "2"
        self._env = env
        self._transport = transport
        self._avoid = endpoints[:1]
        self._asked_for_code = asyncio.Event()
        self._has_code = asyncio.Event()
        self.request: asyncio.Task[bytes] | None = None
        self.run: BotRun

    async def begin(self, **policy: Any) -> None:
        """Start the bot with `POLICY` and these changes."""
        self.run = await self._env.start_bot(
            self.account,
            f"env{next(_prefixes)}",
            with_token=self.at is not At.PASSWORD,
            policy=replace(PATIENT, **policy),
            transport=self._transport,
            avoid=self._avoid,
            on_guard=self._bring_code,
        )

    async def hold(self) -> None:
        """Switch on what keeps the bot in its state."""
        mine: dict[str, Any] = {"accounts": [self.account]}
        if self.at is At.CONNECTING:
            await self.sandbox.faults(accept_and_silence={"cms": [self.cm]})
        elif self.at is At.TOKEN:
            await self.sandbox.faults(logon_never_answered=mine)
        elif self.at is At.LAUNCHING:
            await self.sandbox.faults(gc_down={"value": "silent", **mine})
        elif self.at in (At.SERVING, At.DRAINING):
            await self.sandbox.faults(gc_silent=mine)

    async def reach(self, since: int, *, request_s: float) -> None:
        """Wait until the bot is in its state."""
        wait, account = self.sandbox.wait_journal, self.account
        if self.at is At.CONNECTING:
            await self.run.directory.picked.wait()
        elif self.at is At.TOKEN:
            await wait("logon_ignored", since=since, account=account)
        elif self.at is At.PASSWORD:
            async with asyncio.timeout(10):
                await self._asked_for_code.wait()
        elif self.at is At.LAUNCHING:
            await wait("gc_hello", since=since, account=account)
        else:
            await self.run.until(BotState.READY)
        if self.at in (At.SERVING, At.DRAINING):
            self.request = self.run.ask(next(_matches), request_s)
            await wait("match_request", since=since, account=account)
        if self.at is At.DRAINING:
            self.run.bot.stop()
        assert self.run.states[-1] is self.at.state

    def bring_code(self) -> None:
        """Let the log-on with a password continue."""
        self._has_code.set()

    async def steal_lease(self) -> None:
        """Give the account to another holder, as an operator or a failover may."""
        await self.run.redis.hset(self.run.keys.holders, self.account, THIEF)

    async def recover(self) -> None:
        """Switch everything off; raise unless the bot then serves."""
        await self.sandbox.clear_faults()
        if self.at is At.PASSWORD:
            self.bring_code()
        else:  # after a restart the GC welcomes every client that plays
            body = {"accounts": [self.account], "what": "gc_welcome"}
            await self.sandbox.call("POST", "/push", body)
        await self.run.until(BotState.READY)
        assert len(await self.run.ask(next(_matches))) > 100

    async def found(self) -> End:
        """Return how the run ended, without the cooldown."""
        run = self.run
        return End(
            state=run.states[-1],
            marks_cm=bool(run.directory.marked),
            stops_ip=await run.ip_is_stopped(),
            forgets_token=self.at is not At.PASSWORD and not await run.token(),
            keeps_lease=await run.is_leased(),
        )

    async def _bring_code(self, _request: GuardRequest) -> str:
        self._asked_for_code.set()
        await self._has_code.wait()
        return str((await self.sandbox.mailbox(self.account))[-1]["code"])


class Neighbour:
    """A bot on the same hub that serves continuously."""

    def __init__(self, run: BotRun) -> None:
        self.run = run

    @classmethod
    async def moved_in(cls, env: BotEnv) -> Neighbour:
        theirs = env.sandbox.endpoints[TransportKind.WEBSOCKET.value][1:]
        run = await env.start_bot(NEIGHBOUR, NEIGHBOUR, with_token=True, avoid=theirs)
        await run.until(BotState.READY)
        return cls(run)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Request matches during the block; each must be answered."""
        before = len(self.run.changes)
        ready_bot = self.run.changes[-1].ready_bot
        stop, answered = asyncio.Event(), 0

        async def ask() -> None:
            nonlocal answered
            while not stop.is_set():
                answered += len(await self.run.ask(next(_matches))) > 100

        asking = asyncio.create_task(ask())
        try:
            yield
        finally:
            stop.set()
            await asking
        assert answered > 0
        # A lease renewal publishes the state again; nothing else may change.
        assert all(one.ready_bot == ready_bot is not None for one in self.run.changes[before:])
