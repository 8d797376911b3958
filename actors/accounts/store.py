"""AccountStore: leases, cooldowns and budgets of the accounts in Redis; each change is one Lua script.

Leases are ordered by fencing tokens: a write on behalf of an account carries the token, and is refused
when a newer checkout exists. All times are Redis server time. A holder finds out at its next renewal what
Redis has lost, e.g. in a failover to a replica that lags.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis

from actors.accounts.credentials import (
    AUTH_STATE,
    PASSWORD,
    SHARED_SECRET,
    CredentialStore,
    require_lease,
)
from actors.accounts.encryption import MARK, Encryption
from actors.accounts.formats import folded, is_text, shown
from actors.accounts.models import (
    BUDGET_SPENT,
    NEED,
    HolderEntry,
    Lease,
    QuotaLimits,
    Refused,
    Reserved,
)
from actors.errors import CannotDecrypt, LeaseLost, NoAccountFree, StoreMisused
from actors.redis.client import Script, ping, redis_call

SCAN: Final = 1000  # fields of a hash per HSCAN
HELD_AGAIN: Final = 2  # renew.lua: the lease had lapsed, or Redis had lost it


@dataclass(frozen=True, slots=True)
class Charge:
    """One request to count against an account's and an egress IP's budget: the input of reserve.lua."""

    keys: tuple[str, ...]
    args: tuple[str | int, ...]

    def outcome(self, answer: Sequence[Any]) -> Reserved | Refused:
        """Read the answer of the script."""
        verdict, *numbers = answer
        scope: Any = verdict.decode() if isinstance(verdict, bytes) else verdict
        if scope == "ok":
            return Reserved(numbers[0], None if numbers[1] < 0 else numbers[1])
        return Refused(scope, numbers[0] / 1000)


class AccountStore(CredentialStore):
    """The accounts in Redis, for bots. One instance per process; safe to share between actors.

    All methods that call Redis raise StoreUnavailable and StoreMisused (see `redis_call`).
    """

    def __init__(
        self,
        redis: Redis,
        *,
        prefix: str,
        quota: QuotaLimits,
        lease_s: float,
        encryption: Encryption | None = None,
        counting: Redis | None = None,
    ) -> None:
        """`counting`: the client for `reserve`, whose answers are bytes; `redis` itself when None."""
        super().__init__(redis, prefix=prefix, encryption=encryption)
        self._reserve = Script(counting or redis, __package__, "reserve")
        self._quota = quota
        self._lease_ms = int(lease_s * 1000)
        # Names every request in the budgets: distinct between processes, counted within one.
        self._process = secrets.token_hex(6)
        self._requests = itertools.count()
        self._avoided: dict[str, tuple[float, str]] = {}  # until when on the loop's clock, and why

    # -- leases --------------------------------------------------------------------------------

    async def acquire(self, holder: str, *, before: str | None = None) -> Lease:
        """Check out an account.

        Args:
            holder: a name that is unique among all instances.
            before: the account that this holder had, which it gets again if it still holds the lease.
                With ANY_HELD that is any account: an earlier checkout may have succeeded unanswered.

        Raises:
            NoAccountFree: with the seconds until a budget or cooldown frees, if one does.
        """
        account, *answer = await self._acquire(holder, before)
        if not account and await self._end_needs():
            account, *answer = await self._acquire(holder, before)
        if not account:
            raise NoAccountFree(*(ms / 1000 if ms >= 0 else None for ms in answer))
        return Lease(account, answer[0], holder)

    async def _acquire(self, holder: str, before: str | None) -> list[Any]:
        k = self._keys
        keys = [
            *(k.checkouts, k.leases, k.holders, k.cooldowns, k.cooldown_reasons),
            *(k.passwords, k.fencing, k.hints, k.spellings, k.steam_ids, k.server_time),
        ]
        args: list[str | int] = [
            *(holder, self._lease_ms, before or "", k.account_budget),
            *(self._quota.per_account, self._quota.window, BUDGET_SPENT, *self.avoided()),
        ]
        answer: list[Any] = await self._scripts["acquire"].run(keys, args)
        return answer

    async def _end_needs(self) -> int:
        """End the cooldowns of accounts whose refused credentials were replaced; return how many."""
        k = self._keys
        keys = [k.refused, k.passwords, k.secrets, k.cooldowns, k.cooldown_reasons, k.hints]
        try:
            ended: int = await self._scripts["end_needs"].run(keys, [NEED])
        except StoreMisused:  # a key that checkouts do not use has the wrong type
            return 0
        return ended

    def avoid(self, account: str, seconds: float, reason: str) -> None:
        """Do not check out `account` for a while, in this process only; Redis is not told."""
        self._avoided[account] = asyncio.get_running_loop().time() + seconds, reason

    def avoided(self) -> dict[str, str]:
        """Return the accounts that are avoided now, with the reason of each."""
        now = asyncio.get_running_loop().time()
        self._avoided = {one: until for one, until in self._avoided.items() if until[0] > now}
        return {account: reason for account, (_, reason) in self._avoided.items()}

    async def renew(self, lease: Lease) -> bool:
        """Extend the lease to its full length from now; store again what Redis may have lost.

        Return whether the lease had lapsed or was lost in Redis, and is valid again.

        Raises:
            LeaseLost: another holder has the account, or an operator released or removed it.
        """
        k = self._keys
        keys = [
            *(k.checkouts, k.leases, k.holders, k.fencing),
            *(k.spellings, k.steam_ids, k.server_time),
        ]
        args = (lease.account, lease.fencing_token, self._lease_ms, lease.holder)
        renewed: int = await self._scripts["renew"].run(keys, args)
        require_lease(lease, renewed)
        was_lost = renewed == HELD_AGAIN
        if was_lost:
            self._auth.mark_lost(lease.account)
        await self._store_unsaved(lease)
        return was_lost

    async def release(self, lease: Lease) -> None:
        """Store unsaved auth state and release the account; nothing happens if the lease is lost."""
        k = self._keys
        with contextlib.suppress(LeaseLost):
            await self._store_unsaved(lease)
        self._auth.release(lease.account)
        self._steam_ids_noted.pop(lease.account, None)
        self._credentials_used.pop(lease.account, None)
        keys = [k.checkouts, k.leases, k.holders, k.hints, k.fencing]
        await self._scripts["release"].run(keys, [lease.account, lease.fencing_token])

    async def release_all(self, holder_prefix: str) -> list[str]:
        """Release all accounts of holders whose names begin with a prefix; return the accounts."""
        k = self._keys
        keys = [k.checkouts, k.leases, k.holders, k.hints, k.fencing]
        released = await self._scripts["release_all"].run(keys, [holder_prefix])
        return [shown(account) for account in released]

    async def held_by(self, holder_prefix: str) -> dict[str, str]:
        """Return the accounts of holders whose names begin with a prefix, by holder."""
        with redis_call(self._redis, "held_by"):
            entries = await self._redis.hgetall(self._keys.holders)
        found = {}
        for account, entry in entries.items():
            holder = HolderEntry.parse(str(entry)).holder
            if holder.startswith(holder_prefix) and folded(str(account)) is not None:
                found[holder] = str(account)
        return found

    async def note_logon(self, lease: Lease) -> None:
        """Record the time of a successful log-on, which also ends the account's cooldown."""
        k = self._keys
        keys = [k.holders, k.last_logons, k.cooldowns, k.cooldown_reasons, k.refused]
        await self._scripts["note_logon"].run(keys, [lease.account, lease.fencing_token])

    # -- cooldowns -----------------------------------------------------------------------------

    async def cool_down(
        self, lease: Lease, seconds: float, reason: str, *, repeated_s: float | None = None
    ) -> None:
        """Block checkouts of the account for a while.

        Args:
            lease: of the account.
            seconds: how long.
            reason: in words.
            repeated_s: how long instead if the same credentials were refused before, by any process;
                other credentials end such a cooldown. None: credentials are not the cause.

        Raises:
            LeaseLost: the lease is not valid any more; nothing was written.
        """
        k = self._keys
        keys = [k.holders, k.cooldowns, k.cooldown_reasons, k.passwords, k.secrets, k.refused]
        token, used = self._credentials_used.get(lease.account, (0, ""))
        args: list[str | int] = [
            *(lease.account, lease.fencing_token, int(seconds * 1000), reason),
            "" if repeated_s is None else int(repeated_s * 1000),
            used if token == lease.fencing_token else "",
        ]
        require_lease(lease, await self._scripts["cool_down"].run(keys, args))

    async def lift_cooldown(self, account: str, reason: str) -> None:
        """End the cooldown of an account if it still has this reason."""
        k = self._keys
        keys = [k.cooldowns, k.cooldown_reasons, k.hints, k.refused]
        await self._scripts["lift_cooldown"].run(keys, [account, reason])

    async def clear_quota_cooldowns(self) -> None:
        """End all cooldowns for spent budgets; the next checkouts find out which are still spent."""
        k = self._keys
        keys = [k.cooldowns, k.cooldown_reasons, k.hints]
        await self._scripts["clear_quota_cooldowns"].run(keys, [BUDGET_SPENT])

    # -- encryption of all ---------------------------------------------------------------------

    async def undecryptable_values(self) -> int:
        """Return how many stored values are encrypted if no key decrypts any of them, else 0."""
        count = 0
        for kind, _, account, value in await self._secrets("undecryptable_values"):
            if value.startswith(MARK):
                try:
                    self._encryption.decrypt(kind, account, value)
                except CannotDecrypt:
                    count += 1
                else:
                    return 0
        return count

    async def encrypt_plain_values(self) -> int:
        """Encrypt all plain values; return how many. For a Redis that only this service uses.

        A value that changes meanwhile keeps the change. The append-only file is rewritten without the
        plain values.
        """
        if not self._encryption.has_key:
            return 0
        encrypted = 0
        for kind, key, account, value in await self._secrets("encrypt_plain_values"):
            is_plain = value and not value.startswith(MARK)
            if is_plain and is_text(value) and folded(account) is not None:
                args = (account, value, self._encryption.encrypt(kind, account, value))
                encrypted += await self._scripts["replace_field"].run([key], args)
        if encrypted:
            with redis_call(self._redis, "encrypt_plain_values"):
                await self._redis.bgrewriteaof()
        return encrypted

    async def _secrets(self, operation: str) -> list[tuple[str, str, str, str]]:
        """Return kind, key of the hash, account and value of all stored secrets."""
        k = self._keys
        hashes = {PASSWORD: k.passwords, SHARED_SECRET: k.secrets, AUTH_STATE: k.sentries}
        with redis_call(self._redis, operation):
            return [
                (kind, key, account, value)
                for kind, key in hashes.items()
                async for account, value in self._redis.hscan_iter(key, count=SCAN)
            ]

    # -- budgets -------------------------------------------------------------------------------

    def reconfigure(self, quota: QuotaLimits) -> None:
        """Use other limits from now on; see `clear_quota_cooldowns` for cooldowns by the old ones."""
        self._quota = quota

    def charge(self, account: str, fencing_token: int, ip: str | None) -> Charge:
        """Return one request of `account` from egress `ip`, to be counted before it is sent."""
        k, quota = self._keys, self._quota
        keys = (
            *(k.holders, k.leases, k.account_budget + account, k.ip_budget + (ip or "")),
            *(k.spellings, k.steam_ids),
        )
        args = (
            *(account, fencing_token, quota.per_account, -1 if ip is None else quota.per_ip),
            *(quota.window, f"{self._process}.{next(self._requests)}"),
            *(k.day_front, k.day_end, k.account_budget),
        )
        return Charge(keys, args)

    async def reserve(self, account: str, fencing_token: int, ip: str | None) -> Reserved | Refused:
        """Count one request of `account` from egress `ip` before it is sent."""
        charge = self.charge(account, fencing_token, ip)
        return charge.outcome(await self._reserve.run(charge.keys, charge.args))

    async def address_frees_in(self, ip: str) -> float:
        """Return the seconds until the budget of an egress IP frees; 0 while some of it is left."""
        keys = [self._keys.ip_budget + ip]
        used, frees_in_ms = await self._scripts["ip_budgets"].run(keys, [self._quota.window])
        return frees_in_ms / 1000 if used >= self._quota.per_ip else 0.0

    async def ping(self) -> None:
        """Raise StoreUnavailable unless Redis answers."""
        await ping(self._redis)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
