"""Client address of a request: the peer, or an entry of X-Forwarded-For.

A client can send any `X-Forwarded-For`. Each proxy appends the address of its peer. Read from the right,
an entry is reliable if the proxy that appended it is trusted. The first address that is no trusted proxy
is the client; the entries to the left of it may be forged.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from multidict import istr

Network = IPv4Network | IPv6Network
Networks = Sequence[Network]

FORWARDED_HEADER: Final = istr("X-Forwarded-For")
MAX_HOPS: Final = 16  # proxies in a row
CLIENT_V6_PREFIX: Final = 64  # bits; a provider gives one customer a network of that size


def address_of(peer: str, forwarded: str, proxies: Networks) -> str:
    """Return the client's address.

    Args:
        peer: the remote address of the connection; "" if it is closed, and then the result is "" too.
        forwarded: all values of X-Forwarded-For, joined by commas.
        proxies: trusted proxies.
    """
    if not proxies:
        return peer
    address = parse_address(peer)
    if address is None or not _is_in(address, proxies):
        return peer
    return str(_client(address, forwarded, proxies))


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


def _client(
    peer: IPv4Address | IPv6Address, forwarded: str, proxies: Networks
) -> IPv4Address | IPv6Address:
    """Read from the right; stop at an invalid entry, or at the first address that is no trusted proxy."""
    client = peer
    for entry in reversed(forwarded.rsplit(",", MAX_HOPS)[-MAX_HOPS:]):
        address = parse_address(entry)
        if address is None:
            return client
        client = address
        if not _is_in(address, proxies):
            return client
    return client


def _is_in(address: IPv4Address | IPv6Address, networks: Networks) -> bool:
    return any(address.version == net.version and address in net for net in networks)
