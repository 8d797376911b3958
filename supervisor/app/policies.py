"""Limits of each component: converted from the settings, and the constant ones of the core children."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from actors.accounts.logon_limiter import LogonLimits
from actors.accounts.models import QuotaLimits
from actors.bot.ports import BotPolicy
from actors.matches.cache import Freshness
from actors.router.messages import RouterPolicy
from supervisor.child import Backoff, Child, ChildSpec, GiveUp, Restart, RestartIntensity
from supervisor.config.model import LOGOFF_S, SAFETY_MARGIN_S, Settings

# After its last request a bot logs off (4 s at most) and releases its account (3 s at most).
GOODBYE_S: Final = 8.0
PARK_FOR_S: Final = 300.0  # between two tries of a parked child
CORE_BACKOFF: Final = Backoff(base=0.1, cap=5.0, stable_after=30.0)
CORE_INTENSITY: Final = RestartIntensity(max_restarts=5, period=60.0)
# A thread that hangs cannot be replaced inside this process: the container engine starts a new one.
NO_RESTART: Final = RestartIntensity(max_restarts=0, period=60.0)
CORE_GRACE_S: Final = 5.0


def core_child(
    child_id: str,
    factory: Callable[[], Child],
    *,
    grace: float = CORE_GRACE_S,
    intensity: RestartIntensity = CORE_INTENSITY,
    give_up: GiveUp = GiveUp.ESCALATE,
) -> ChildSpec:
    """Return the spec of a child of the root; `GiveUp.PARK` if the service can run without it."""
    return ChildSpec(
        id=child_id,
        factory=factory,
        restart=Restart.PERMANENT,
        intensity=intensity,
        backoff=CORE_BACKOFF,
        grace=grace,
        give_up=give_up,
        park_for=PARK_FOR_S,
    )


def quota_limits(settings: Settings) -> QuotaLimits:
    """Return the daily budgets."""
    return QuotaLimits(settings.quota.per_account, settings.quota.per_ip, settings.quota.window)


def log_on_limits(settings: Settings) -> LogonLimits:
    """Return the rate of log-ons."""
    logon = settings.logon
    return LogonLimits(settings.logons_per_minute, logon.burst, logon.rate_limit_pause)


def router_policy(settings: Settings) -> RouterPolicy:
    """Return the limits of the router."""
    return RouterPolicy(
        request_timeout_s=settings.bots.request_timeout,
        max_in_flight=settings.bots.max_in_flight,
        min_interval_s=settings.bots.min_interval,
        queue=settings.http.queue,
        freshness=freshness(settings),
    )


def freshness(settings: Settings) -> Freshness:
    """Return for how long answers are cached."""
    cache = settings.cache
    return Freshness(cache.ttl, cache.recent_ttl, cache.negative_ttl, cache.memory_entries)


def bot_policy(settings: Settings) -> BotPolicy:
    """Return the length of leases, and how long before its end a bot leaves its account."""
    return BotPolicy(lease_s=settings.bots.lease_seconds, fence_margin_s=LOGOFF_S + SAFETY_MARGIN_S)


def bot_backoff(settings: Settings) -> Backoff:
    """Return how long a failed bot waits."""
    restart = settings.restart
    return Backoff(restart.backoff_min, restart.backoff_max, restart.stable_after)


def bot_intensity(settings: Settings) -> RestartIntensity:
    """Return how often a bot may fail before it is parked."""
    return RestartIntensity(settings.restart.intensity, settings.restart.period)


def bot_grace_s(settings: Settings) -> float:
    """Return the seconds in which a bot finishes its requests, logs off and releases its account."""
    return settings.bots.request_timeout + GOODBYE_S
