"""Browser sessions of operators.

A cookie holds a random secret; the process stores only its hash. A restart ends all sessions.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from actors.clock import Clock
from actors.http.auth.api_keys import digest_of

COOKIE: Final = "botapi_session"
SIGN_IN: Final = "/session"  # its body holds the admin token
MAX_AGE_S: Final = 8 * 3600.0
IDLE_S: Final = 3600.0  # without a request and without an open event stream
MAX_SESSIONS: Final = 100  # open at once; a new one replaces the least recently used


@dataclass(slots=True)
class BrowserSession:
    """One operator at one browser. `name` is for logs; it is no credential."""

    name: str
    opened_at: float
    seen_at: float

    def ends_at(self) -> float:
        """Return the instant at which it ends if it is not used again."""
        return min(self.opened_at + MAX_AGE_S, self.seen_at + IDLE_S)


class BrowserSessions:
    """Open sessions."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # By the hash of the cookie's secret, least recently used first.
        self._open: dict[bytes, BrowserSession] = {}

    def open(self) -> tuple[str, BrowserSession]:
        """Open a session; return the secret for its cookie, and the session."""
        secret = secrets.token_urlsafe(32)
        key, now = digest_of(secret), self._clock.now()
        session = self._open[key] = BrowserSession(key.hex()[:8], now, now)
        while len(self._open) > MAX_SESSIONS:
            del self._open[next(iter(self._open))]
        return secret, session

    def of(self, request: web.Request) -> BrowserSession | None:
        """Return the session of a request's cookie, or None; it counts as used now."""
        if (secret := request.cookies.get(COOKIE)) is None:
            return None
        key, now = digest_of(secret), self._clock.now()
        session = self._open.pop(key, None)
        if session is None or session.ends_at() <= now:
            return None
        session.seen_at = now
        self._open[key] = session
        return session

    def close(self, request: web.Request) -> None:
        """Close the session of a request, if there is one."""
        if (secret := request.cookies.get(COOKIE)) is not None:
            self._open.pop(digest_of(secret), None)

    def left_s(self, session: BrowserSession) -> float:
        """Return the seconds until a session ends."""
        return max(0.0, session.ends_at() - self._clock.now())


def set_cookie(response: web.Response, secret: str, request: web.Request) -> None:
    """Set the session cookie: not for scripts, not for other sites, not without TLS if there is TLS."""
    response.set_cookie(
        COOKIE,
        secret,
        max_age=int(MAX_AGE_S),
        path="/",
        httponly=True,
        samesite="Strict",
        # Of the service or of a proxy in front of it. A false header harms only its sender: the browser
        # does not send the cookie back.
        secure=request.secure or request.headers.get("X-Forwarded-Proto", "").lower() == "https",
    )


def drop_cookie(response: web.Response) -> None:
    """Delete the session cookie."""
    response.del_cookie(COOKIE, path="/", httponly=True, samesite="Strict")
