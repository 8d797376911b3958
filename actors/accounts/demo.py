"""Private Valkey with the demo accounts of a sandbox."""

from __future__ import annotations

from collections.abc import Sequence

from actors.accounts.store import AccountStore
from actors.redis.embedded import EmbeddedValkey


class DemoValkey:
    """Child that runs a Valkey and adds demo accounts to it at each start."""

    def __init__(
        self,
        valkey: EmbeddedValkey,
        store: AccountStore,
        accounts: Sequence[tuple[str, str, str | None]],
    ) -> None:
        """`accounts`: name, password and shared secret of each."""
        self.run = valkey.run
        self.stop = valkey.stop
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
