"""DemoValkey: the private Valkey with the accounts of the private sandbox."""

from __future__ import annotations

from collections.abc import Sequence

from actors.accounts.store import AccountStore
from actors.redis.embedded import EmbeddedValkey

DemoAccount = tuple[str, str, str | None]  # name, password, shared secret


class DemoValkey:
    """Child that runs a Valkey and adds the demo accounts to it at each start."""

    def __init__(
        self, valkey: EmbeddedValkey, store: AccountStore, accounts: Sequence[DemoAccount]
    ) -> None:
        self._valkey = valkey
        self._store = store
        self._accounts = accounts

    async def start(self) -> None:
        """Start the Valkey and add the accounts; those that exist stay as they are."""
        await self._valkey.start()
        try:
            for name, password, shared_secret in self._accounts:
                await self._store.add(name, password, shared_secret)
        except BaseException:
            await self._valkey.close()
            raise

    async def run(self) -> None:
        """Run until stopped."""
        await self._valkey.run()

    def stop(self) -> None:
        """Stop the Valkey. Harmless when repeated."""
        self._valkey.stop()
