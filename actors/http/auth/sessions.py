"""Browser sessions of operators.

What a cookie holds is random and stands for itself; only its hash is kept here, so that no dump of this
process shows it. A restart ends all sessions.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from actors.clock import Clock

COOKIE: Final = "botapi_session"
LONGEST_S: Final = 8 * 3600.0  # a working day
IDLE_S: Final = 3600.0  # without a request, and without a page that watches
MOST: Final = 100  # open at once; the one that was used least recently makes way


@dataclass(slots=True)
class Session:
    """One person at one browser. `name` is for logs: it opens nothing."""

    name: str
    opened_at: float
    seen_at: float

    def ends_at(self) -> float:
        """Return when it ends if it is not used again, in clock seconds."""
        return min(self.opened_at + LONGEST_S, self.seen_at + IDLE_S)


class Sessions:
    """All sessions that are open."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: dict[
            bytes, Session
        ] = {}  # by the hash of the cookie, least recently used first

    def open(self) -> tuple[str, Session]:
        """Begin a session; return what goes into the cookie, and the session."""
        secret = secrets.token_urlsafe(32)
        key, now = _digest(secret), self._clock.now()
        session = self._open[key] = Session(key.hex()[:8], now, now)
        while len(self._open) > MOST:
            del self._open[next(iter(self._open))]
        return secret, session

    def of(self, request: web.Request) -> Session | None:
        """Return the session that a request's cookie stands for; it counts as used now."""
        if (secret := request.cookies.get(COOKIE)) is None:
            return None
        key, now = _digest(secret), self._clock.now()
        session = self._open.pop(key, None)
        if session is None or session.ends_at() <= now:
            return None
        session.seen_at = now
        self._open[key] = session
        return session

    def close(self, request: web.Request) -> None:
        """End the session of a request, if there is one."""
        if (secret := request.cookies.get(COOKIE)) is not None:
            self._open.pop(_digest(secret), None)

    def left_s(self, session: Session) -> float:
        """Return the seconds until a session ends."""
        return max(0.0, session.ends_at() - self._clock.now())


def set_cookie(answer: web.Response, secret: str, request: web.Request) -> None:
    """Hand the cookie to the browser: not for scripts, not for other sites, not in the clear."""
    answer.set_cookie(
        COOKIE,
        secret,
        max_age=int(LONGEST_S),
        path="/",
        httponly=True,
        samesite="Strict",
        secure=_is_encrypted(request),
    )


def drop_cookie(answer: web.Response) -> None:
    """Have the browser forget the cookie."""
    answer.del_cookie(COOKIE, path="/", httponly=True, samesite="Strict")


def _is_encrypted(request: web.Request) -> bool:
    """Whether the browser speaks TLS, to us or to a proxy in front of us."""
    # A false header harms only its sender: the browser does not send the cookie back.
    return request.secure or request.headers.get("X-Forwarded-Proto", "").lower() == "https"


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="replace")).digest()
