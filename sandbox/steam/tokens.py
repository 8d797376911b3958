"""Refresh tokens, access tokens and guard data: issue, check, renew, revoke.

The claims are those that node-steam-session and ASF read. `jti` has the account's generation, and
revoking an account raises its generation; with a state directory, revocations survive a restart. Times
are UTC seconds of Steam's clock.
"""

from __future__ import annotations

import enum
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import orjson

from sandbox.protocol.eresult import EResult
from sandbox.steam import jwt
from sandbox.steam.accounts import Account
from sandbox.steam.keys import Keys

ACCESS_TOKEN_S: Final = 86400
GUARD_DATA_S: Final = 200 * 86400
RENEWAL_WINDOW_S: Final = 30 * 86400  # an assumption: Valve does not publish its own


class Platform(enum.IntEnum):
    """Client platform of a log-in; determines the token's audience."""

    STEAM_CLIENT = 1
    WEB_BROWSER = 2
    MOBILE_APP = 3


AUDIENCES: Final = {
    Platform.STEAM_CLIENT: ["client", "web", "renew", "derive"],
    Platform.WEB_BROWSER: ["web", "renew", "derive"],
    Platform.MOBILE_APP: ["web", "renew", "derive", "mobile"],
}


class TokenRefused(Exception):
    """The token is not valid for this use; `eresult` is Steam's result."""

    def __init__(self, eresult: int, reason: str) -> None:
        super().__init__(reason)
        self.eresult = eresult
        self.reason = reason


class Tokens:
    """Issues and checks tokens.

    Args:
        keys: has the signing key.
        state_file: file of revocations; None keeps them in memory only.
        now: Steam's time of day, in UTC seconds.
    """

    def __init__(
        self, keys: Keys, state_file: Path | None, now: Callable[[], float] = time.time
    ) -> None:
        self._now = now
        self._key = keys.tokens
        self._public = keys.tokens.public_key()
        self._state_file = state_file
        self._generations: dict[str, int] = {}
        self._revoked: set[str] = set()
        if state_file is not None and state_file.exists():
            kept = orjson.loads(state_file.read_bytes())
            self._generations = dict(kept["generations"])
            self._revoked = set(kept["revoked"])

    def issue_refresh(
        self, account: Account, source: str, platform: Platform, *, oat: int | None = None
    ) -> str:
        """Return a new refresh token; `oat` is the time of the original authentication."""
        now = int(self._now())
        claims = {
            "iss": "steam",
            "sub": str(account.steamid),
            "aud": AUDIENCES[platform],
            "exp": now + int(account.token_lifetime_s),
            "nbf": now - 30 * 86400,
            "iat": now,
            "jti": self._jti(account),
            "oat": now if oat is None else oat,
            "per": 1,
            "ip_subject": source,
            "ip_confirmer": source,
        }
        return jwt.sign(claims, self._key)

    def issue_access(self, refresh_token: str, source: str) -> str:
        """Return a new access token that belongs to a refresh token."""
        parent = jwt.verify(refresh_token, self._public)
        now = int(self._now())
        claims = {
            "iss": f"r:{parent['jti']}",
            "sub": parent["sub"],
            "aud": [name for name in parent["aud"] if name in {"client", "web", "mobile"}],
            "exp": now + ACCESS_TOKEN_S,
            "nbf": now - 86400,
            "iat": now,
            "jti": f"{parent['jti'][:4]}_{secrets.token_hex(4).upper()}_{secrets.token_hex(2)}",
            "oat": parent["oat"],
            "rt_exp": parent["exp"],
            "per": 0,
            "ip_subject": source,
            "ip_confirmer": source,
        }
        return jwt.sign(claims, self._key)

    def issue_guard_data(self, account: Account) -> str:
        """Return a new machine token of an account with e-mail Steam Guard."""
        now = int(self._now())
        claims = {
            "iss": "steam",
            "sub": str(account.steamid),
            "aud": ["machine"],
            "exp": now + GUARD_DATA_S,
            "nbf": now - 86400,
            "iat": now,
            "jti": self._jti(account),
            "per": 1,
        }
        return jwt.sign(claims, self._key)

    def accepts_guard_data(self, token: str, account: Account) -> bool:
        """Return whether guard data replaces the e-mail code of this account."""
        try:
            claims = self._verify(token)
        except TokenRefused:
            return False
        return bool(claims["aud"] == ["machine"] and claims["sub"] == str(account.steamid))

    def check_refresh(self, token: str) -> dict[str, Any]:
        """Return the claims of a token that a CM accepts.

        Raises:
            TokenRefused: 5 (forged, an access token, another audience), 15 or 27.
        """
        claims = self._verify(token)
        if "client" not in claims["aud"] or "derive" not in claims["aud"]:
            raise TokenRefused(EResult.INVALID_PASSWORD, "wrong audience")
        return claims

    def renew(self, token: str, account: Account, source: str, *, force: bool) -> str | None:
        """Return a new refresh token and revoke `token`; None if `token` is not near its expiry."""
        claims = self.check_refresh(token)
        if not force and claims["exp"] - self._now() > RENEWAL_WINDOW_S:
            return None
        self._revoked.add(claims["jti"])
        self._save()
        return self.issue_refresh(account, source, Platform.STEAM_CLIENT, oat=claims["oat"])

    def revoke_all(self, account: Account) -> None:
        """Revoke every token of an account, as a password change does."""
        sub = str(account.steamid)
        self._generations[sub] = self._generations.get(sub, 0) + 1
        self._save()

    def _verify(self, token: str) -> dict[str, Any]:
        try:
            claims = jwt.verify(token, self._public)
        except jwt.JwtError as error:
            raise TokenRefused(EResult.INVALID_PASSWORD, str(error)) from error
        if claims["iss"] != "steam":
            raise TokenRefused(EResult.INVALID_PASSWORD, "an access token")
        generation = self._generations.get(claims["sub"], 0)
        if claims["jti"] in self._revoked or int(claims["jti"][:4], 16) < generation:
            raise TokenRefused(EResult.ACCESS_DENIED, "revoked")
        if claims["exp"] <= self._now():
            raise TokenRefused(EResult.EXPIRED, "expired")
        return claims

    def _jti(self, account: Account) -> str:
        generation = self._generations.get(str(account.steamid), 0)
        return f"{generation:04X}_{secrets.token_hex(4).upper()}_{secrets.token_hex(3).upper()}"

    def _save(self) -> None:
        if self._state_file is not None:
            kept = {"generations": self._generations, "revoked": sorted(self._revoked)}
            fresh = self._state_file.with_suffix(".new")
            fresh.write_bytes(orjson.dumps(kept))
            fresh.replace(self._state_file)
