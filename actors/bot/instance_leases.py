"""Takes over the instance's own leases at start, releases them at exit.

A child without mail between the stores and the fleet. Bots hold leases one by one; this is about those
that no life holds any more: of a predecessor that crashed, and of bots that kept an account over a broken
connection and had no next life to take it back.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from actors.bot.ports import BotMemory
from actors.errors import AccountError


class HoldsLeases(Protocol):
    """What this needs of the store."""

    async def held_by(self, holder_prefix: str) -> dict[str, str]:
        """Return account by holder."""

    async def release_all(self, holder_prefix: str) -> list[str]:
        """Give back whatever holders of that prefix have."""


class InstanceLeases:
    """Takes leases back at the start, releases them at the end.

    `memories`: of the bots, by holder; filled before the fleet starts.
    """

    def __init__(
        self,
        store: HoldsLeases,
        holder_prefix: str,
        memories: MutableMapping[str, BotMemory],
        *,
        log: FilteringBoundLogger,
    ) -> None:
        self._store = store
        self._holder_prefix = holder_prefix
        self._memories = memories
        self._log = log.bind(actor="leases")
        self._stop_asked = asyncio.Event()

    async def start(self) -> None:
        """Let the bots remember what a predecessor with our name held when it died."""
        try:
            held = await self._store.held_by(self._holder_prefix)
        except AccountError as error:  # the leases lapse by themselves
            self._log.warning("predecessor_unknown", reason=str(error))
            return
        for holder, account in held.items():
            self._memories[holder].account = account
        if held:
            self._log.info("accounts_inherited", accounts=sorted(held.values()))

    async def run(self) -> None:
        """Wait for the stop, which comes after the last bot has ended; then give back the rest."""
        await self._stop_asked.wait()
        try:
            released = await self._store.release_all(self._holder_prefix)
        except AccountError as error:
            self._log.warning("release_failed", reason=str(error))
            return
        if released:
            self._log.info("accounts_released", accounts=released)

    def stop(self) -> None:
        """Let `run` do its work. Harmless when repeated."""
        self._stop_asked.set()
