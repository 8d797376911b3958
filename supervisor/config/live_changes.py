"""Which settings apply at once, and which after a restart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from supervisor.config.model import Settings, fields

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
    """Compare the settings in effect with the wanted ones.

    The effective settings are valid: no rule connects a key that applies at once with one that does
    not; a test checks this.
    """
    updates: dict[str, dict[str, Any]] = {}
    applied, needs_restart = [], []
    for section, key, _ in fields():
        value = getattr(getattr(wanted, section), key)
        if value == getattr(getattr(running, section), key):
            continue
        if f"{section}.{key}" in AT_ONCE:
            applied.append(f"{section}.{key}")
            updates.setdefault(section, {})[key] = value
        else:
            needs_restart.append(f"{section}.{key}")
    sections = {
        section: getattr(running, section).model_copy(update=values)
        for section, values in updates.items()
    }
    effective = running.model_copy(update=sections)
    return SettingsChange(effective, tuple(applied), tuple(needs_restart))
