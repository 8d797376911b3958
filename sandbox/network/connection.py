"""Interface of a client connection, independent of its transport."""

from __future__ import annotations

import asyncio
import enum
import socket
import struct
from asyncio import BaseTransport
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from sandbox.network.corruption import Corruption

_STEP_S: Final = 1e-6  # between two sends: timers of the same instant fire in any order


class DropMode(enum.StrEnum):
    """How a connection is broken."""

    CLOSE = "close"  # orderly
    RESET = "reset"  # TCP RST
    MID_MESSAGE = "mid_message"  # after half a message
    HALF_OPEN = "half_open"  # the socket stays open; no bytes are read or sent


class ClientConnection(Protocol):
    """Sends whole Steam messages. Never blocks and never raises for a closed socket."""

    cm: str  # name of the CM, e.g. "ws1"
    transport_name: str  # "websockets" or "netfilter"
    source: str  # the client's address

    def send(self, message: bytes) -> None:
        """Queue one message."""

    def close(self) -> None:
        """Send what is queued, then close. Has no effect on a half-open connection."""

    def drop(self, mode: DropMode) -> None:
        """Break the connection."""

    def send_corrupted(self, corruption: Corruption) -> None:
        """Send invalid bytes."""

    def abort(self) -> None:
        """Close the socket immediately, also of a half-open connection."""


class DelayedConnection:
    """Wraps a connection and delays what is sent, in order.

    Args:
        connection: the wrapped connection.
        delay: returns the delay of a message in seconds.
    """

    def __init__(self, connection: ClientConnection, delay: Callable[[], float]) -> None:
        self.cm = connection.cm
        self.transport_name = connection.transport_name
        self.source = connection.source
        self.drop: Callable[[DropMode], None] = connection.drop
        self.abort: Callable[[], None] = connection.abort
        self._connection = connection
        self._delay = delay
        self._loop = asyncio.get_running_loop()
        self._busy_until = 0.0

    def send(self, message: bytes) -> None:
        """Send after the delay."""
        self._schedule(partial(self._connection.send, message))

    def send_corrupted(self, corruption: Corruption) -> None:
        """Send after the delay."""
        self._schedule(partial(self._connection.send_corrupted, corruption))

    def close(self) -> None:
        """Close after all delayed messages."""
        self._schedule(self._connection.close)

    def _schedule(self, send: Callable[[], None]) -> None:
        delay_s = self._delay()
        if not delay_s and not self._busy_until:
            send()
            return
        now = self._loop.time()
        if not delay_s and self._busy_until < now:
            self._busy_until = 0.0
            send()
            return
        self._busy_until = max(now + delay_s, self._busy_until + _STEP_S)
        self._loop.call_at(self._busy_until, send)


def reset(transport: BaseTransport | None) -> None:
    """Close a socket with RST."""
    if transport is None:
        return
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        # With a linger time of 0, close() discards queued data and sends RST.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    abort = getattr(transport, "abort", transport.close)
    abort()


def break_handshake(transport: asyncio.WriteTransport, mode: object, half: bytes) -> None:
    """Close a connection during its handshake.

    `mode` is "reset" (RST), "garbage" (after invalid bytes) or anything else: after `half` of the answer.
    """
    if mode == "reset":
        reset(transport)
        return
    transport.write(b"garbage" * 8 if mode == "garbage" else half)
    transport.close()
