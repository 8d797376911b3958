"""Client, Rate and the rate limiter.

GCRA (ITU-T I.371), the same arithmetic as a token bucket: what is kept is the instant at which the bucket
would be full again. A name that is not kept has a full bucket, so rested ones can be forgotten.

Admission puts the client into each request before a route sees it; nothing here knows keys or addresses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from actors.errors import RateLimited

BEARER: Final = "bearer"


def bearer_token(header: str | None) -> str | None:
    """Return the token of an Authorization header, None where it shows none.

    The name of a scheme is case-insensitive (RFC 9110, section 11.1).
    """
    scheme, space, token = (header or "").partition(" ")
    return token.strip() if space and scheme.lower() == BEARER else None


MOST_NAMES: Final = 10_000  # kept at once; who sends from more addresses is not stopped by rates


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests per minute in the long run, and so many at once after a rest."""

    per_minute: float
    burst: int

    @classmethod
    def of(cls, per_minute: float, burst: int | None = None) -> Rate:
        """Without a burst of its own, who rested may use a whole minute's requests at once."""
        return cls(per_minute, burst or max(1, math.ceil(per_minute)))

    @property
    def interval_s(self) -> float:
        """Seconds after which one more request is allowed."""
        return 60.0 / self.per_minute


class Rates:
    """Counts for every name."""

    def __init__(self, most_names: int = MOST_NAMES) -> None:
        self._full_at: dict[str, float] = {}
        self._most_names = most_names

    def take(self, name: str, rate: Rate, now: float) -> float:
        """Count one request and return 0, or return the seconds until one is allowed."""
        if wait := self.wait(name, rate, now):
            return wait
        self._set(name, max(now, self._full_at.get(name, now)) + rate.interval_s, now)
        return 0.0

    def wait(self, name: str, rate: Rate, now: float) -> float:
        """Return the seconds until one request is allowed, 0 for none; count nothing."""
        full_at = self._full_at.get(name, now)
        return max(0.0, full_at - now - (rate.burst - 1) * rate.interval_s)

    def _set(self, name: str, full_at: float, now: float) -> None:
        if name not in self._full_at and len(self._full_at) >= self._most_names:
            self._make_room(now)
        self._full_at[name] = full_at

    def _make_room(self, now: float) -> None:
        """Forget who is rested; if that is not a tenth, also those who came first."""
        self._full_at = {name: at for name, at in self._full_at.items() if at > now}
        enough = self._most_names - max(1, self._most_names // 10)
        for name in list(self._full_at)[: max(0, len(self._full_at) - enough)]:
            del self._full_at[name]


@dataclass(frozen=True, slots=True)
class Client:
    """The sender of requests with one API key, or from one address where there are no keys."""

    name: str = ""  # for logs and for fairness; never the key itself
    priority: int = 0  # higher ones are served first
    may_refresh: bool = False  # may have the GC asked although the match is known


ANONYMOUS: Final = Client()
CLIENT: Final = web.RequestKey("client", Client)
# In requests from an address that showed too many wrong credentials: the refusal of another one.
SLOWED: Final = web.RequestKey("slowed", RateLimited)


def client_of(request: web.Request) -> Client:
    """Return who asks."""
    client: Client = request.get(CLIENT, ANONYMOUS)
    return client
