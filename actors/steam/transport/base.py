"""Transport protocol, and the TCP connect that both transports share."""

from __future__ import annotations

from typing import Any, Final, Protocol

from gevent import socket

from actors.steam.port import Server

CHUNK: Final = 65536  # bytes per read
ATTEMPT_S: Final = 2.0  # per address except the last; the longest delay that RFC 8305 allows


class Transport(Protocol):
    """Sends and receives whole messages; open from construction on."""

    @property
    def local_ip(self) -> str:
        """The local address of the connection."""

    def send(self, message: bytes) -> None:
        """Send one message; blocks this greenlet while the network is slow. Raises OSError."""

    def receive(self) -> bytes:
        """Wait for one message.

        Raises:
            OSError: the connection is gone.
            ParseError: the server violates the protocol.
        """

    def keep_alive(self) -> None:
        """Send the transport's own keep-alive, if it has one. Raises OSError."""

    def close(self) -> None:
        """Close the socket; harmless when repeated."""


def dial(server: Server) -> Any:
    """Open a TCP connection to the first of the server's addresses that accepts.

    Each address except the last has ATTEMPT_S; the caller limits the whole.

    Raises:
        OSError: no address accepts; names each address and its error.
    """
    *before, last = (server.address, *server.others)
    failures = []
    for address in before:
        try:
            return _connect(address, server.port, ATTEMPT_S)
        except OSError as error:
            failures.append(f"{address}: {error}")
    try:
        return _connect(last, server.port, None)
    except OSError as error:
        if not failures:
            raise
        raise OSError("; ".join([*failures, f"{last}: {error}"])) from error


def _connect(address: str, port: int, timeout_s: float | None) -> Any:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(timeout_s)
        sock.connect((address, port))
        sock.settimeout(None)
    except BaseException:
        sock.close()
        raise
    return sock
