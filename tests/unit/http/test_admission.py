"""Admission: credentials, clients and rates, in virtual time."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from support.fake_clock import FakeClock

from actors.errors import RateLimited, Unauthorized
from actors.http.auth.admin import AdminToken, OperatorAuth
from actors.http.auth.admission import OPERATOR, WRONG, Admission
from actors.http.auth.api_keys import KeyRing, digest_of, parse_keys
from actors.http.auth.clients import Client, client_of
from actors.http.content import shows_credential
from actors.http.errors import TABLE

KEY = "botapi_the-key-of-alice"
ADMIN = "the operator's own token"
TOKEN = AdminToken(ADMIN)
RING = KeyRing(
    parse_keys(
        f"alice sha256:{digest_of(KEY).hex()} per-minute=60 burst=2 priority=5 refresh\n"
        f"bob sha256:{digest_of('of bob').hex()}"
    )
)


def admission(clock: FakeClock, keys: KeyRing | None = RING, *, per_minute: float = 0) -> Admission:
    operators = OperatorAuth(TOKEN, clock)
    return Admission(keys, per_minute=per_minute, proxies=(), operators=operators, clock=clock)


def asked(
    path: str = "/match-details", address: str = "198.51.100.1", **headers: str
) -> web.Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return make_mocked_request("GET", path, headers=named).clone(remote=address)


def admitted(checked: Admission, request: web.Request) -> Client:
    checked.admit(request, checked.address_of(request))
    return client_of(request)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"Bearer  {KEY} "},
        {"Authorization": f"bearer {KEY}"},
        {"Authorization": f"BEARER {KEY}", "X_API_Key": "another"},
        {"X_API_Key": KEY},
        {"X_API_Key": KEY, "Authorization": "Basic YTpi"},
    ],
)
def test_a_key_is_shown_in_a_header(clock: FakeClock, headers: dict[str, str]) -> None:
    client = admitted(admission(clock), asked(**headers))
    assert client == Client("alice", 5, may_refresh=True)


@pytest.mark.parametrize("path", ["/match/5", "/profile/5", "/aliases/5"])
def test_where_opendota_has_it_the_key_may_be_in_the_query(clock: FakeClock, path: str) -> None:
    assert admitted(admission(clock), asked(f"{path}?key={KEY}")).name == "alice"


@pytest.mark.parametrize(
    ("request_", "shows"),
    [
        (asked(), False),
        (asked(Cookie="theme=dark"), False),
        (asked("/matches/5?key=x"), False),  # no key there, whatever it is called
        (asked(Cookie="botapi_session=x"), True),
        (asked(Authorization="Basic YTpi"), True),
        (asked(Authorization=""), True),
        (asked(X_API_Key="x"), True),
        (asked("/profile/5?key=x"), True),
    ],
)
def test_a_cache_is_told_of_every_credential(request_: web.Request, *, shows: bool) -> None:
    assert shows_credential(request_) is shows


@pytest.mark.parametrize(
    "request_",
    [
        asked(),
        asked(X_API_Key=""),
        asked(X_API_Key="botapi_wrong"),
        asked(Authorization="Bearer"),
        asked(Authorization=KEY),
        asked(Authorization=f"bearer {KEY}x"),
        asked(Authorization="Bearer wrong", X_API_Key=KEY),  # which of the two is meant?
        asked(f"/match-details?key={KEY}"),
        asked(f"/matches/5?key={KEY}"),
        asked("/match/5"),
        asked("/match/5?key=wrong"),
        asked("/status"),
        asked("/events"),
        asked("/docsx"),
        asked("/admin"),
    ],
)
def test_without_a_known_key_a_request_is_refused(clock: FakeClock, request_: web.Request) -> None:
    with pytest.raises(Unauthorized, match="Authorization: Bearer KEY"):
        admitted(admission(clock), request_)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/healthz",
        "/readyz",
        "/metrics",
        "/docs",
        "/openapi.json",
        "/page/a.js",
        "/session",
        "/admin/x",
    ],
)
def test_some_paths_need_no_key_and_count_for_no_client(clock: FakeClock, path: str) -> None:
    checked = admission(clock, per_minute=1)
    for _ in range(5):
        assert admitted(checked, asked(path)) == Client()


def test_the_admin_token_opens_what_a_key_opens(clock: FakeClock) -> None:
    shown = asked("/status", Authorization="Bearer the operator's own token")
    assert admitted(admission(clock), shown) == OPERATOR
    assert admitted(admission(clock, None, per_minute=0.001), shown) == OPERATOR


def test_without_keys_each_address_is_a_client(clock: FakeClock) -> None:
    checked = admission(clock, None)
    assert admitted(checked, asked()) == Client("198.51.100.1")
    assert admitted(checked, asked(X_API_Key="whatever")) == Client("198.51.100.1")
    assert admitted(checked, asked(address="2001:db8::1")) == Client("2001:db8::/64")


async def test_a_key_has_its_own_rate_and_is_told_when_to_return(clock: FakeClock) -> None:
    checked = admission(clock)
    alice = {"X_API_Key": KEY}
    for _ in range(2):
        admitted(checked, asked(**alice))
    with pytest.raises(RateLimited, match="60 requests per minute") as refused:
        admitted(checked, asked(**alice))
    assert refused.value.retry_after == pytest.approx(1)
    for _ in range(100):
        admitted(checked, asked(X_API_Key="of bob"))  # has no limit
    await clock.advance(1)
    admitted(checked, asked(**alice))


async def test_a_refused_client_has_its_name_in_the_request(clock: FakeClock) -> None:
    """So that the log names the client."""
    checked = admission(clock)
    for _ in range(2):
        admitted(checked, asked(X_API_Key=KEY))
    refused = asked(X_API_Key=KEY)
    with pytest.raises(RateLimited):
        admitted(checked, refused)
    assert client_of(refused).name == "alice"


async def test_without_keys_the_rate_is_one_per_address(clock: FakeClock) -> None:
    checked = admission(clock, None, per_minute=2)
    for host in (1, 2):  # one network of one customer
        admitted(checked, asked(address=f"2001:db8::{host}"))
    with pytest.raises(RateLimited):
        admitted(checked, asked(address="2001:db8::3"))
    admitted(checked, asked(address="2001:db8:1::3"))
    await clock.advance(30)
    admitted(checked, asked(address="2001:db8::3"))


def test_other_settings_hold_from_the_next_request_on(clock: FakeClock) -> None:
    checked = admission(clock, None)
    shown = {"X_Forwarded_For": "203.0.113.9"}
    assert admitted(checked, asked(**shown)).name == "198.51.100.1"
    checked.reconfigure(per_minute=1, proxies=(ip_network("198.51.100.0/24"),))
    assert admitted(checked, asked(**shown)).name == "203.0.113.9"
    with pytest.raises(RateLimited):
        admitted(checked, asked(**shown))
    checked.reconfigure(per_minute=0, proxies=())
    admitted(checked, asked(**shown))


async def test_a_request_for_several_matches_gets_no_more_than_its_rate(clock: FakeClock) -> None:
    checked = admission(clock)
    request = asked(X_API_Key=KEY)
    admitted(checked, request)
    checked.take(request)
    for _ in range(118):
        with pytest.raises(RateLimited) as refused:
            checked.take(request)
        assert refused.value.retry_after == pytest.approx(1), "what is refused is not owed"
    await clock.advance(1)
    admitted(checked, asked(X_API_Key=KEY))
    for free in (asked(X_API_Key="of bob"), asked("/status", Authorization=f"Bearer {ADMIN}")):
        admitted(checked, free)
        for _ in range(10_000):
            checked.take(free)


async def test_without_keys_several_matches_count_for_the_address(clock: FakeClock) -> None:
    checked = admission(clock, None, per_minute=2)
    request = asked()
    admitted(checked, request)
    checked.take(request)
    with pytest.raises(RateLimited):
        checked.take(request)


def answered(checked: Admission, request: web.Request) -> int:
    """Have a request go its way as the pipeline does; return the status."""
    address = checked.address_of(request)
    try:
        checked.admit(request, address)
        status = 200 if checked.is_operator(request) or client_of(request).name else 401
    except (Unauthorized, RateLimited) as error:
        status = TABLE[type(error)][0]
    checked.note_response(request, status, address)
    return status


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/match-details", {"X_API_Key": "botapi_wrong"}),
        ("/match-details", {"Authorization": "Bearer wrong"}),
        ("/status", {"Authorization": "Bearer wrong"}),
        ("/match/5?key=wrong", {}),
        ("/admin/accounts", {"Authorization": "Bearer wrong"}),
    ],
)
async def test_wrong_keys_and_tokens_are_slowed_per_address(
    clock: FakeClock, path: str, headers: dict[str, str]
) -> None:
    checked = admission(clock)
    right = {"Authorization": f"Bearer {ADMIN}"}
    statuses = [answered(checked, asked(path, **headers)) for _ in range(WRONG.burst)]
    assert statuses == [401] * WRONG.burst
    for _ in range(100):  # of the rate, those that are refused take nothing
        assert answered(checked, asked(X_API_Key="botapi_wrong")) == 429
    assert answered(checked, asked("/status", **right)) == 429, "the token is not compared"
    assert answered(checked, asked(X_API_Key=KEY)) == 200
    assert answered(checked, asked()) == 401, "it shows nothing"
    for address in ("198.51.100.2", "2001:db8::1"):
        assert answered(checked, asked(address=address, X_API_Key="botapi_wrong")) == 401
        assert answered(checked, asked("/status", address, **right)) == 200
    await clock.advance(WRONG.interval_s)
    assert answered(checked, asked("/status", **right)) == 200
    assert answered(checked, asked(path, **headers)) == 401
    assert answered(checked, asked(X_API_Key="botapi_wrong")) == 429


def test_one_customer_of_a_provider_is_one_address(clock: FakeClock) -> None:
    checked = admission(clock)
    for host in range(WRONG.burst):
        answered(checked, asked(address=f"2001:db8::{host:x}", X_API_Key="wrong"))
    assert answered(checked, asked(address="2001:db8::ffff", X_API_Key="wrong")) == 429
    assert answered(checked, asked(address="2001:db8:0:1::1", X_API_Key="wrong")) == 401


def test_without_keys_wrong_tokens_are_counted_though_they_are_served(clock: FakeClock) -> None:
    """Whether a client has a rate would tell the token from others."""
    checked = admission(clock, None)
    for _ in range(WRONG.burst):
        assert answered(checked, asked(Authorization="Bearer wrong")) == 200
    shown = asked(Authorization=f"Bearer {ADMIN}")
    assert admitted(checked, shown) == Client("198.51.100.1")


def test_requests_that_show_nothing_and_right_ones_are_not_counted(clock: FakeClock) -> None:
    checked = admission(clock)
    for _ in range(2 * WRONG.burst):
        answered(checked, asked())
        answered(checked, asked(X_API_Key="of bob"))
        answered(checked, asked(Authorization="Bearer of bob"))
        answered(checked, asked("/status", Authorization=f"Bearer {ADMIN}"))
    assert answered(checked, asked(X_API_Key="wrong")) == 401
