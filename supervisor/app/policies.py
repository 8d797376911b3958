"""Converts settings into the limits of each component."""

from __future__ import annotations

from typing import Final

from actors.accounts.logon_limiter import LogonLimits
from actors.accounts.models import QuotaLimits
from actors.bot.ports import BotPolicy
from actors.matches.cache import Freshness
from actors.router.messages import RouterPolicy
from supervisor.child import Backoff, RestartIntensity
from supervisor.config.model import LOGOFF_S, SAFETY_MARGIN_S, Settings

# After its last request a bot logs off (4 s at most) and gives its account back (3 s at most).
GOODBYE_S: Final = 8.0


def quota_limits(settings: Settings) -> QuotaLimits:
    """What may be asked of Valve in a day."""
    return QuotaLimits(settings.quota.per_account, settings.quota.per_ip, settings.quota.window)


def log_on_limits(settings: Settings) -> LogonLimits:
    """How politely to log on."""
    logon = settings.logon
    return LogonLimits(settings.logons_per_minute, logon.burst, logon.rate_limit_pause)


def router_policy(settings: Settings) -> RouterPolicy:
    """How hard to use each bot, and how long to wait for one."""
    return RouterPolicy(
        request_timeout_s=settings.bots.request_timeout,
        max_in_flight=settings.bots.max_in_flight,
        min_interval_s=settings.bots.min_interval,
        queue=settings.http.queue,
        freshness=freshness(settings),
    )


def freshness(settings: Settings) -> Freshness:
    """For how long answers are used again."""
    cache = settings.cache
    return Freshness(cache.ttl, cache.recent_ttl, cache.negative_ttl, cache.memory_entries)


def bot_policy(settings: Settings) -> BotPolicy:
    """The length of leases, and how long before their end to let go."""
    return BotPolicy(lease_s=settings.bots.lease_seconds, fence_margin_s=LOGOFF_S + SAFETY_MARGIN_S)


def bot_backoff(settings: Settings) -> Backoff:
    """How long a failed bot waits."""
    restart = settings.restart
    return Backoff(restart.backoff_min, restart.backoff_max, restart.stable_after)


def bot_intensity(settings: Settings) -> RestartIntensity:
    """How often a bot may fail before it is parked."""
    return RestartIntensity(settings.restart.intensity, settings.restart.period)


def bot_grace_s(settings: Settings) -> float:
    """How long a bot may take to finish what it has under way, log off and give its account back."""
    return settings.bots.request_timeout + GOODBYE_S
