"""The stores in Redis with the limits of the settings; this module does not import Steam's side."""

from __future__ import annotations

from structlog.typing import FilteringBoundLogger

from actors.accounts.admin import AccountAdmin
from actors.accounts.encryption import Encryption
from actors.accounts.logon_limiter import LogonLimiter, LogonLimits
from actors.accounts.models import QuotaLimits
from actors.accounts.store import AccountStore
from actors.matches.store import MatchStore
from actors.redis.client import RedisClient
from supervisor.config.model import Settings


class Stores:
    """The open stores."""

    def __init__(
        self,
        settings: Settings,
        redis: RedisClient,
        raw: RedisClient,
        *,
        encryption: Encryption,
        log: FilteringBoundLogger,
    ) -> None:
        """`raw`: connections of requests, which answer with bytes and delay no renewal of a lease."""
        prefix, quota = settings.redis.prefix, quota_limits(settings)
        self.accounts = AccountStore(
            redis,
            prefix=prefix,
            quota=quota,
            lease_s=settings.bots.lease_seconds,
            encryption=encryption,
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


def quota_limits(settings: Settings) -> QuotaLimits:
    """Return the daily budgets."""
    return QuotaLimits(settings.quota.per_account, settings.quota.per_ip, settings.quota.window)


def log_on_limits(settings: Settings) -> LogonLimits:
    """Return the rate of log-ons."""
    logon = settings.logon
    return LogonLimits(settings.logons_per_minute, logon.burst, logon.rate_limit_pause)
