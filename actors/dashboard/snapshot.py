"""Snapshot of the service: account and IP rows, alerts, and the difference of two snapshots.

A row of the store has ages, which change every second. A view has instants, which change rarely.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from actors.accounts.admin import AccountRow, AccountState, IpRow
from actors.accounts.formats import NOT_STEAMS
from actors.bot.eresults import action_in, command_for
from actors.bot.messages import BotReport, FleetPlan
from actors.bot.shared_causes import SharedCause
from actors.router.messages import RouterReport

JITTER_S: Final = 2  # difference of an instant between two reads of its age
TABLES: Final = ("bots", "accounts", "ips")  # by name; a row that changed is sent whole
PARTS: Final = ("fleet", "router", "config", "headlines", "about")  # sent whole


@dataclass(frozen=True, slots=True)
class AccountView:
    """One account. Instants in UTC seconds; None: not applicable."""

    account: str
    state: AccountState
    used: int
    left: int
    holder: str | None
    held_since: int | None
    cooldown_until: int | None
    cooldown_reason: str | None
    last_logon_at: int | None
    frees_at: int | None  # when the first used request is available again
    needs_you: bool  # `need` is not None
    problem: str | None = None  # why it is unusable
    need: str | None = None  # what an operator must do
    command: str | None = None  # the command for that


@dataclass(frozen=True, slots=True)
class IpView:
    """One egress address."""

    ip: str
    used: int
    left: int
    frees_at: int | None


class Severity(enum.StrEnum):
    """How urgent an alert is."""

    WELL = "well"
    WATCH = "watch"  # temporary, or harmful only later
    ACT = "act"  # the operator has to do something
    OUTAGE = "outage"  # a cause that many bots share


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert.

    Attributes:
        level: how urgent.
        kind: a word for programs.
        text: for people; `{when}` stands for the local time of `when`.
        todo: what the operator can do, or None.
        when: UTC seconds.
        about: the name of the account, or the id of the bot.
    """

    level: Severity
    kind: str
    text: str
    todo: str | None = None
    when: float | None = None
    about: tuple[Literal["account", "bot"], str] | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The service at one moment. The page shows TABLES and PARTS; alerts are derived from all fields."""

    bots: Mapping[str, BotReport]
    accounts: Mapping[str, AccountView]  # as far as known
    ips: Mapping[str, IpView]
    fleet: FleetPlan
    router: RouterReport | None  # None: it did not answer
    config: Mapping[str, Any]
    headlines: tuple[Alert, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    store: str | None = None  # why the accounts are not known
    causes: tuple[SharedCause, ...] = ()  # the shared causes that last
    unusable: Mapping[str, str] = field(default_factory=dict)  # here: the reasons, by account
    knows_accounts: bool = True  # the accounts were read once


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


def account_view(row: AccountRow, now: float, before: AccountView | None) -> AccountView:
    """Return the view of a row; `before` if only rounding differs."""
    need = need_of_row(row)
    view = AccountView(
        account=row.account,
        state=row.state,
        used=row.used,
        left=row.left,
        holder=row.holder,
        held_since=_since(now, row.held_for_s, before.held_since if before else None),
        cooldown_until=_until(now, row.cooldown_s, before.cooldown_until if before else None),
        cooldown_reason=row.cooldown_reason,
        last_logon_at=_since(now, row.last_logon_s, before.last_logon_at if before else None),
        frees_at=_until(now, row.frees_in_s, before.frees_at if before else None),
        needs_you=need is not None,
        problem=row.problem,
        need=need,
        command=None if need is None else command_for(row.account, need),
    )
    return before if before is not None and view == before else view


def need_of_row(row: AccountRow) -> str | None:
    """Return what an operator must do for an account; None: nothing."""
    if (action := action_in(row.cooldown_reason)) is not None:
        return action
    if row.state is AccountState.NO_PASSWORD:
        return "its password: none is stored"
    if row.problem == NOT_STEAMS:
        return f"the right name: {row.problem}"
    return None


def ip_view(row: IpRow, now: float, before: IpView | None) -> IpView:
    """Return the view of a budget, as `account_view`."""
    view = IpView(
        row.ip, row.used, row.left, _until(now, row.frees_in_s, before.frees_at if before else None)
    )
    return before if before is not None and view == before else view


def _since(now: float, age_s: float | None, before: int | None) -> int | None:
    return _until(now, None if age_s is None else -age_s, before)


def _until(now: float, left_s: float | None, before: int | None) -> int | None:
    """Return the instant in `left_s` seconds; `before` if only rounding differs."""
    if left_s is None:
        return None
    instant = round(now + left_s)
    return before if before is not None and abs(instant - before) <= JITTER_S else instant
