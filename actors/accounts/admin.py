"""Operations on accounts by an operator: list, check out, release, reset, remove.

They work on any account; one that would interrupt a holder needs `force`.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis

from actors.accounts.formats import NOT_STEAMS, folded, shown, stored
from actors.accounts.keys import Keys
from actors.accounts.models import NEED, UNTIL_ACTED_S, HolderEntry, Lease, QuotaLimits
from actors.errors import (
    AccountInUse,
    BadAccountName,
    NoSuchAccount,
    StoreMisused,
    StoreUnavailable,
)
from actors.redis.client import load_scripts

COLUMNS: Final = 11  # of a row of overview.lua
LONGEST_SHOWN: Final = 200  # characters of a text from another client
LONGEST_SPAN_S: Final = 10 * 365 * 86_400.0  # maximum that is shown
LONGEST_LEASE_S: Final = 7 * 86_400.0  # a lease that ends later is not from a checkout
NO_BUDGET: Final = "its budget cannot be read: the key {} is no sorted set; delete that key"
NO_END: Final = "its lease does not end: release it with --force"


class AccountState(enum.StrEnum):
    """State of an account, in an operator's words."""

    FREE = "free"
    IN_USE = "in use"  # by a holder with a lease
    CHECKED_OUT = "checked out"  # by a client of the first BotAPI, without a lease
    LAPSED = "lapsed"  # its lease has ended; the next checkout frees it
    COOLING_DOWN = "cooling down"
    SPENT = "spent"
    NO_PASSWORD = "no password"  # noqa: S105 - a word
    NOT_LISTED = "not listed"  # has a password, but is not in `checkouts`
    UNUSABLE = "unusable"  # `problem` says why


@dataclass(frozen=True, slots=True)
class AccountRow:
    """One account. Times are seconds; None where there is no value.

    `account`: the name in the form of `formats.shown`. `problem`: why the account is not used, if that is
    neither a cooldown nor a budget. `cooldown_s`: None also for a cooldown that only an operator ends;
    that one has a `cooldown_reason`.
    """

    account: str
    state: AccountState
    used: int
    left: int
    holder: str | None
    held_for_s: float | None
    lease_left_s: float | None
    cooldown_s: float | None
    cooldown_reason: str | None
    last_logon_s: float | None  # seconds ago
    frees_in_s: float | None = None  # until the first used request frees
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class IpRow:
    """Budget of one egress IP; spent if it cannot be read. `frees_in_s`: see AccountRow."""

    ip: str
    used: int
    left: int
    frees_in_s: float | None


