"""Who asks: what a request is allowed and how it is ranked among others.

Admission puts the client into each request before a route sees it; nothing here knows keys or addresses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from actors.errors import RateLimited


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
