"""Client of a request: its address, its identity and its request rate.

A client can send any `X-Forwarded-For`. Each proxy appends the address of its peer. Read from the right,
an entry is reliable if the proxy that appended it is trusted. The first address that is no trusted proxy
is the client; the entries to the left of it may be forged.

The rate limiter is GCRA (ITU-T I.371), equivalent to a token bucket. It stores the instant at which a
bucket is full again; a name that it does not store has a full bucket.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from aiohttp import web
from multidict import istr

from actors.errors import RateLimited

Network = IPv4Network | IPv6Network
Networks = Sequence[Network]

FORWARDED_HEADER: Final = istr("X-Forwarded-For")
MAX_HOPS: Final = 16  # proxies in a row
CLIENT_V6_PREFIX: Final = 64  # bits; a provider gives one customer a network of that size
MAX_NAMES: Final = 10_000  # stored at once; more addresses than that evade the limits


def address_of(peer: str, forwarded: str, proxies: Networks) -> str:
    """Return the client's address.

    Args:
        peer: the remote address of the connection; "" if it is closed, and then the result is "" too.
        forwarded: all values of X-Forwarded-For, joined by commas.
        proxies: trusted proxies.
    """
    client = parse_address(peer)
    if client is None or not _is_in(client, proxies):
        return peer
    for entry in reversed(forwarded.rsplit(",", MAX_HOPS)[-MAX_HOPS:]):
        address = parse_address(entry)
        if address is None:
            break
        client = address
        if not _is_in(client, proxies):
            break
    return str(client)


def group_of(address: str) -> str:
    """Return the unit that counts as one client: the address, or its /64 for IPv6."""
    if ":" not in address:
        return address
    parsed = parse_address(address)
    if not isinstance(parsed, IPv6Address):
        return str(parsed or "")
    return str(IPv6Network((parsed, CLIENT_V6_PREFIX), strict=False))


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Parse an address, also with port, brackets or zone, or as IPv4 in IPv6; None if invalid."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def is_loopback(address: str) -> bool:
    """Return whether only this machine reaches a socket that listens on `address`."""
    parsed = parse_address(address)
    return parsed is not None and parsed.is_loopback


def is_within(address: str, networks: Networks) -> bool:
    """Return whether `address` is in one of `networks`."""
    parsed = parse_address(address)
    return parsed is not None and _is_in(parsed, networks)


def _is_in(address: IPv4Address | IPv6Address, networks: Networks) -> bool:
    return any(address.version == net.version and address in net for net in networks)


@dataclass(frozen=True, slots=True)
class Client:
    """The sender of requests with one API key, or from one address if there are no keys."""

    name: str = ""  # for logs and fairness; never the key
    priority: int = 0  # clients with a higher priority are served first
    may_refresh: bool = False  # may request a known match from the GC again


ANONYMOUS: Final = Client()
ADDRESS: Final = web.RequestKey("address", str)  # of the client
CLIENT: Final = web.RequestKey("client", Client)
# Set in requests from an address that showed too many wrong credentials: the refusal of the next one.
SLOWED: Final = web.RequestKey("slowed", RateLimited)


def client_of(request: web.Request) -> Client:
    """Return the client that admission stored in `request`."""
    client: Client = request.get(CLIENT, ANONYMOUS)
    return client


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
        if name not in self._full_at and len(self._full_at) >= self._max_names:
            self._make_room(now)
        self._full_at[name] = max(now, self._full_at.get(name, now)) + rate.interval_s
        return 0.0

    def wait(self, name: str, rate: Rate, now: float) -> float:
        """Return the seconds until one request is allowed, 0 for none; count nothing."""
        full_at = self._full_at.get(name)
        if full_at is None:
            return 0.0
        return max(0.0, full_at - now - (rate.burst - 1) * rate.interval_s)

    def _make_room(self, now: float) -> None:
        """Drop full buckets; if they are less than a tenth, also the oldest names."""
        self._full_at = {name: at for name, at in self._full_at.items() if at > now}
        target = self._max_names - max(1, self._max_names // 10)
        for name in list(self._full_at)[: max(0, len(self._full_at) - target)]:
            del self._full_at[name]