class AccountAdmin:
    """The accounts in Redis, for an operator."""

    def __init__(self, redis: Redis, *, prefix: str, quota: QuotaLimits) -> None:
        self.quota = quota
        self._keys = Keys(prefix)
        self._scripts = load_scripts(redis, __package__)

    def reconfigure(self, quota: QuotaLimits) -> None:
        """Use other limits from now on."""
        self.quota = quota

    async def overview(self) -> list[AccountRow]:
        """Return all accounts by name, after ending cooldowns whose refused credentials were replaced."""
        k = self._keys
        keys = [k.refused, k.passwords, k.secrets, k.cooldowns, k.cooldown_reasons, k.hints]
        try:
            await self._scripts["end_needs"].run(keys, [NEED])
        except StoreMisused:  # the list may still work
            pass
        except StoreUnavailable as error:
            if error.reason is None:  # without an answer the list would fail, too
                raise
        now, *cells = await self._scripts["overview"].run(
            [
                *(k.checkouts, k.leases, k.holders, k.passwords, k.cooldowns),
                *(k.cooldown_reasons, k.last_logons, k.spellings, k.steam_ids),
            ],
            [k.account_budget, self.quota.window],
        )
        rows = [cells[at : at + COLUMNS] for at in range(0, len(cells), COLUMNS)]
        found = [self._row(row, float(now)) for row in rows]
        return sorted(found, key=lambda row: row.account)

    async def ip_budgets(self, ips: Sequence[str]) -> list[IpRow]:
        """Return the budgets of these egress IPs, in their order."""
        if not ips:
            return []
        keys = [self._keys.ip_budget + ip for ip in ips]
        cells = await self._scripts["ip_budgets"].run(keys, [self.quota.window])
        limit = self.quota.per_ip
        return [
            IpRow(ip, max(0, used), max(0, limit - used) if used >= 0 else 0, _span(frees))
            for ip, used, frees in zip(ips, cells[::2], cells[1::2], strict=True)
        ]

    async def checkout(self, account: str, holder: str, *, lease_s: float) -> Lease:
        """Check out one account by name.

        Raises:
            NoSuchAccount, AccountInUse.
            BadAccountName: Steam cannot have such a name.
        """
        k, account = self._keys, stored(account)
        if folded(account) is None:
            raise BadAccountName(shown(account), NOT_STEAMS)
        keys = [
            *(k.checkouts, k.leases, k.holders, k.passwords, k.fencing),
            *(k.spellings, k.steam_ids),
        ]
        args = (account, holder, int(lease_s * 1000))
        token = await self._scripts["checkout_named"].run(keys, args)
        return Lease(account, _checked(account, token), holder)

    async def release(self, account: str, *, force: bool = False) -> None:
        """Release an account, e.g. after a client of the first BotAPI crashed with it.

        Raises:
            NoSuchAccount.
            AccountInUse: its lease is valid; with `force` the bot notices and leaves.
        """
        k, account = self._keys, stored(account)
        keys = [k.checkouts, k.leases, k.holders, k.fencing]
        _checked(account, await self._scripts["release_named"].run(keys, [account, int(force)]))

    async def reset(self, account: str) -> None:
        """End the cooldown and clear the budget, e.g. when Valve counts differently.

        Raises:
            NoSuchAccount.
        """
        k, account = self._keys, stored(account)
        keys = [k.checkouts, k.cooldowns, k.cooldown_reasons, k.spellings, k.steam_ids, k.refused]
        done = await self._scripts["reset_named"].run(keys, [account, k.account_budget])
        _checked(account, done)

    async def remove(self, account: str, *, force: bool = False) -> None:
        """Remove an account and its secrets.

        Raises:
            NoSuchAccount.
            AccountInUse: it is checked out.
        """
        k, account = self._keys, stored(account)
        keys = [
            *(k.checkouts, k.leases, k.holders, k.passwords, k.secrets, k.sentries, k.cooldowns),
            *(k.cooldown_reasons, k.account_budget + account, k.last_logons, k.fencing),
            *(k.spellings, k.steam_ids, k.refused),
        ]
        args = (account, int(force), k.account_budget)
        _checked(account, await self._scripts["remove_named"].run(keys, args))

    def _row(self, cells: list[Any], now: float) -> AccountRow:
        name, score, lease_ends, entry, has_password, *rest = cells
        cool_until, reason, used, last, frees, other = rest
        held = HolderEntry.parse(str(entry)) if entry else None
        lease_left = _ahead(lease_ends, now)
        cooldown = _ahead(cool_until, now)
        budget = self.quota.per_account
        problem = self._problem(str(name), used, lease_left, str(other))
        states = (  # the first that holds
            (AccountState.NOT_LISTED, score == ""),
            (AccountState.IN_USE, lease_left is not None),
            (AccountState.LAPSED, lease_ends != ""),
            (AccountState.CHECKED_OUT, score != "" and float(score) > 0),
            (AccountState.UNUSABLE, problem is not None),
            (AccountState.NO_PASSWORD, not has_password),
            (AccountState.COOLING_DOWN, cooldown is not None),
            (AccountState.SPENT, used >= budget),
        )
        return AccountRow(
            account=shown(str(name)),
            state=next((state for state, holds in states if holds), AccountState.FREE),
            used=max(0, used),
            left=max(0, budget - used) if used >= 0 else 0,
            holder=_text(held.holder) if held else None,
            held_for_s=_past(held.since_ms, now) if held else None,
            lease_left_s=lease_left,
            cooldown_s=None if cooldown is None or cooldown > UNTIL_ACTED_S / 2 else cooldown,
            cooldown_reason=_text(reason) if cooldown and reason else None,
            last_logon_s=_past(_number(last), now),
            frees_in_s=_span(frees),
            problem=problem,
        )

    def _problem(self, name: str, used: int, lease_left: float | None, other: str) -> str | None:
        """Return why an account is not used, if that is neither a cooldown nor a budget."""
        if folded(name) is None:
            return NOT_STEAMS
        if lease_left is not None and lease_left > LONGEST_LEASE_S:
            return NO_END
        if used < 0:
            return NO_BUDGET.format(shown(self._keys.account_budget + name))
        return f"the same Steam account as {shown(other)}, which is in use" if other else None


def _checked(account: str, answer: int | str) -> int:
    if isinstance(answer, str):
        raise AccountInUse(shown(account), shown(answer))
    if answer < 0:
        raise NoSuchAccount(shown(account))
    if answer == 0:
        raise AccountInUse(shown(account))
    return answer


def _span(ms: str | int) -> float | None:
    return None if ms == "" else float(ms) / 1000


def _number(text: str) -> float | None:
    """Return the number in a text from another client, or None."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _text(value: Any) -> str:
    return shown(str(value)[:LONGEST_SHOWN])


def _past(when: float | None, now: float) -> float | None:
    """Return the seconds since `when` (ms), or None."""
    if when is None or not 0 < when < 2 * now:
        return None
    return (now - when) / 1000


def _ahead(when: str, now: float) -> float | None:
    """Return the seconds until `when` (ms), or None if it is past or missing."""
    left = (float(when) - now) / 1000 if when != "" else 0.0
    return min(left, LONGEST_SPAN_S) if left > 0 else None
