"""The claims of a refresh token, and what keeps a client from using it.

A refresh token is a JWT that only Steam can verify. A client checks its shape, issuer, audience,
subject and expiry before use, as a log-on with a dead token costs a connection (rules of
node-steam-user and ArchiSteamFarm).
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
