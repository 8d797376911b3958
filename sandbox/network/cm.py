"""Base class of connection managers (CMs), the servers that clients connect to."""

from __future__ import annotations

import abc
import socket
from typing import Final

from sandbox.control.faults import Faults
from sandbox.steam.context import Context
from sandbox.steam.session import Sessions

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
        """Return a listening socket; the port refuses connections again when it is closed."""
        sock = _bound(self.number)
        sock.listen(_BACKLOG)
        sock.settimeout(0)  # asyncio requires a non-blocking socket
        return sock

    def close(self) -> None:
        """Release the port."""
        self._holder.close()


def _bound(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # With this option two sockets of one process share a port; only the listening one is reached.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((HOST, port))
    return sock


class ConnectionManager(abc.ABC):
    """One CM, on a port of its own.

    Args:
        name: as in journal and control API, e.g. "ws1".
        context: state that all sessions share.
        sessions: the register that new sessions enter.
    """

    kind: str  # the directory's `type`

    def __init__(self, name: str, context: Context, sessions: Sessions) -> None:
        self.name = name
        self.context = context
        self.sessions = sessions
        self._reserved = ReservedPort()
        self.port = self._reserved.number

    @abc.abstractmethod
    async def open(self) -> None:
        """Start to listen."""

    @abc.abstractmethod
    async def apply_faults(self, faults: Faults) -> None:
        """Stop, start or change listening as the switches say; open connections stay."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Stop listening and release the port."""
