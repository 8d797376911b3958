"""Snapshot of what the page shows, and the difference of two snapshots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from actors.bot.messages import BotReport, FleetPlan
from actors.dashboard.alerts import Alert
from actors.dashboard.views import AccountView, IpView
from actors.router.messages import RouterReport

TABLES: Final = ("bots", "accounts", "ips")  # by name; a row that changed is sent whole
PARTS: Final = ("fleet", "router", "config", "headlines", "about")  # sent whole


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the page shows at one moment."""

    bots: Mapping[str, BotReport]
    accounts: Mapping[str, AccountView]
    ips: Mapping[str, IpView]
    fleet: FleetPlan | None
    router: RouterReport | None
    config: Mapping[str, Any]
    headlines: tuple[Alert, ...]
    about: Mapping[str, Any]


def whole(snapshot: Snapshot) -> dict[str, Any]:
    """Return the snapshot as JSON objects."""
    tables = {table: list(getattr(snapshot, table).values()) for table in TABLES}
    return tables | {part: getattr(snapshot, part) for part in PARTS}


def changes(before: Snapshot, after: Snapshot) -> dict[str, Any]:
    """Return the rows and parts that changed (`bots`, ...), and the removed rows (`gone_bots`, ...)."""
    found: dict[str, Any] = {}
    for table in TABLES:
        old, new = getattr(before, table), getattr(after, table)
        if rows := [row for key, row in new.items() if _differs(old.get(key), row)]:
            found[table] = rows
        if gone := [key for key in old if key not in new]:
            found[f"gone_{table}"] = gone
    for part in PARTS:
        if _differs(getattr(before, part), getattr(after, part)):
            found[part] = getattr(after, part)
    return found


def _differs(one: object, other: object) -> bool:
    return one is not other and one != other  # unchanged rows are mostly the same object
