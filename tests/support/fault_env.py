"""A bot held in one of its states by a switch of the sandbox, and one beside it that must not notice."""

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
from actors.steam.port import GuardRequest, Transport
from support.bot_env import POLICY, BotEnv, Stand

NEIGHBOUR: Final = "neighbour"
WITH_TOKEN: Final = "victim"
WITH_CODE: Final = "coded"  # logs on with a password and a code that an operator has to bring
ACCOUNTS: Final = [
    {"name": NEIGHBOUR, "password": "quiet-1"},
    {"name": WITH_TOKEN, "password": "unlucky-2"},
    {"name": WITH_CODE, "password": "unlucky-3", "email_code": "R2D2X"},
]
THIEF: Final = "9999999999 0 them/bot-1"  # fencing token, since, holder
# What ends by nothing but the bot's own patience does not end while the test waits.
PATIENT: Final = replace(
    POLICY, connect_s=60.0, launch_s=60.0, log_on=LogOnTimeouts(token_s=60.0, credentials_s=60.0)
)
_prefixes = itertools.count(1)
_matches = itertools.count(6_100_000_000)


class At(enum.Enum):
    """What the bot is doing; its state in the second word."""

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
    """What a life ends in, and what it leaves behind. READY: it goes on."""

    state: BotState
    cools_for: float | None = None  # seconds
    marks_cm: bool = False
    stops_ip: bool = False
    forgets_token: bool = False
    keeps_lease: bool = False


class FaultEnv:
    """One bot in one state. Its connections are those of one CM, its neighbour's of another."""

    def __init__(self, rig: BotEnv, at: At, transport: Transport) -> None:
        self.sandbox = rig.sandbox
        self.at = at
        self.account = WITH_CODE if at is At.PASSWORD else WITH_TOKEN
        endpoints = self.sandbox.endpoints[transport.value]
        self.cm = ("ws" if transport is Transport.WEBSOCKET else "tcp") + "2"
        self._rig = rig
        self._transport = transport
        self._avoid = endpoints[:1]
        self._asked_for_code = asyncio.Event()
        self._has_code = asyncio.Event()
        self.request: asyncio.Task[bytes] | None = None
        self.stand: Stand

    async def begin(self, **policy: Any) -> None:
        """Let the bot begin its life, by `POLICY` with these changes."""
        self.stand = await self._rig.stand(
            self.account,
            f"scene{next(_prefixes)}",
            with_token=self.at is not At.PASSWORD,
            policy=replace(PATIENT, **policy),
            transport=self._transport,
            avoid=self._avoid,
            on_guard=self._bring_code,
        )

    async def hold(self) -> None:
        """Switch on what will keep the bot in its state."""
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
        """Wait until the bot is where it is to be."""
        wait, account = self.sandbox.wait_journal, self.account
        if self.at is At.CONNECTING:
            await self.stand.directory.picked.wait()
        elif self.at is At.TOKEN:
            await wait("logon_ignored", since=since, account=account)
        elif self.at is At.PASSWORD:
            async with asyncio.timeout(10):
                await self._asked_for_code.wait()
        elif self.at is At.LAUNCHING:
            await wait("gc_hello", since=since, account=account)
        else:
            await self.stand.until(BotState.READY)
        if self.at in (At.SERVING, At.DRAINING):
            self.request = self.stand.ask(next(_matches), request_s)
            await wait("match_request", since=since, account=account)
        if self.at is At.DRAINING:
            self.stand.bot.stop()
        assert self.stand.states[-1] is self.at.state

    def bring_code(self) -> None:
        """Let the log-on with a password go on."""
        self._has_code.set()

    async def steal_lease(self) -> None:
        """Give the account to another holder, as an operator or a failover may."""
        await self.stand.redis.hset(self.stand.keys.holders, self.account, THIEF)

    async def recover(self) -> None:
        """Take every switch back; raises unless the bot then serves."""
        await self.sandbox.clear_faults()
        if self.at is At.PASSWORD:
            self.bring_code()
        else:  # after a restart the GC welcomes every session that plays
            body = {"accounts": [self.account], "what": "gc_welcome"}
            await self.sandbox.call("POST", "/push", body)
        await self.stand.until(BotState.READY)
        assert len(await self.stand.ask(next(_matches))) > 100

    async def found(self) -> End:
        """Return how it ended; the cooldown is left to the caller."""
        stand = self.stand
        return End(
            state=stand.states[-1],
            marks_cm=bool(stand.directory.marked),
            stops_ip=await stand.ip_is_stopped(),
            forgets_token=self.at is not At.PASSWORD and not await stand.token(),
            keeps_lease=await stand.is_leased(),
        )

    async def _bring_code(self, _request: GuardRequest) -> str:
        self._asked_for_code.set()
        await self._has_code.wait()
        return str((await self.sandbox.mailbox(self.account))[-1]["code"])


class Neighbour:
    """A bot on the same hub that serves all the time."""

    def __init__(self, stand: Stand) -> None:
        self.stand = stand

    @classmethod
    async def moved_in(cls, rig: BotEnv) -> Neighbour:
        theirs = rig.sandbox.endpoints[Transport.WEBSOCKET.value][1:]
        stand = await rig.stand(NEIGHBOUR, NEIGHBOUR, with_token=True, avoid=theirs)
        await stand.until(BotState.READY)
        return cls(stand)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Ask for one match after the other meanwhile; each has to be answered."""
        before = len(self.stand.changes)
        seat = self.stand.changes[-1].seat
        stop, answered = asyncio.Event(), 0

        async def ask() -> None:
            nonlocal answered
            while not stop.is_set():
                answered += len(await self.stand.ask(next(_matches))) > 100

        asking = asyncio.create_task(ask())
        try:
            yield
        finally:
            stop.set()
            await asking
        assert answered > 0
        # A renewal is told too; anything else would be another state or another lease.
        assert all(one.seat == seat is not None for one in self.stand.changes[before:])
