"""What a session needs of a transport, and what both transports share. Used in the hub only."""

from __future__ import annotations

from typing import Any, Final, Protocol

from gevent import socket

from actors.steam.port import Server

CHUNK: Final = 65536  # bytes per read


class Transport(Protocol):
    """Whole messages both ways. A transport is open when it exists."""

    def send(self, message: bytes) -> None:
        """Send one message; waits (this greenlet) while the network is slow. Raises OSError."""

    def receive(self) -> bytes:
        """Wait for one message.

        Raises:
            OSError: the connection is gone.
            ParseError: the other end does not speak the protocol.
        """

    def keep_alive(self) -> None:
        """Send whatever the transport itself needs now and then. Raises OSError."""

    def close(self) -> None:
        """Close the socket; harmless when repeated."""


def dial(server: Server) -> Any:
    """Open a TCP connection to a numeric address (names are resolved in asyncio).

    Raises:
        OSError: refused or unreachable.
    """
    family = socket.AF_INET6 if ":" in server.address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect((server.address, server.port))
    except BaseException:
        sock.close()
        raise
    return sock
