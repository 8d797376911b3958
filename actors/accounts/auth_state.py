"""Auth state: JSON form, unsaved cache, claims of a refresh token.

A refresh token is a JWT that only Steam can verify. A client checks its shape, issuer, audience,
subject and expiry before use, as a log-on with a dead token costs a connection (rules of
node-steam-user and ArchiSteamFarm).

Steam sends a refresh token once. Until Redis has acknowledged it, and again when Redis comes back without
it, the token exists only in this process; the next bot of this process that has the account stores it.
Nothing here survives the process.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

import orjson

from actors.steam.port import AuthState

PARTS: Final = 3  # of a JWT
ISSUER: Final = "steam"
AUDIENCE: Final = frozenset({"client", "derive"})  # `client`: for the CM; `derive`: no access token
MARGIN_S: Final = 300.0  # a log-on may wait for its turn


def claims_of(token: str) -> Mapping[str, Any] | None:
    """Return the claims of a token, unverified; None when it is no JWT."""
    parts = token.split(".")
    if len(parts) != PARTS:
        return None
    try:
        claims = orjson.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return None
    return claims if isinstance(claims, dict) else None


def expires_at(token: str) -> float | None:
    """Return when a token expires, in UTC seconds, by its own claims; None when it does not say."""
    try:
        return float((claims_of(token) or {})["exp"])
    except (ValueError, KeyError, TypeError):
        return None


def flaw_of(auth: AuthState, now: float) -> str | None:
    """Return why the refresh token of `auth` is of no use at `now` (UTC seconds); None when it may be."""
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


VERSION = 1


def auth_to_json(auth: AuthState) -> str:
    """Return the text to store."""
    return orjson.dumps(
        {
            "v": VERSION,
            "steam_id": str(auth.steam_id),
            "refresh_token": auth.refresh_token,
            "guard_data": auth.guard_data,
        }
    ).decode()


def auth_from_json(text: str) -> AuthState | None:
    """Return what was stored, or None for what we did not write (an old sentry, say)."""
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
    """By account; pure bookkeeping."""

    def __init__(self) -> None:
        self._known: dict[str, AuthState] = {}
        self._unsaved: set[str] = set()

    def arrived(self, account: str, auth: AuthState) -> None:
        """Steam gave it to us; Redis does not have it."""
        self._known[account] = auth
        self._unsaved.add(account)

    def is_stored(self, account: str, auth: AuthState) -> None:
        """Redis has it; unless a newer one is still to be stored, it is the newest there is."""
        if account in self._unsaved and self._known[account] != auth:
            return
        self._unsaved.discard(account)
        self._known[account] = auth

    def may_be_lost(self, account: str) -> None:
        """Redis has lost its newest writes, perhaps this one, too."""
        if account in self._known:
            self._unsaved.add(account)

    def unsaved(self, account: str, stored: AuthState | None = None) -> AuthState | None:
        """Return what is still to be stored, unless `stored` is at least as new."""
        held = self._known.get(account) if account in self._unsaved else None
        if held is not None and stored is not None and _is_newer(stored, held):
            self.forget(account)
            return None
        return held

    def let_go(self, account: str) -> None:
        """The account is not ours any more: what Redis has is not ours to remember."""
        if account not in self._unsaved:
            self._known.pop(account, None)

    def forget(self, account: str) -> None:
        """It is worth nothing any more."""
        self._known.pop(account, None)
        self._unsaved.discard(account)


def _is_newer(stored: AuthState, held: AuthState) -> bool:
    """Another instance may have stored a newer token meanwhile; the later expiry counts."""
    ends = expires_at(stored.refresh_token)
    return ends is not None and ends > (expires_at(held.refresh_token) or 0.0)
