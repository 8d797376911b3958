"""Protection from pages of other sites, without sockets."""

from __future__ import annotations

import pytest
from aiohttp import hdrs, web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from actors.errors import ForeignHost, ForeignPage, RequestError
from actors.http.auth.cross_site import CrossSitePolicy, is_own_origin

LOCAL = CrossSitePolicy(is_local=True)
REACHED_BY_OTHERS = CrossSitePolicy()
NAMED = CrossSitePolicy(["botapi.example", "2001:db8::1"])
LOCAL_NAMED = CrossSitePolicy(["botapi.example"], is_local=True)

READING = ("GET", "HEAD", "OPTIONS")
WRITING = ("POST", "PUT", "DELETE", "PATCH")
CROSS = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
VISIT = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
FRAME = {**VISIT, "Sec-Fetch-Dest": "iframe"}
OWN = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
TYPED = {**VISIT, "Sec-Fetch-Site": "none"}
NEIGHBOUR = {**CROSS, "Sec-Fetch-Site": "same-site"}  # another port of the same machine


def asked(
    method: str = "GET", host: str | None = "localhost:5000", **headers: str | None
) -> web.Request:
    named = CIMultiDict(
        (name.replace("_", "-"), value) for name, value in headers.items() if value is not None
    )
    if host is not None:
        named[hdrs.HOST] = host
    return make_mocked_request(method, "/match-details", headers=named)


def verdict(policy: CrossSitePolicy, request: web.Request) -> type[RequestError] | None:
    try:
        policy.check(request)
    except RequestError as error:
        return type(error)
    return None


def sent(
    policy: CrossSitePolicy, method: str, headers: dict[str, str]
) -> type[RequestError] | None:
    return verdict(policy, asked(method, **headers))


@pytest.mark.parametrize("policy", [LOCAL, REACHED_BY_OTHERS, NAMED, LOCAL_NAMED])
@pytest.mark.parametrize("method", [*READING, *WRITING])
def test_who_is_no_browser_is_not_affected(policy: CrossSitePolicy, method: str) -> None:
    assert sent(policy, method, {}) is None
    assert sent(policy, method, {"Content-Type": "text/plain"}) is None
    assert verdict(policy, asked(method, host=None)) is None


@pytest.mark.parametrize("policy", [LOCAL, REACHED_BY_OTHERS, NAMED])
@pytest.mark.parametrize("method", WRITING)
@pytest.mark.parametrize(
    ("headers", "is_refused"),
    [
        (CROSS, True),
        (NEIGHBOUR, True),
        (VISIT, True),  # a form
        (FRAME, True),
        (OWN, False),
        (TYPED, False),
        ({"Sec-Fetch-Site": "something new"}, True),
        ({"Sec-Fetch-Site": ""}, True),
        # Browsers without these headers.
        ({"Origin": "http://localhost:5000"}, False),
        ({"Origin": "HTTP://LocalHost:5000"}, False),
        ({"Origin": "http://localhost:8000"}, True),
        ({"Origin": "http://localhost"}, True),
        ({"Origin": "https://evil.example"}, True),
        ({"Origin": "http://localhost:5000.evil.example"}, True),
        ({"Origin": "http://localhost:5000@evil.example"}, True),
        ({"Origin": "null"}, True),
        ({"Origin": ""}, True),
        ({"Origin": "http://["}, True),
        # Said by the browser itself, so that a proxy may write another Host.
        ({**OWN, "Origin": "https://botapi.example"}, False),
        ({**CROSS, "Origin": "http://localhost:5000"}, True),
    ],
)
def test_only_the_services_own_page_may_write(
    policy: CrossSitePolicy, method: str, headers: dict[str, str], *, is_refused: bool
) -> None:
    assert sent(policy, method, headers) is (ForeignPage if is_refused else None)


@pytest.mark.parametrize("method", READING)
@pytest.mark.parametrize(
    ("headers", "is_refused"),
    [
        (CROSS, True),
        ({**CROSS, "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, True),
        (NEIGHBOUR, True),
        (FRAME, True),
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Origin": "https://evil.example"}, True),
        (VISIT, False),
        (OWN, False),
        (TYPED, False),
    ],
)
def test_where_only_this_machine_reaches_it_no_page_may_spend_the_budget(
    method: str, headers: dict[str, str], *, is_refused: bool
) -> None:
    assert sent(LOCAL, method, headers) is (ForeignPage if is_refused else None)
    assert sent(REACHED_BY_OTHERS, method, headers) is None, "a proxy may add CORS"


def test_a_header_that_stands_twice_is_not_believed() -> None:
    request = make_mocked_request(
        "POST",
        "/",
        headers=CIMultiDict([("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "cross-site")]),
    )
    assert verdict(REACHED_BY_OTHERS, request) is ForeignPage
    hosts = CIMultiDict([("Host", "localhost"), ("Host", "evil.example")])
    assert verdict(LOCAL, make_mocked_request("GET", "/", headers=hosts)) is ForeignHost


LOOPBACK = [
    *("localhost", "localhost:5000", "LOCALHOST:5000", "localhost.", "botapi.localhost:80"),
    *("127.0.0.1", "127.0.0.1:5000", "127.8.9.10", "[::1]", "[::1]:5000"),
]
FOREIGN = [
    *("evil.example", "evil.example:5000", "localhost.evil.example", "127.0.0.1.evil.example"),
    *("evillocalhost", "notlocalhost.", "localhost:x", "localhost:5000:5000"),
    *("[::1", "[::1]x", "::1", "127.0.0.1@evil.example"),
    *("localhost/", "localhost,evil.example", "l\u043ecalhost", "x" * 8000),
]  # fmt: skip


@pytest.mark.parametrize("host", ["192.0.2.1:5000", "[2001:db8::9]:80", "0.0.0.0:80"])
def test_an_address_is_refused_on_loopback_alone(host: str) -> None:
    """A pod's address or a scraper's target: no DNS answer leads a browser there."""
    for policy in (LOCAL, LOCAL_NAMED):
        assert verdict(policy, asked(host=host)) is ForeignHost
    for policy in (NAMED, REACHED_BY_OTHERS):
        assert verdict(policy, asked(host=host)) is None


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("host", LOOPBACK)
def test_loopback_names_are_always_allowed(host: str, method: str) -> None:
    for policy in (LOCAL, REACHED_BY_OTHERS, NAMED, LOCAL_NAMED):
        assert verdict(policy, asked(method, host)) is None


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
@pytest.mark.parametrize("host", FOREIGN)
def test_any_other_name_is_refused_where_it_matters(host: str, method: str) -> None:
    for policy in (LOCAL, NAMED, LOCAL_NAMED):
        # A page under that name is the service's own, as far as the browser knows.
        assert verdict(policy, asked(method, host, **OWN)) is ForeignHost
        assert verdict(policy, asked(method, host)) is ForeignHost
        assert not policy.allows_host(host)
    assert verdict(REACHED_BY_OTHERS, asked(method, host)) is None


@pytest.mark.parametrize(
    "host", ["botapi.example", "BotAPI.example.:80", "[2001:db8::1]:5000", "[2001:DB8::1]"]
)
def test_a_name_that_is_allowed_is_allowed_with_any_port(host: str) -> None:
    assert verdict(NAMED, asked(host=host)) is None
    assert verdict(LOCAL, asked(host=host)) is ForeignHost
    assert verdict(NAMED, asked(host=f"x{host}")) is ForeignHost


def test_an_origin_without_a_host_is_foreign() -> None:
    assert not is_own_origin(asked(host=None, Origin="http://localhost"))
    assert is_own_origin(asked(host=None))
