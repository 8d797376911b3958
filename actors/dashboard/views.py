"""Account and IP rows as the page shows them.

A row of the store has ages, which change every second. A view has instants, which change rarely.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from actors.accounts.admin import AccountRow, AccountState, IpRow
from actors.accounts.names import NOT_STEAMS
from actors.bot.eresults import action_in, command_for

JITTER_S: Final = 2  # difference of an instant between two reads of its age


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


def account_view(row: AccountRow, now: float, before: AccountView | None) -> AccountView:
    """Return the view of a row; `before` if only rounding differs."""
    need = need_of_row(row)
    view = AccountView(
        account=row.account,
        state=row.state,
        used=row.used,
        left=row.left,
        holder=row.holder,
        held_since=_past(now, row.held_for_s, before.held_since if before else None),
        cooldown_until=_coming(now, row.cooldown_s, before.cooldown_until if before else None),
        cooldown_reason=row.cooldown_reason,
        last_logon_at=_past(now, row.last_logon_s, before.last_logon_at if before else None),
        frees_at=_coming(now, row.frees_in_s, before.frees_at if before else None),
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
    """Return the view of a budget; `before` if only rounding differs."""
    frees_at = _coming(now, row.frees_in_s, before.frees_at if before else None)
    view = IpView(row.ip, row.used, row.left, frees_at)
    return before if before is not None and view == before else view


def _past(now: float, age_s: float | None, before: int | None) -> int | None:
    return None if age_s is None else _steady(round(now - age_s), before)


def _coming(now: float, left_s: float | None, before: int | None) -> int | None:
    return None if left_s is None else _steady(round(now + left_s), before)


def _steady(instant: int, before: int | None) -> int:
    return before if before is not None and abs(instant - before) <= JITTER_S else instant
