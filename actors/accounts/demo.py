"""Adds the accounts of our own sandbox, as an operator would, before any bot starts; a child."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from actors.accounts.store import AccountStore

DemoAccount = tuple[str, str, str | None]  # name, password, shared secret


class DemoAccounts:
    """Child that adds the accounts of the sandbox."""

    def __init__(self, store: AccountStore, accounts: Sequence[DemoAccount]) -> None:
        self._store = store
        self._accounts = accounts
        self._stop_asked = asyncio.Event()

    async def start(self) -> None:
        """Add them; those that exist stay as they are."""
        for name, password, shared_secret in self._accounts:
            await self._store.add(name, password, shared_secret)

    async def run(self) -> None:
        """Nothing is left to do."""
        await self._stop_asked.wait()

    def stop(self) -> None:
        """Let `run` return."""
        self._stop_asked.set()
