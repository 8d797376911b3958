"""Connection manager: name, port, and what its connections share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sandbox.control.faults import Faults
from sandbox.steam.context import Context
from sandbox.steam.session import Sessions


@dataclass(frozen=True, slots=True)
class Place:
    """What a new connection needs to become a session."""

    name: str
    services: Context
    sessions: Sessions


class ConnectionManager(Protocol):
    """One CM of either transport."""

    name: str
    kind: str  # the directory's `type`
    port: int

    async def open(self) -> None:
        """Start to listen."""

    async def obey(self, faults: Faults) -> None:
        """Listen or not, and how, as the switches want it; connections that exist live on."""

    async def close(self) -> None:
        """Stop for good and let go of everything."""
