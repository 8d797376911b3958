"""The service works, stops and logs off while its stderr takes no lines."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.error
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest
from support.exposition import Exposition

from bench.env import seed_accounts, service_settings, simple_accounts
from bench.sandbox_process import SandboxProcess
from bench.service_process import START_S, ServiceProcess
from bench.valkey import FORGETFUL, own_valkey

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

BOTS = 2
GRACE_S = 20.0
SMALL_PIPE = 4096  # bytes; the least that Linux gives


@dataclass
class Stream:
    """The stderr of a service. `go_bad` stops it from taking lines while the service runs."""

    writer: int
    go_bad: Callable[[], None] = field(default=lambda: None)


class MutedService(ServiceProcess):
    """A service whose log cannot be read: its port is fixed, and /healthz tells when it is ready."""

    stderr: int

    def start(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._log_file.write_text("")
        self._started_at = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "supervisor", "run", "--config", str(self.config_file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self.stderr,
            env={**os.environ, "PORT": str(port)},
            start_new_session=True,
        )
        self.url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + START_S
        while True:
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                self.get("/healthz")
                return
            assert self.process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)

    @classmethod
    def on(cls, stream: Stream, settings: dict[str, dict[str, object]]) -> Self:
        service = cls(settings)
        service.stderr = stream.writer
        return service

    def match(self, match_id: int) -> int:
        """Request a match and return the status."""
        status, body = self.get(f"/match-details?match_id={match_id}")
        assert status != 200 or json.loads(body)["id"] == match_id
        return status

    def dropped_lines(self) -> float:
        shown = Exposition(self.get("/metrics")[1].decode())
        return shown.value("botapi_log_lines_dropped_total")


@contextlib.contextmanager
def reader_gone() -> Iterator[Stream]:
    """A reader that reads nothing and ends: `2> >(sleep 8)`."""
    reader, writer = os.pipe()
    yield Stream(writer, lambda: os.close(reader))
    os.close(writer)


@contextlib.contextmanager
def never_read() -> Iterator[Stream]:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, SMALL_PIPE)

    def wait_full() -> None:
        deadline = time.monotonic() + GRACE_S
        while select.select([], [writer], [], 0)[1]:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    yield Stream(writer, wait_full)
    os.close(reader)
    os.close(writer)


@contextlib.contextmanager
def full_disk() -> Iterator[Stream]:
    writer = os.open("/dev/full", os.O_WRONLY)
    yield Stream(writer)
    os.close(writer)


@pytest.mark.parametrize("stream_of", [reader_gone, never_read, full_disk])
async def test_a_log_that_cannot_be_written_stops_nothing(
    stream_of: Callable[[], contextlib.AbstractContextManager[Stream]],
) -> None:
    accounts = simple_accounts(BOTS)
    with (
        stream_of() as stream,
        own_valkey(FORGETFUL) as valkey,
        SandboxProcess(accounts) as sandbox,
    ):
        url = f"redis://127.0.0.1:{valkey.port}/0"
        seed_accounts(url, accounts)
        settings = service_settings(
            BOTS,
            sandbox,
            url,
            {"log": {"level": "debug"}, "restart": {"backoff_min": 0.1, "backoff_max": 1}},
        )
        with MutedService.on(stream, settings) as service:
            await asyncio.to_thread(service.wait_ready, BOTS)
            stream.go_bad()
            for n in range(20):
                assert await asyncio.to_thread(service.match, 5_000_000 + n) == 200
            # Restarts of bots log many lines, from the thread of the loop and the hub's.
            since = await sandbox.last_event()
            assert await sandbox.drop("close") == BOTS
            await sandbox.wait_journal("gc_welcome", BOTS, since=since, within_s=GRACE_S)
            await asyncio.to_thread(service.wait_ready, BOTS)
            assert await asyncio.to_thread(service.match, 6_000_000) == 200
            if stream_of is not never_read:  # there the lines wait
                assert await asyncio.to_thread(service.dropped_lines) > 0
                assert service.status()["log"]["dropped_lines"] > 0
            else:
                assert service.status()["log"]["waiting_lines"] > 0
            since = await sandbox.last_event()
            service.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(service.process.wait, GRACE_S) == 0
            ended = await sandbox.journal("session_ended", since=since)
            assert [one["clean"] for one in ended] == [True] * BOTS


@pytest.fixture
def misused(tmp_path: Path) -> Iterator[tuple[list[str], int]]:
    """Yield the command line of a service that cannot start, and the port that is taken."""
    config = tmp_path / "config.toml"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config.write_text(f'[http]\nport = {port}\n[redis]\ndata_dir = "{tmp_path / "data"}"\n')
        yield [sys.executable, "-m", "supervisor", "run", "--config", str(config)], port


def test_the_last_lines_of_a_service_that_cannot_start_are_written(
    misused: tuple[list[str], int],
) -> None:
    command, port = misused
    ended = subprocess.run(command, capture_output=True, text=True, timeout=START_S, check=False)
    assert ended.returncode == 2
    assert str(port) in ended.stderr.splitlines()[-1]


def test_a_service_that_cannot_start_ends_though_stderr_takes_nothing(
    misused: tuple[list[str], int],
) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 65536)
    os.set_blocking(writer, True)
    ended = subprocess.run(misused[0], stderr=writer, timeout=START_S, check=False)
    assert ended.returncode == 2
    os.close(reader)
    os.close(writer)


def test_a_service_without_stderr_starts(misused: tuple[list[str], int]) -> None:
    command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *misused[0]]
    assert subprocess.run(command, timeout=START_S, check=False).returncode == 2
