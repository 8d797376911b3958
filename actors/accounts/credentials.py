"""Credentials of accounts in Redis: passwords, shared secrets and auth state."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson
from redis.asyncio import Redis

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
AUTH_VERSION: Final = 1  # of the JSON form
# A refresh token is a JWT that only Steam can verify. Its claims are checked before use, as a log-on with
# a dead token costs a connection (rules of node-steam-user and ArchiSteamFarm).
ISSUER: Final = "steam"
AUDIENCE: Final = frozenset({"client", "derive"})  # `client`: for the CM; `derive`: no access token
MARGIN_S: Final = 300.0  # a log-on may wait for its turn


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


# -- auth state ------------------------------------------------------------------------------------


def claims_of(token: str) -> Mapping[str, Any] | None:
    """Return the claims of a token, unverified; None when it is not a JWT."""
    try:
        _, payload, _ = token.split(".")
        claims = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except ValueError:  # binascii.Error is one
        return None
    return claims if isinstance(claims, dict) else None


def expires_at(token: str) -> float | None:
    """Return when a token expires, in UTC seconds, by its own claims; None when it does not say."""
    try:
        return float((claims_of(token) or {})["exp"])
    except (ValueError, KeyError, TypeError):
        return None


def flaw_of(auth: AuthState, now: float) -> str | None:
    """Return why the refresh token of `auth` is useless at `now` (UTC seconds); None when it may work."""
    claims = claims_of(auth.refresh_token)
    if claims is None:
        return "it is no token"
    if claims.get("iss") != ISSUER:
        return "Steam has not issued it as a refresh token"
    audience = claims.get("aud")
    if not isinstance(audience, list) or not AUDIENCE.issubset(map(str, audience)):
        return "it is not for the Steam client"
    if str(claims.get("sub")) != str(auth.steam_id):
        return "it is of another account"
    expires = expires_at(auth.refresh_token)
    if expires is None or expires <= now + MARGIN_S:
        return "it has expired"
    return None


def auth_to_json(auth: AuthState) -> str:
    """Return the text to store."""
    return orjson.dumps(
        {
            "v": AUTH_VERSION,
            "steam_id": str(auth.steam_id),
            "refresh_token": auth.refresh_token,
            "guard_data": auth.guard_data,
        }
    ).decode()


def auth_from_json(text: str) -> AuthState | None:
    """Parse a stored text; None for a text of another program, e.g. a sentry of the first BotAPI."""
    try:
        stored = orjson.loads(text)
        steam_id, token = int(stored["steam_id"]), stored["refresh_token"] or ""
        guard_data = stored.get("guard_data")
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None
    if not 0 < steam_id < 1 << 64 or not isinstance(token, str):
        return None
    return AuthState(steam_id, token, guard_data if isinstance(guard_data, str) else None)


class UnsavedAuth:
    """Auth state by account, in memory, with a flag for each that Redis may not have.

    Steam sends a refresh token once. Until Redis has acknowledged it, and again when Redis has lost it,
    the only copy is here; the next bot of this process that leases the account stores it.
    """

    def __init__(self) -> None:
        self._known: dict[str, AuthState] = {}
        self._unsaved: set[str] = set()

    def received(self, account: str, auth: AuthState) -> None:
        """Keep auth state from Steam, which Redis does not have."""
        self._known[account] = auth
        self._unsaved.add(account)

    def mark_stored(self, account: str, auth: AuthState) -> None:
        """Note that Redis has `auth`; ignored when a newer one is still unsaved."""
        if account in self._unsaved and self._known[account] != auth:
            return
        self._unsaved.discard(account)
        self._known[account] = auth

    def mark_lost(self, account: str) -> None:
        """Note that Redis may have lost the auth state."""
        if account in self._known:
            self._unsaved.add(account)

    def unsaved(self, account: str, stored: AuthState | None = None) -> AuthState | None:
        """Return what is to be stored; None when nothing is, or when `stored` is at least as new."""
        held = self._known.get(account) if account in self._unsaved else None
        if held is not None and stored is not None and _is_newer(stored, held):
            self.forget(account)
            return None
        return held

    def release(self, account: str) -> None:
        """Drop the copy of a released account, unless it is unsaved."""
        if account not in self._unsaved:
            self._known.pop(account, None)

    def forget(self, account: str) -> None:
        """Drop the auth state: it is worthless."""
        self._known.pop(account, None)
        self._unsaved.discard(account)


def _is_newer(stored: AuthState, held: AuthState) -> bool:
    """Return whether `stored`, e.g. by another instance, expires later than `held`."""
    ends = expires_at(stored.refresh_token)
    return ends is not None and ends > (expires_at(held.refresh_token) or 0.0)
