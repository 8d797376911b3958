"""One client connection as a session sees it, whatever the transport."""

from __future__ import annotations

import asyncio
import enum
import socket
import struct
from asyncio import BaseTransport
from typing import Protocol

from sandbox.network.corruption import Corruption


class DropMode(enum.StrEnum):
    """How a connection is broken on purpose."""

    CLOSE = "close"  # in good order
    RESET = "reset"  # TCP RST
    MID_MESSAGE = "mid_message"  # half a message, then closed
    HALF_OPEN = "half_open"  # the socket stays; nothing flows in or out any more


class ClientConnection(Protocol):
    """Sends whole Steam messages; never waits and never raises for a dead socket."""

    cm: str  # which CM was connected to, e.g. "ws1"
    transport_name: str  # "websockets" or "netfilter"
    source: str  # the client's address

    def send(self, message: bytes) -> None:
        """Queue one message."""

    def close(self) -> None:
        """Send what is queued, then close. Without effect on a half-open link."""

    def drop(self, mode: DropMode) -> None:
        """Break the connection in this way."""

    def send_flawed(self, flaw: Corruption) -> None:
        """Send bytes that are wrong in this way."""

    def destroy(self) -> None:
        """Let go of the socket at once, half-open or not; the sandbox is ending."""


def reset(transport: BaseTransport | None) -> None:
    """Close a socket with RST instead of FIN."""
    if transport is None:
        return
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        # Lingering for zero seconds makes close() throw away what is queued and send RST.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    abort = getattr(transport, "abort", transport.close)
    abort()


def break_handshake(transport: asyncio.WriteTransport, how: object, half: bytes) -> None:
    """End a connection before it is one: after `half` of our answer, with RST, or after garbage."""
    if how == "reset":
        reset(transport)
        return
    transport.write(b"garbage" * 8 if how == "garbage" else half)
    transport.close()
