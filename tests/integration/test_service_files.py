"""A service with few open files, and more idle connections than that."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from support.quick_service import quick_world
from support.raw_http import RawConnection

from bench.env import ServiceEnv

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

FILES, FEW, IDLE = 1024, 150, 1100
WITHIN_S = 30.0


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let the test itself have as many open files as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.contextmanager
def idle_connections(w: ServiceEnv, count: int) -> Iterator[None]:
    """Open connections that say nothing."""
    parts = urlsplit(w.service.url)
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            one = stack.enter_context(socket.socket())
            one.settimeout(0)  # the queue of the listening socket may be full
            one.connect_ex((parts.hostname, parts.port))
        yield


def wait_events(w: ServiceEnv, name: str, count: int = 1) -> None:
    until = time.monotonic() + WITHIN_S
    while len(list(w.service.events(name))) < count:
        assert time.monotonic() < until, w.service.log[-2000:]
        time.sleep(0.05)


def wait_status(w: ServiceEnv, status: int) -> None:
    """Ask on new connections; while many are refused at once, some are without a word."""
    until = time.monotonic() + WITHIN_S
    while True:
        with contextlib.suppress(OSError):
            if w.service.get("/healthz")[0] == status:
                return
        assert time.monotonic() < until
        time.sleep(0.1)


def asked(connection: RawConnection, match_id: int) -> int:
    connection.get(b"/matches/%d" % match_id)
    return connection.answer().status


@pytest.mark.usefixtures("many_files")
def test_idle_connections_leave_files_for_bots_and_the_log_stays_short() -> None:
    with quick_world(1) as w:
        pid = w.service.process.pid
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        assert soft == min(hard, 1 << 20), "the limit is raised at the start"
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (FILES, FILES))
        text = w.service.config_file.read_text()
        w.service.config_file.write_text(text.replace("[http]", "[http]\nconnections = 5000"))
        wait_events(w, "config_applied")
        (limited,) = w.service.events("connections_limited")
        assert (limited["most"], limited["wanted"]) == (768, 5000)

        with RawConnection(w.service.url) as kept:
            assert asked(kept, 100) == 200
            before = len(w.service.log)
            with idle_connections(w, IDLE):
                for match_id in range(101, 106):
                    assert asked(kept, match_id) == 200, "bots and Redis have what they need"
                wait_status(w, 503)  # too many are open, and it is said
            assert not list(w.service.events("accept_failed"))

            # Where something else takes the files, the log has a line a second.
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (FEW, FILES))
            begun = time.monotonic()
            with idle_connections(w, 3 * FEW):
                wait_events(w, "accept_failed", 2)
                assert asked(kept, 106) == 200
            lines = len(list(w.service.events("accept_failed")))
            assert lines <= time.monotonic() - begun + 2
            assert len(w.service.log) - before < 64_000
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (FILES, FILES))
            assert asked(kept, 107) == 200
        wait_status(w, 200)
