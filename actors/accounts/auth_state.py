"""Auth state: validity of a refresh token, JSON form, and the copy kept until Redis has it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

import orjson

from actors.steam.port import AuthState

AUTH_VERSION: Final = 1  # of the JSON form
# A refresh token is a JWT that only Steam can verify. Its claims are checked before use, as a log-on with
# a dead token costs a connection (rules of node-steam-user and ArchiSteamFarm).
ISSUER: Final = "steam"
AUDIENCE: Final = frozenset({"client", "derive"})  # `client`: for the CM; `derive`: no access token
MARGIN_S: Final = 300.0  # a log-on may wait for its turn


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
