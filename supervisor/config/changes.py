"""The difference of two Settings: what applies live and what needs a restart.

A pure function over two Settings. Who reads the file is live_settings.py, who lets the tree go by a
change is tree.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from supervisor.config.errors import fields
from supervisor.config.model import Settings

# Everything else is read where something is built that lives as long as the process: a socket, a
# connection, a lease that is under way and renewed by the length it was taken with.
AT_ONCE: Final = frozenset(
    {
        "bots.count",
        "bots.request_timeout",
        "bots.max_in_flight",
        "bots.min_interval",
        "logon.per_minute",
        "logon.burst",
        "logon.rate_limit_pause",
        "quota.per_account",
        "quota.per_ip",
        "quota.window",
        "restart.backoff_min",
        "restart.backoff_max",
        "restart.stable_after",
        "restart.intensity",
        "restart.period",
        "http.queue",
        "http.deadline",
        "http.connections",
        "http.per_minute",
        "http.trusted_proxies",
        "http.allowed_hosts",
        "cache.ttl",
        "cache.recent_ttl",
        "cache.negative_ttl",
        "cache.memory_entries",
        "log.level",
        "metrics.accounts",
    }
)


@dataclass(frozen=True, slots=True)
class SettingsChange:
    """The way from the settings in effect to the wanted ones, as far as it can be gone now.

    Attributes:
        effective: what is in effect then: wanted, but for what needs a restart.
        applied: dotted keys whose new values hold at once, in the model's order.
        needs_restart: dotted keys whose new values do not, in the model's order.
    """

    effective: Settings
    applied: tuple[str, ...]
    needs_restart: tuple[str, ...]


def change(running: Settings, wanted: Settings) -> SettingsChange:
    """Compare the settings in effect with wanted ones."""
    differing = [
        f"{section}.{key}"
        for section, key, _ in fields()
        if _value(running, section, key) != _value(wanted, section, key)
    ]
    applied = tuple(key for key in differing if key in AT_ONCE)
    needs_restart = tuple(key for key in differing if key not in AT_ONCE)
    return SettingsChange(_with(running, wanted, applied), applied, needs_restart)


def _with(running: Settings, wanted: Settings, keys: Iterable[str]) -> Settings:
    """Return `running` with the values that `wanted` has for `keys`.

    Needs no check: no rule binds a key that waits to one that does not (a test sees to that).
    """
    updates: dict[str, dict[str, Any]] = {}
    for dotted in keys:
        section, _, key = dotted.partition(".")
        updates.setdefault(section, {})[key] = _value(wanted, section, key)
    sections = {
        section: getattr(running, section).model_copy(update=values)
        for section, values in updates.items()
    }
    return running.model_copy(update=sections)


def _value(settings: Settings, section: str, key: str) -> Any:
    return getattr(getattr(settings, section), key)
