"""Client of a request, request rates and the rate limiter.

The limiter is GCRA (ITU-T I.371), equivalent to a token bucket. It stores the instant at which a bucket
is full again; a name that it does not store has a full bucket.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from actors.errors import RateLimited

MAX_NAMES: Final = 10_000  # stored at once; more addresses than that evade the limits


@dataclass(frozen=True, slots=True)
class Rate:
    """A long-term rate, and how many requests may come at once after a pause."""

    per_minute: float
    burst: int

    @classmethod
    def of(cls, per_minute: float, burst: int | None = None) -> Rate:
        """Return a rate; the default burst is the requests of one minute."""
        return cls(per_minute, burst or max(1, math.ceil(per_minute)))

    @property
    def interval_s(self) -> float:
        """Seconds after which one more request is allowed."""
        return 60.0 / self.per_minute


class RateLimiter:
    """Counts requests by name. Instants are monotonic seconds."""

    def __init__(self, max_names: int = MAX_NAMES) -> None:
        self._full_at: dict[str, float] = {}
        self._max_names = max_names

    def take(self, name: str, rate: Rate, now: float) -> float:
        """Count one request and return 0, or return the seconds until one is allowed."""
        if wait := self.wait(name, rate, now):
            return wait
        self._set(name, max(now, self._full_at.get(name, now)) + rate.interval_s, now)
        return 0.0

    def wait(self, name: str, rate: Rate, now: float) -> float:
        """Return the seconds until one request is allowed, 0 for none; count nothing."""
        full_at = self._full_at.get(name)
        if full_at is None:
            return 0.0
        return max(0.0, full_at - now - (rate.burst - 1) * rate.interval_s)

    def _set(self, name: str, full_at: float, now: float) -> None:
        if name not in self._full_at and len(self._full_at) >= self._max_names:
            self._make_room(now)
        self._full_at[name] = full_at

    def _make_room(self, now: float) -> None:
        """Drop full buckets; if they are less than a tenth, also the oldest names."""
        self._full_at = {name: at for name, at in self._full_at.items() if at > now}
        target = self._max_names - max(1, self._max_names // 10)
        for name in list(self._full_at)[: max(0, len(self._full_at) - target)]:
            del self._full_at[name]


@dataclass(frozen=True, slots=True)
class Client:
    """The sender of requests with one API key, or from one address if there are no keys."""

    name: str = ""  # for logs and fairness; never the key
    priority: int = 0  # clients with a higher priority are served first
    may_refresh: bool = False  # may request a known match from the GC again


ANONYMOUS: Final = Client()
CLIENT: Final = web.RequestKey("client", Client)
# Set in requests from an address that showed too many wrong credentials: the refusal of the next one.
SLOWED: Final = web.RequestKey("slowed", RateLimited)


def client_of(request: web.Request) -> Client:
    """Return the client that admission stored in `request`."""
    client: Client = request.get(CLIENT, ANONYMOUS)
    return client
