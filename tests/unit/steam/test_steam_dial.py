"""Connecting to each address of a server in turn, with real sockets on loopback."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent import socket

from actors.steam.port import Server, TransportKind
from actors.steam.transport import base
from actors.steam.transport.base import dial

HOSTS = {"127.0.0.1": socket.AF_INET, "::1": socket.AF_INET6}


@contextlib.contextmanager
def listening(host: str, port: int = 0) -> Iterator[int]:
    """Accept on one address only; yield the port."""
    with socket.socket(HOSTS[host], socket.SOCK_STREAM) as sock:
        if host == "::1":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.listen()
        yield sock.getsockname()[1]


@contextlib.contextmanager
def full(host: str) -> Iterator[int]:
    """Accept no connection: the backlog is full, so that a new one waits."""
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.socket(HOSTS[host], socket.SOCK_STREAM))
        sock.bind((host, 0))
        sock.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket(HOSTS[host], socket.SOCK_STREAM))
            waiting.settimeout(0)
            waiting.connect_ex(sock.getsockname()[:2])
        yield sock.getsockname()[1]


def server(port: int, address: str, *others: str) -> Server:
    return Server(f"cm.example:{port}", "cm.example", address, port, TransportKind.TCP, others)


def peer(sock: Any) -> str:
    with sock:
        return str(sock.getpeername()[0])


@pytest.mark.parametrize(("refusing", "accepting"), [("127.0.0.1", "::1"), ("::1", "127.0.0.1")])
def test_an_address_that_refuses_is_followed_by_the_next(refusing: str, accepting: str) -> None:
    with listening(accepting) as port:
        assert peer(dial(server(port, refusing, accepting))) == accepting
        assert peer(dial(server(port, accepting, refusing))) == accepting
        assert peer(dial(server(port, refusing, refusing, accepting))) == accepting


def test_an_address_that_stays_silent_is_left_in_bounded_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(base, "ATTEMPT_S", 0.1)
    with full("127.0.0.1") as port, listening("::1", port), gevent.Timeout(3):
        sock = dial(server(port, "127.0.0.1", "::1"))
        assert sock.gettimeout() is None  # a session waits without limit
        assert peer(sock) == "::1"


def test_when_none_accepts_every_address_is_named_with_its_reason() -> None:
    with listening("127.0.0.1") as port:
        pass
    with pytest.raises(OSError, match=r"127\.0\.0\.1: .*refused.*; ::1: .*refused"):
        dial(server(port, "127.0.0.1", "::1"))
    with pytest.raises(ConnectionRefusedError):
        dial(server(port, "127.0.0.1"))
