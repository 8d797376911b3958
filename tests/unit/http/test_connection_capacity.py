"""Limits of connections per address, and the reserve for health checks."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from actors.http.connection import Capacity

STRANGER, OTHER, LOCAL = "198.51.100.1", "203.0.113.2", "127.0.0.1"


def taken(capacity: Capacity, peer: str, tries: int = 2000) -> int:
    return sum(capacity.take(peer) for _ in range(tries))


def test_one_address_has_half_of_them_and_leaves_the_rest_to_others() -> None:
    capacity = Capacity(1000)
    assert taken(capacity, STRANGER) == 500
    assert taken(capacity, OTHER) == 484
    assert taken(capacity, "192.0.2.9") == 0, "the last ones are for loopback"
    assert taken(capacity, LOCAL) == 16
    assert capacity.open == 1000


def test_a_network_of_one_customer_is_one_address() -> None:
    capacity = Capacity(100)
    assert sum(capacity.take(f"2001:db8::{host:x}") for host in range(200)) == 50
    assert capacity.take("2001:db8:0:1::1")


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_loopback_has_all_of_them(peer: str) -> None:
    assert taken(Capacity(100), peer) == 100


def test_a_trusted_proxy_stands_for_many_and_leaves_the_reserve() -> None:
    capacity = Capacity(100, [ip_network("198.51.100.0/24")])
    assert taken(capacity, STRANGER) == 90
    capacity.reconfigure(100)
    capacity.release(STRANGER)
    assert not capacity.take(STRANGER), "it is one address among others now"
    assert capacity.take(OTHER)


@pytest.mark.parametrize(("most", "share"), [(1, 1), (2, 1), (3, 1), (10, 5)])
def test_there_is_a_place_however_few_there_are(most: int, share: int) -> None:
    assert taken(Capacity(most), STRANGER) == share


def test_what_is_released_can_be_taken_again_and_nothing_stays() -> None:
    capacity = Capacity(10)
    for _ in range(3):
        assert taken(capacity, STRANGER) == 5
        for _ in range(5):
            capacity.release(STRANGER)
    assert capacity.open == 0
    assert not capacity._by_address


def test_fewer_hold_from_the_next_connection_on() -> None:
    capacity = Capacity(100)
    assert taken(capacity, STRANGER) == 50
    capacity.reconfigure(40)
    assert not capacity.take(LOCAL)
    assert capacity.open == 50
