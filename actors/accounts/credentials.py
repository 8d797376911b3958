"""Credentials of accounts in Redis: passwords, shared secrets and auth state."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable
from typing import Any, Final

from redis.asyncio import Redis

from actors.accounts.auth_state import UnsavedAuth, auth_from_json, auth_to_json
from actors.accounts.encryption import Encryption
from actors.accounts.formats import canonical, folded, is_text, shown, steam_name
from actors.accounts.keys import Keys
from actors.accounts.models import NEED, Lease
from actors.errors import (
    CannotDecrypt,
    LeaseLost,
    NeedsHuman,
    NoPassword,
    PasswordNeeded,
    SameSteamAccount,
)
from actors.redis.client import load_scripts, redis_call
from actors.steam.port import AuthState, Credential

# Kinds of secrets; each is authenticated with its value, and named in errors.
PASSWORD: Final = "password"  # noqa: S105 - a kind, not a password
SHARED_SECRET: Final = "shared secret"  # noqa: S105 - as above
AUTH_STATE: Final = "auth state"


class CredentialStore:
    """Reads and writes credentials; base of `AccountStore`.

    Auth state that Redis may not have is kept in this process until Redis has it (`UnsavedAuth`).
    """

    def __init__(self, redis: Redis, *, prefix: str, encryption: Encryption | None) -> None:
        self._redis = redis
        self._keys = Keys(prefix)
        self._scripts = load_scripts(redis, __package__)
        self._encryption = encryption or Encryption()
        self._auth = UnsavedAuth()
        self._steam_ids_noted: dict[str, int] = {}  # account -> fencing token
        # account -> fencing token, digest of the credentials that its log-on used
        self._credentials_used: dict[str, tuple[int, str]] = {}

    async def add(
        self, account: str, password: str | None, shared_secret: str | None = None
    ) -> str:
        """Add an account as the first BotAPI does: HSET its password, ZADD it with score 0.

        An account that exists keeps its checkout and gets the new password, also where `account` is
        another spelling of its name; a cooldown caused by its old credentials ends. None keeps the
        stored password or secret. Return the name under which the account is stored.

        Raises:
            PasswordNeeded: no password is given, and none is stored.
        """
        k = self._keys
        keys = [
            *(k.checkouts, k.leases, k.passwords, k.secrets, k.spellings, k.steam_ids),
            *(k.hints, k.cooldowns, k.cooldown_reasons, k.refused),
        ]
        encrypt = self._encryption.encrypt
        name, tried = account, ""
        while name != tried:  # a secret is encrypted for the stored name, which only Redis knows
            tried = name
            secret = "" if not shared_secret else encrypt(SHARED_SECRET, tried, shared_secret)
            stored = "" if password is None else encrypt(PASSWORD, tried, password)
            name = await self._scripts["add"].run(keys, [tried, stored, secret, NEED])
            if not name:
                raise PasswordNeeded((tried,))
        return name

    async def without_password(self, accounts: Iterable[str]) -> tuple[str, ...]:
        """Return those of some account names for which no password is stored, in any spelling."""
        with redis_call(self._redis, "without_password"):
            stored = await self._redis.hkeys(self._keys.passwords)
        known = {folded(str(name)) for name in stored}
        return tuple(name for name in accounts if folded(name) not in known)

    async def credential(self, lease: Lease) -> Credential:
        """Return the password and the shared secret of the account.

        Raises:
            NoPassword: none is stored.
            NeedsHuman: what is stored is not UTF-8 text.
            CannotDecrypt: it is encrypted under a key that this process does not have.
        """
        account = lease.account
        with redis_call(self._redis, "credential"):
            password = await self._field(self._keys.passwords, account)
            shared_secret = await self._field(self._keys.secrets, account)
        used = _digest(password, shared_secret)
        self._credentials_used[account] = lease.fencing_token, used
        if password is None:
            raise NoPassword(account)
        secret = shared_secret and self._decrypted(SHARED_SECRET, account, shared_secret)
        return Credential(
            steam_name(account),
            self._decrypted(PASSWORD, account, password),
            # An earlier version stored hex and base32 unchanged.
            secret and (canonical(secret) or secret),
        )

    # -- auth state ----------------------------------------------------------------------------

    async def load_auth(self, lease: Lease) -> AuthState | None:
        """Return the newest auth state; its refresh token may be empty (see `forget_token`).

        Auth state that Redis does not have yet is stored first.

        Raises:
            SameSteamAccount: see `save_auth`.
        """
        stored = await self._stored_auth(lease)
        if stored is not None:
            await self._note_steam_id(lease, stored.steam_id)
        else:  # Redis never had it, or lost it
            self._auth.mark_lost(lease.account)
        if (unsaved := self._auth.unsaved(lease.account, stored)) is not None:
            await self._store_auth(lease, unsaved)
            return unsaved
        if stored is not None:
            self._auth.mark_stored(lease.account, stored)
        return stored

    async def save_auth(self, lease: Lease, auth: AuthState) -> None:
        """Replace the auth state; return after Redis acknowledged. After an error `renew` tries again.

        Raises:
            LeaseLost: a newer checkout exists; nothing was written.
            SameSteamAccount: by its SteamID64 it is an account that is in use under another name. The
                auth state is stored, and the lease has ended.
        """
        self._auth.received(lease.account, auth)
        await self._store_auth(lease, auth)
        await self._note_steam_id(lease, auth.steam_id)

    async def forget_token(self, lease: Lease) -> None:
        """Delete the refresh token; keep the guard data, which the next password log-on needs.

        Raises:
            LeaseLost: as `save_auth`.
        """
        auth = await self.load_auth(lease)
        self._auth.forget(lease.account)
        if auth is not None:
            await self._store_auth(lease, AuthState(auth.steam_id, "", auth.guard_data))

    async def _note_steam_id(self, lease: Lease, steam_id: int) -> None:
        """Block leases of other names of the same Steam account; once per lease, before its log-on."""
        if self._steam_ids_noted.get(lease.account) == lease.fencing_token:
            return
        k = self._keys
        keys = [k.checkouts, k.leases, k.holders, k.fencing, k.spellings, k.steam_ids]
        args = (lease.account, lease.fencing_token, str(steam_id))
        noted = await self._scripts["note_steam_id"].run(keys, args)
        require_lease(lease, noted)
        if isinstance(noted, str):
            raise SameSteamAccount(lease.account, lease.fencing_token, shown(noted))
        self._steam_ids_noted[lease.account] = lease.fencing_token

    async def _stored_auth(self, lease: Lease) -> AuthState | None:
        with redis_call(self._redis, "load_auth"):
            text = await self._field(self._keys.sentries, lease.account)
        if text is None:
            return None
        return auth_from_json(self._encryption.decrypt(AUTH_STATE, lease.account, text))

    async def _store_unsaved(self, lease: Lease) -> None:
        if self._auth.unsaved(lease.account) is None:
            return
        with contextlib.suppress(CannotDecrypt):  # it stays in this process
            stored = await self._stored_auth(lease)
            if (auth := self._auth.unsaved(lease.account, stored)) is not None:
                await self._store_auth(lease, auth)

    async def _store_auth(self, lease: Lease, auth: AuthState) -> None:
        text = self._encryption.encrypt(AUTH_STATE, lease.account, auth_to_json(auth))
        keys = [self._keys.holders, self._keys.sentries]
        args = (lease.account, lease.fencing_token, text)
        require_lease(lease, await self._scripts["put_field"].run(keys, args))
        self._auth.mark_stored(lease.account, auth)

    def _decrypted(self, kind: str, account: str, stored: str) -> str:
        plain = self._encryption.decrypt(kind, account, stored)
        if not is_text(plain):
            raise NeedsHuman(account, f"its {kind} stored again: what is stored is no UTF-8 text")
        return plain

    async def _field(self, key: str, account: str) -> str | None:
        value = await self._redis.hget(key, account)
        return value.decode() if isinstance(value, bytes) else value


def require_lease(lease: Lease, done: Any) -> None:
    """Raise LeaseLost unless a script found the lease valid."""
    if not done:
        raise LeaseLost(lease.account, lease.fencing_token)


def _digest(password: str | None, shared_secret: str | None) -> str:
    """Return the digest of stored credentials that prelude.lua computes (`credentials_of`)."""
    both = f"{password or ''}\0{shared_secret or ''}"
    return hashlib.sha1(both.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()
