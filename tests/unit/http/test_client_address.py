"""Client address: X-Forwarded-For is trusted as far as trusted proxies wrote it."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from actors.http.auth.clients import MAX_HOPS, address_of, group_of, parse_address

PROXIES = tuple(map(ip_network, ("10.0.0.0/8", "192.168.1.7/32", "fd00::/8")))


def request_from(peer: str, *forwarded: str) -> web.Request:
    headers = CIMultiDict(("X-Forwarded-For", value) for value in forwarded)
    request = make_mocked_request("GET", "/", headers=headers)
    return request.clone(remote=peer)


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.5", (), "203.0.113.5"),
        ("203.0.113.5", ("198.51.100.1",), "203.0.113.5"),  # from no trusted proxy: forged
        ("10.0.0.1", (), "10.0.0.1"),
        ("10.0.0.1", ("198.51.100.1",), "198.51.100.1"),
        ("10.0.0.1", ("1.1.1.1, 198.51.100.1",), "198.51.100.1"),  # only the last hop is trusted
        ("10.0.0.1", ("1.1.1.1", "198.51.100.1"), "198.51.100.1"),  # two headers are one list
        ("10.0.0.1", ("198.51.100.1, 10.0.0.2, 192.168.1.7",), "198.51.100.1"),
        ("10.0.0.1", ("10.0.0.3, 10.0.0.2",), "10.0.0.3"),  # all are trusted
        ("10.0.0.1", ("nonsense",), "10.0.0.1"),
        ("10.0.0.1", ("198.51.100.1, nonsense",), "10.0.0.1"),
        ("10.0.0.1", ("198.51.100.1, nonsense, 10.0.0.2",), "10.0.0.2"),
        ("10.0.0.1", ("198.51.100.1,",), "10.0.0.1"),
        ("10.0.0.1", ("198.51.100.1:4711",), "198.51.100.1"),
        ("10.0.0.1", ("[2001:db8::1]:4711",), "2001:db8::1"),
        ("10.0.0.1", ("unknown",), "10.0.0.1"),
        ("::ffff:10.0.0.1", ("198.51.100.1",), "198.51.100.1"),
        ("fd00::1", ("2001:DB8::1",), "2001:db8::1"),
        ("192.168.1.8", ("198.51.100.1",), "192.168.1.8"),
    ],
)
def test_the_rightmost_address_that_is_not_trusted_is_the_client(
    peer: str, forwarded: tuple[str, ...], client: str
) -> None:
    assert address_of(peer, ",".join(forwarded), PROXIES) == client


def test_without_trusted_proxies_the_peer_is_the_client() -> None:
    assert address_of("10.0.0.1", "198.51.100.1", ()) == "10.0.0.1"


def test_a_list_without_end_is_not_read_to_its_end() -> None:
    hops = ", ".join(["198.51.100.1"] + ["10.0.0.2"] * 1000)
    assert address_of("10.0.0.1", hops, PROXIES) == "10.0.0.2"
    hops = ", ".join(["198.51.100.1"] + ["10.0.0.2"] * (MAX_HOPS - 1))
    assert address_of("10.0.0.1", hops, PROXIES) == "198.51.100.1"


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("198.51.100.1", "198.51.100.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:198.51.100.1", "198.51.100.1"),
        ("", ""),
    ],
)
def test_one_client_is_an_address_or_the_network_of_one_customer(address: str, group: str) -> None:
    assert group_of(address) == group


@pytest.mark.parametrize("text", ["", "1.2.3", "1.2.3.4.5", "a", "[::1", "1.2.3.4:x:y", "::g"])
def test_what_is_no_address(text: str) -> None:
    assert parse_address(text) is None or text == "[::1"
