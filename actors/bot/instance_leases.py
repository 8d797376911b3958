"""InstanceLeases: takes over the leases of this instance at the start, and releases the rest at the end.

They are leases that no running bot holds: those of a crashed predecessor with the same instance id, and
those of bots that kept an account over a broken connection and had no further run.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping

from structlog.typing import FilteringBoundLogger

from actors.accounts.store import AccountStore
from actors.bot.ports import BotMemory
from actors.errors import AccountError


class InstanceLeases:
    """Child that starts before the fleet and stops after it.

    `memories`: of the bots, by holder.
    """

    def __init__(
        self,
        store: AccountStore,
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
        """Write the accounts of a predecessor into the memories of the bots."""
        try:
            held = await self._store.held_by(self._holder_prefix)
        except AccountError as error:  # the leases expire by themselves
            self._log.warning("predecessor_unknown", reason=str(error))
            return
        for holder, account in held.items():
            self._memories[holder].account = account
        if held:
            self._log.info("accounts_inherited", accounts=sorted(held.values()))

    async def run(self) -> None:
        """Wait for the stop, which follows the end of the last bot; then release the rest."""
        await self._stop_asked.wait()
        try:
            released = await self._store.release_all(self._holder_prefix)
        except AccountError as error:
            self._log.warning("release_failed", reason=str(error))
            return
        if released:
            self._log.info("accounts_released", accounts=released)

    def stop(self) -> None:
        """Let `run` release the rest and return. Harmless when repeated."""
        self._stop_asked.set()
