"""AccountStore: leases, budgets, auth state. Each change is one Lua script.

Leases are ordered by fencing tokens, and every write on behalf of an account carries the token and is
refused when a newer checkout exists. All time is Redis server time. What Redis loses (a failover to a
replica that lags) this file cannot know; a holder finds out at its next renewal.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis

from actors.accounts.auth_state import UnsavedAuth, auth_from_json, auth_to_json
from actors.accounts.encryption import Encryption, closed_values, seal_plain_values
from actors.accounts.keys import Keys
from actors.accounts.models import (
    BUDGET_SPENT,
    NEED,
    HolderEntry,
    Lease,
    QuotaLimits,
    Refused,
    Reserved,
    Unmet,
)
from actors.accounts.names import folded, is_text, shown, steam_name
from actors.accounts.shared_secrets import canonical
from actors.errors import (
    CannotUnseal,
    LeaseLost,
    NeedsHuman,
    NoAccountFree,
    NoPassword,
    PasswordNeeded,
    SameSteamAccount,
    StoreMisused,
)
from actors.redis.client import Condition, Script, ping, redis_call
from actors.steam.port import AuthState, Credential

# What a sealed value is; authenticated with it, and named in errors.
PASSWORD: Final = "password"  # noqa: S105 - a kind, not a password
SHARED_SECRET: Final = "shared secret"  # noqa: S105 - as above
AUTH_STATE: Final = "auth state"
HELD_AGAIN: Final = 2  # renew.lua: the lease had lapsed, or Redis had lost it


@dataclass(frozen=True, slots=True)
class _Scripts:
    acquire: Script
    renew: Script
    release: Script
    release_all: Script
    reserve: Script
    ip_budgets: Script
    put_field: Script
    cool_down: Script
    lift_cooldown: Script
    note_logon: Script
    forgive_spent: Script
    add: Script
    end_needs: Script
    note_steam_id: Script


class AccountStore:
    """The accounts in Redis, for bots. One instance per process; safe to share between actors.

    Of an account's state it holds only auth state that Redis may not have (see `known_auth`).
    """

    def __init__(
        self,
        redis: Redis,
        *,
        prefix: str,
        quota: QuotaLimits,
        lease_s: float,
        sealer: Encryption | None = None,
        counting: Redis | None = None,
    ) -> None:
        """`counting`: for `reserve`, one that answers with bytes; `redis` itself when None.

        Commands of one connection are carried out in their order. What a condition is about should
        come that way, too.
        """
        self._redis = redis
        self._counting = redis if counting is None else counting
        self._keys = Keys(prefix)
        self._quota = quota
        self._sealer = sealer or Encryption()
        self._lease_ms = int(lease_s * 1000)
        self._scripts = _Scripts(
            *(Script(__package__, name) for name in _Scripts.__dataclass_fields__)
        )
        # Names every request in the budgets: distinct between processes, counted within one.
        self._process = secrets.token_hex(6)
        self._requests = itertools.count()
        self._auth = UnsavedAuth()
        self._avoided: dict[str, tuple[float, str]] = {}  # until when on the loop's clock, and why
        self._steam_ids_noted: dict[str, int] = {}  # account -> fencing token
        self._credentials_used: dict[
            str, tuple[int, str]
        ] = {}  # account -> fencing token, see _digest

    # -- checkout ------------------------------------------------------------------------------

    async def acquire(self, holder: str, *, before: str | None = None) -> Lease:
        """Check out an account for `holder`.

        Args:
            holder: names who uses it; unique in the world.
            before: the account this holder had; taken back at once if it still holds the lease. With
                ANY_HELD that is any account: an earlier checkout may have succeeded without an answer.

        Raises:
            NoAccountFree: with the seconds until a budget or cooldown frees, if one will.
            StoreUnavailable, StoreMisused: see `redis.errors.translated`.
        """
        account, *answer = await self._acquire(holder, before)
        if not account and await self._end_needs():
            account, *answer = await self._acquire(holder, before)
        if not account:
            raise NoAccountFree(*(ms / 1000 if ms >= 0 else None for ms in answer))
        return Lease(account, answer[0], holder)

    async def _acquire(self, holder: str, before: str | None) -> list[Any]:
        k = self._keys
        answer: list[Any] = await self._scripts.acquire.run(
            self._redis,
            [
                *(k.checkouts, k.leases, k.holders, k.cooldowns, k.cooldown_reasons),
                *(k.passwords, k.fencing, k.hints, k.spellings, k.steam_ids, k.server_time),
            ],
            [
                holder,
                self._lease_ms,
                before or "",
                k.account_budget_front,
                self._quota.per_account,
                self._quota.window,
                BUDGET_SPENT,
                *self.avoided(),
            ],
        )
        return answer

    async def _end_needs(self) -> int:
        """Let accounts be tried whose refused credentials a client has replaced; return how many."""
        k = self._keys
        keys = [k.refused, k.passwords, k.secrets, k.cooldowns, k.cooldown_reasons, k.hints]
        try:
            ended: int = await self._scripts.end_needs.run(self._redis, keys, [NEED])
        except StoreMisused:  # a key that is none of the checkouts' own
            return 0
        return ended

    def avoid(self, account: str, seconds: float, reason: str) -> None:
        """Check `account` out no more for a while, in this process alone: Redis is told nothing."""
        self._avoided[account] = asyncio.get_running_loop().time() + seconds, reason

    def avoided(self) -> dict[str, str]:
        """Return the accounts that are avoided now, with the reason of each."""
        now = asyncio.get_running_loop().time()
        self._avoided = {one: until for one, until in self._avoided.items() if until[0] > now}
        return {account: reason for account, (_, reason) in self._avoided.items()}

    async def renew(self, lease: Lease) -> bool:
        """Prolong the lease by its full length from now; store again what Redis may have lost.

        Return whether the lease had lapsed or was lost in Redis, and holds again.

        Raises:
            LeaseLost: another holder has the account, or an operator freed or removed it.
        """
        k = self._keys
        renewed = await self._scripts.renew.run(
            self._redis,
            [
                *(k.checkouts, k.leases, k.holders, k.fencing),
                *(k.spellings, k.steam_ids, k.server_time),
            ],
            [lease.account, lease.fencing_token, self._lease_ms, lease.holder],
        )
        self._require(lease, renewed)
        was_lost: bool = renewed == HELD_AGAIN
        if was_lost:
            self._auth.may_be_lost(lease.account)
        await self._store_unsaved(lease)
        return was_lost

    async def release(self, lease: Lease) -> None:
        """Give the account back, with what was not stored yet; does nothing when it is not ours."""
        k = self._keys
        with contextlib.suppress(LeaseLost):
            await self._store_unsaved(lease)
        self._auth.let_go(lease.account)
        self._steam_ids_noted.pop(lease.account, None)
        self._credentials_used.pop(lease.account, None)
        await self._scripts.release.run(
            self._redis,
            [k.checkouts, k.leases, k.holders, k.hints, k.fencing],
            [lease.account, lease.fencing_token],
        )

    async def release_all(self, holder_prefix: str) -> list[str]:
        """Give back whatever holders of that prefix still have; return the accounts."""
        k = self._keys
        keys = [k.checkouts, k.leases, k.holders, k.hints, k.fencing]
        released = await self._scripts.release_all.run(self._redis, keys, [holder_prefix])
        return [shown(account) for account in released]

    async def held_by(self, holder_prefix: str) -> dict[str, str]:
        """Return the accounts that holders of that prefix have, by holder."""
        with redis_call(self._redis, "held_by"):
            entries = await self._redis.hgetall(self._keys.holders)
        found = {}
        for account, entry in entries.items():
            holder = HolderEntry.parse(str(entry)).holder
            if holder.startswith(holder_prefix) and folded(str(account)) is not None:
                found[holder] = str(account)
        return found

    async def cool_down(
        self, lease: Lease, seconds: float, reason: str, *, repeated_s: float | None = None
    ) -> None:
        """Block checkouts of the account for a while.

        Args:
            lease: of the account.
            seconds: for how long.
            reason: in words.
            repeated_s: for how long instead where these credentials were refused before, in whatever
                process; other ones end the cooldown. None: it has nothing to do with credentials.

        Raises:
            LeaseLost: the account is not ours to judge any more.
        """
        k = self._keys
        token, used = self._credentials_used.get(lease.account, (0, ""))
        cooled = await self._scripts.cool_down.run(
            self._redis,
            [k.holders, k.cooldowns, k.cooldown_reasons, k.passwords, k.secrets, k.refused],
            [
                *(lease.account, lease.fencing_token, int(seconds * 1000), reason),
                "" if repeated_s is None else int(repeated_s * 1000),
                used if token == lease.fencing_token else "",
            ],
        )
        self._require(lease, cooled)

    async def lift_cooldown(self, account: str, reason: str) -> None:
        """End the cooldown of an account if it still has this reason."""
        k = self._keys
        await self._scripts.lift_cooldown.run(
            self._redis, [k.cooldowns, k.cooldown_reasons, k.hints, k.refused], [account, reason]
        )

    # -- budgets -------------------------------------------------------------------------------

    def change_quota(self, quota: QuotaLimits) -> None:
        """Count by other limits from now on; see `forgive_spent` for what they have led to."""
        self._quota = quota

    async def forgive_spent(self) -> None:
        """End every cooldown for a spent budget; checkouts find out again which are still spent."""
        k = self._keys
        await self._scripts.forgive_spent.run(
            self._redis, [k.cooldowns, k.cooldown_reasons, k.hints], [BUDGET_SPENT]
        )

    async def reserve(
        self, account: str, fencing_token: int, ip: str | None, *, if_: Condition | None = None
    ) -> Reserved | Refused | Unmet:
        """Count one request of `account` from egress `ip`, if `if_` holds, before it is sent."""
        k, quota = self._keys, self._quota
        conditions, values = ([], []) if if_ is None else ([if_.key], [if_.value])
        verdict, *numbers = await self._scripts.reserve.run(
            self._counting,
            [
                *(k.holders, k.leases, k.account_budget(account), k.ip_budget(ip or "")),
                *(k.spellings, k.steam_ids, *conditions),
            ],
            [
                account,
                fencing_token,
                quota.per_account,
                -1 if ip is None else quota.per_ip,
                quota.window,
                f"{self._process}.{next(self._requests)}",
                k.day_front,
                k.day_end,
                k.account_budget_front,
                *values,
            ],
        )
        scope: Any = verdict.decode() if isinstance(verdict, bytes) else verdict
        if scope == "unmet":
            return Unmet()
        if scope == "ok":
            return Reserved(numbers[0], None if ip is None else numbers[1])
        return Refused(scope, numbers[0] / 1000)

    async def address_frees_in(self, ip: str) -> float:
        """Return the seconds until the budget of an egress address frees; 0 while some is left."""
        used, frees_in_ms = await self._scripts.ip_budgets.run(
            self._redis, [self._keys.ip_budget(ip)], [self._quota.window]
        )
        return frees_in_ms / 1000 if used >= self._quota.per_ip else 0.0

    # -- what is known of an account -----------------------------------------------------------

    async def credential(self, lease: Lease) -> Credential:
        """Return what a person stored for the account.

        Raises:
            NoPassword: there is none (any more).
            NeedsHuman: what is stored is no UTF-8 text.
        """
        with redis_call(self._redis, "credential"):
            password = await self._field(self._keys.passwords, lease.account)
            shared_secret = await self._field(self._keys.secrets, lease.account)
        self._credentials_used[lease.account] = (
            lease.fencing_token,
            _digest(password, shared_secret),
        )
        if password is None:
            raise NoPassword(lease.account)
        secret = shared_secret and self._opened(SHARED_SECRET, lease.account, shared_secret)
        return Credential(
            steam_name(lease.account),
            self._opened(PASSWORD, lease.account, password),
            # An earlier version stored hex and base32 as they came.
            secret and (canonical(secret) or secret),
        )

    def _opened(self, kind: str, account: str, stored: str) -> str:
        plain = self._sealer.open(kind, account, stored)
        if not is_text(plain):
            raise NeedsHuman(account, f"its {kind} stored again: what is stored is no UTF-8 text")
        return plain

    async def load_auth(self, lease: Lease) -> AuthState | None:
        """Return what Steam gave us last time; its refresh token may be empty (see forget_token).

        What could not be stored so far is stored first.

        Raises:
            SameSteamAccount: see `save_auth`.
        """
        stored = await self._stored_auth(lease)
        if stored is not None:
            await self._note_steam_id(lease, stored.steam_id)
        if stored is None:  # Redis never had it, or lost it
            self._auth.may_be_lost(lease.account)
        if (unsaved := self._auth.unsaved(lease.account, stored)) is not None:
            await self._store_auth(lease, unsaved)
            return unsaved
        if stored is not None:
            self._auth.is_stored(lease.account, stored)
        return stored

    async def save_auth(self, lease: Lease, auth: AuthState) -> None:
        """Replace the auth state; returns after Redis acknowledged. What fails is not lost: see `renew`.

        Raises:
            LeaseLost: a newer checkout exists; nothing was written.
            SameSteamAccount: by its SteamID64 it is an account that is in use under another name. It is
                stored, and the lease has ended.
        """
        self._auth.arrived(lease.account, auth)
        await self._store_auth(lease, auth)
        await self._note_steam_id(lease, auth.steam_id)

    async def _note_steam_id(self, lease: Lease, steam_id: int) -> None:
        """Let no other name of the same Steam account be leased; once per lease, before its log-on."""
        if self._steam_ids_noted.get(lease.account) == lease.fencing_token:
            return
        k = self._keys
        keys = [k.checkouts, k.leases, k.holders, k.fencing, k.spellings, k.steam_ids]
        noted = await self._scripts.note_steam_id.run(
            self._redis, keys, [lease.account, lease.fencing_token, str(steam_id)]
        )
        self._require(lease, noted)
        if isinstance(noted, str):
            raise SameSteamAccount(lease.account, lease.fencing_token, shown(noted))
        self._steam_ids_noted[lease.account] = lease.fencing_token

    async def forget_token(self, lease: Lease) -> None:
        """Drop the refresh token and keep the guard data, which the next password logon needs.

        Raises:
            LeaseLost: as `save_auth`.
        """
        auth = await self.load_auth(lease)
        self._auth.forget(lease.account)
        if auth is not None:
            await self._store_auth(lease, AuthState(auth.steam_id, "", auth.guard_data))

    async def note_logon(self, lease: Lease) -> None:
        """Remember, for people, that the account was logged on now; it needs no cooldown any more."""
        k = self._keys
        await self._scripts.note_logon.run(
            self._redis,
            [k.holders, k.last_logons, k.cooldowns, k.cooldown_reasons, k.refused],
            [lease.account, lease.fencing_token],
        )

    async def add(
        self, account: str, password: str | None, shared_secret: str | None = None
    ) -> str:
        """Add an account as the seed does: HSET its password, ZADD it with score 0.

        An account that exists keeps its checkout and gets the new password, also where `account` is
        another spelling of its name; a cooldown that its old credentials led to ends. None keeps the
        password or the secret that is stored. Return the name under which it is stored.

        Raises:
            PasswordNeeded: no password is given, and none is stored.
        """
        k = self._keys
        keys = [
            *(k.checkouts, k.leases, k.passwords, k.secrets, k.spellings, k.steam_ids),
            *(k.hints, k.cooldowns, k.cooldown_reasons, k.refused),
        ]
        name, known = account, ""
        while name != known:  # sealing binds a secret to the stored name, which only Redis knows
            secret = (
                "" if not shared_secret else self._sealer.seal(SHARED_SECRET, name, shared_secret)
            )
            known = name
            sealed = "" if password is None else self._sealer.seal(PASSWORD, known, password)
            name = await self._scripts.add.run(self._redis, keys, [known, sealed, secret, NEED])
            if not name:
                raise PasswordNeeded((known,))
        return name

    async def without_password(self, accounts: Iterable[str]) -> tuple[str, ...]:
        """Return those of some account names for which no password is stored, in any spelling.

        Raises:
            StoreUnavailable, StoreMisused: see `redis.errors.translated`.
        """
        with redis_call(self._redis, "without_password"):
            stored = await self._redis.hkeys(self._keys.passwords)
        known = {folded(str(name)) for name in stored}
        return tuple(name for name in accounts if folded(name) not in known)

    async def closed_values(self) -> int:
        """Return how many stored values are sealed when no key of ours opens any; 0 when one opens.

        Raises:
            StoreUnavailable, StoreMisused: see `redis.errors.translated`.
        """
        return await closed_values(self._redis, self._secret_hashes(), self._sealer)

    async def seal_plain_values(self) -> int:
        """Seal what is stored plain; return how many values. For a Redis of this service alone.

        Raises:
            StoreUnavailable, StoreMisused: see `redis.errors.translated`.
        """
        return await seal_plain_values(self._redis, self._secret_hashes(), self._sealer)

    def _secret_hashes(self) -> dict[str, str]:
        k = self._keys
        return {PASSWORD: k.passwords, SHARED_SECRET: k.secrets, AUTH_STATE: k.sentries}

    async def ping(self) -> None:
        """Raise StoreUnavailable unless Redis answers."""
        await ping(self._redis)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def _field(self, key: str, account: str) -> str | None:
        value = await self._redis.hget(key, account)
        return value.decode() if isinstance(value, bytes) else value

    async def _stored_auth(self, lease: Lease) -> AuthState | None:
        with redis_call(self._redis, "load_auth"):
            text = await self._field(self._keys.sentries, lease.account)
        if text is None:
            return None
        return auth_from_json(self._sealer.open(AUTH_STATE, lease.account, text))

    async def _store_unsaved(self, lease: Lease) -> None:
        if self._auth.unsaved(lease.account) is None:
            return
        with contextlib.suppress(CannotUnseal):  # then it is held on to
            stored = await self._stored_auth(lease)
            if (auth := self._auth.unsaved(lease.account, stored)) is not None:
                await self._store_auth(lease, auth)

    async def _store_auth(self, lease: Lease, auth: AuthState) -> None:
        sealed = self._sealer.seal(AUTH_STATE, lease.account, auth_to_json(auth))
        written = await self._scripts.put_field.run(
            self._redis,
            [self._keys.holders, self._keys.sentries],
            [lease.account, lease.fencing_token, sealed],
        )
        self._require(lease, written)
        self._auth.is_stored(lease.account, auth)

    @staticmethod
    def _require(lease: Lease, done: Any) -> None:
        if not done:
            raise LeaseLost(lease.account, lease.fencing_token)


def _digest(password: str | None, shared_secret: str | None) -> str:
    """Return stored credentials as prelude.lua compares them (credentials_of)."""
    both = f"{password or ''}\0{shared_secret or ''}"
    return hashlib.sha1(both.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()
