"""The difference of two Settings: what applies at once and what needs a restart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from supervisor.config.errors import fields
from supervisor.config.model import Settings

# Every other setting belongs to an object that exists as long as the process: a socket, a connection, or
# a lease, whose length is fixed when it is taken.
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
    """What changes when the wanted settings replace those in effect.

    Attributes:
        effective: the settings in effect after the change: the wanted values, except for `needs_restart`.
        applied: dotted keys whose new values apply at once, in the order of the model.
        needs_restart: dotted keys whose new values apply after a restart, in the order of the model.
    """

    effective: Settings
    applied: tuple[str, ...]
    needs_restart: tuple[str, ...]


def change(running: Settings, wanted: Settings) -> SettingsChange:
    """Compare the settings in effect with the wanted ones."""
    differing = [
        f"{section}.{key}"
        for section, key, _ in fields()
        if _value(running, section, key) != _value(wanted, section, key)
    ]
    applied = tuple(key for key in differing if key in AT_ONCE)
    needs_restart = tuple(key for key in differing if key not in AT_ONCE)
    return SettingsChange(_with(running, wanted, applied), applied, needs_restart)


def _with(running: Settings, wanted: Settings, keys: Iterable[str]) -> Settings:
    """Return `running` with the values of `wanted` for `keys`.

    The result is valid: no rule connects a key that applies at once with one that does not (a test checks
    this).
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
