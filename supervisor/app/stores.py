"""Stores: everything that is kept in Redis, and the connections to it."""

from __future__ import annotations

from functools import partial

from structlog.typing import FilteringBoundLogger

from actors.accounts.admin import AccountAdmin
from actors.accounts.logon_limiter import LogonLimiter
from actors.accounts.store import AccountStore
from actors.bot.ports import LeaseChecks
from actors.dashboard.cause_log import RedisLog
from actors.errors import StoreMisused, StoreUnavailable
from actors.matches.store import MatchStore
from actors.redis.client import CallObserver, connect
from actors.redis.embedded import EmbeddedValkeyError
from supervisor.app.policies import log_on_limits, quota_limits
from supervisor.app.startup import StartupResources
from supervisor.clock import SystemClock
from supervisor.config.model import Settings


class Stores:
    """The open stores. A connection is made when it is first used."""

    def __init__(
        self,
        settings: Settings,
        resources: StartupResources,
        *,
        observer: CallObserver,
        clock: SystemClock,
        log: FilteringBoundLogger,
    ) -> None:
        """`observer`: of the script calls."""
        self._resources = resources
        self.redis_log = RedisLog(observer, clock=clock, log=log)
        self.lease_checks = LeaseChecks(clock=clock, log=log)
        valkey, prefix = resources.valkey, settings.redis.prefix
        url = settings.redis.url.get_secret_value() if valkey is None else valkey.url
        on_lost = partial(self.lease_checks.ask, "the connection to Redis broke", is_loss=False)
        redis, quota = (
            connect(url, observer=self.redis_log, on_lost=on_lost),
            quota_limits(settings),
        )
        # The connections of requests answer with bytes; many requests delay no renewal of a lease.
        raw = connect(url, raw=True, observer=self.redis_log)
        self.accounts = AccountStore(
            redis,
            prefix=prefix,
            quota=quota,
            lease_s=settings.bots.lease_seconds,
            encryption=resources.encryption,
            counting=raw,
        )
        self.admin = AccountAdmin(redis, prefix=prefix, quota=quota)
        self.limiter = LogonLimiter(redis, prefix=prefix, limits=log_on_limits(settings))
        self.matches = MatchStore(raw, prefix=prefix, log=log)

    def reconfigure(self, settings: Settings) -> None:
        """Change the limits."""
        quota = quota_limits(settings)
        self.accounts.reconfigure(quota)
        self.admin.reconfigure(quota)
        self.limiter.reconfigure(log_on_limits(settings))

    async def close(self) -> None:
        """Close the connections."""
        await self.matches.close()
        await self.accounts.close()

    async def check_key(self) -> None:
        """Refuse a key that opens no encrypted value in Redis, before a bot uses it.

        An unreachable Redis does not prevent the start; bots then fail one by one, and each leaves its
        account unchanged. The private Valkey is started for this, and continues as a child of the tree;
        its plain values are encrypted, as no instance without the key shares them.

        Raises:
            ConfigError: Redis has encrypted values, and the key opens none.
        """
        valkey = self._resources.valkey
        try:
            if valkey is not None:
                await valkey.start()
            closed = await self.accounts.undecryptable_values()
            if valkey is not None and not closed:
                await self.accounts.encrypt_plain_values()
        except (EmbeddedValkeyError, StoreUnavailable, StoreMisused):
            return
        if closed:
            raise self._resources.secret_key.opens_none_of(closed)
