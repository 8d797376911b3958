"""Reserved ports of CMs that stop listening and start again."""

from __future__ import annotations

import socket
from typing import Final

HOST: Final = "127.0.0.1"
_BACKLOG: Final = 1024


class ReservedPort:
    """A loopback port that stays reserved while no socket listens on it.

    Connections to it are then refused.
    """

    def __init__(self) -> None:
        self._holder = _bound(0)
        self.number: int = self._holder.getsockname()[1]

    def listener(self) -> socket.socket:
        """Return a listening socket; closing it makes the port refuse again."""
        sock = _bound(self.number)
        sock.listen(_BACKLOG)
        sock.settimeout(0)  # asyncio wants it non-blocking
        return sock

    def close(self) -> None:
        """Give the port back."""
        self._holder.close()


def _bound(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # Two sockets of one process may share a port with this; only the one that listens is reached.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((HOST, port))
    return sock
