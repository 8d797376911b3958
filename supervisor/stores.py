"""Opens the stores in Redis for the tree; like tree.py it imports `actors` too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from actors.accounts.admin import AccountAdmin
from actors.accounts.embedded import EmbeddedValkeyError
from actors.accounts.pacing import LogOnPacing
from actors.accounts.store import Accounts
from actors.errors import StoreMisused, StoreUnavailable
from actors.matches.store import MatchStore
from actors.redis_client import Watch, connect
from supervisor.ground import Ground
from supervisor.policies import log_on_limits, quota_limits
from supervisor.settings import Settings


@dataclass(frozen=True, slots=True)
class Stores:
    """The open stores."""

    accounts: Accounts
    admin: AccountAdmin
    pacing: LogOnPacing
    matches: MatchStore

    async def close(self) -> None:
        """Close the connections."""
        await self.matches.close()
        await self.accounts.close()


async def check_key(stores: Stores, ground: Ground) -> None:
    """Refuse a key that opens nothing of what is sealed, before a bot works with it.

    A Redis that is away is no reason not to start; bots then find out one by one, and each leaves its
    account alone. The private Valkey is started for this, and goes on as a child of the tree; what
    lies in it plain is sealed, as no instance without the key shares it.

    Raises:
        ConfigError: values are sealed, and none opens.
    """
    valkey = ground.valkey
    try:
        if valkey is not None:
            await valkey.start()
        closed = await stores.accounts.closed_values()
        if valkey is not None and not closed:
            await stores.accounts.seal_plain_values()
    except (EmbeddedValkeyError, StoreUnavailable, StoreMisused):
        return
    if closed:
        raise ground.secret_key.opens_none_of(closed)


def open_stores(
    settings: Settings,
    ground: Ground,
    *,
    watch: Watch,
    on_lost: Callable[[], None],
    log: FilteringBoundLogger,
) -> Stores:
    """Open them; nothing is connected before it is used.

    `watch` is told how Redis does; `on_lost` is called when the connection of the accounts broke.
    """
    valkey, prefix = ground.valkey, settings.redis.prefix
    url = settings.redis.url.get_secret_value() if valkey is None else valkey.url
    redis, quota = connect(url, watch=watch, on_lost=on_lost), quota_limits(settings)
    # Connections of their own, for all that a request needs: they answer with bytes, and many requests
    # hold up no renewal.
    raw = connect(url, raw=True, watch=watch)
    return Stores(
        Accounts(
            redis,
            prefix=prefix,
            quota=quota,
            lease_s=settings.bots.lease_seconds,
            sealer=ground.sealer,
            counting=raw,
        ),
        AccountAdmin(redis, prefix=prefix, quota=quota),
        LogOnPacing(redis, prefix=prefix, limits=log_on_limits(settings)),
        MatchStore(raw, prefix=prefix, log=log),
    )
