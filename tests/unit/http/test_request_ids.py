"""Request IDs and W3C traceparent."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from actors.http.headers import (
    new_request_id,
    request_id_for,
    request_id_of,
    trace_id_of,
)

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


def traced(*traceparents: str) -> web.Request:
    headers = CIMultiDict(("traceparent", one) for one in traceparents)
    return make_mocked_request("GET", "/", headers=headers)


@pytest.mark.parametrize("shown", ["a", "req-1.2_3:4@x/y+z=", "A" * 64, "0" * 32])
def test_a_sane_id_is_taken_over(shown: str) -> None:
    request = make_mocked_request("GET", "/", headers={"X-Request-Id": shown})
    assert request_id_of(request) == ""
    assert request_id_for(request.headers) == shown


@pytest.mark.parametrize(
    "shown", ["", " ", "a b", "a\tb", "x" * 65, "ä", 'a"b', "a\x00b", "a,b", "<script>"]
)
def test_any_other_is_replaced(shown: str) -> None:
    request = make_mocked_request("GET", "/", headers={"X-Request-Id": shown})
    request_id = request_id_for(request.headers)
    assert request_id != shown
    assert len(request_id) == 16


def test_ids_differ() -> None:
    assert len({new_request_id() for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    "header",
    [
        f"00-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-ff",
        f"01-{TRACE}-{PARENT}-00",
        f"cc-{TRACE}-{PARENT}-00-what-the-future-brings",
    ],
)
def test_a_traceparent_names_its_trace(header: str) -> None:
    assert trace_id_of(traced(header)) == TRACE


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        TRACE,
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}-01-",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE}-{PARENT}-001",
        f"01-{TRACE}-{PARENT}-00.more",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE[1:]}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{PARENT}-01\n",
        f" 00-{TRACE}-{PARENT}-01",
        f"0x-{TRACE}-{PARENT}-01",
    ],
)
def test_anything_else_is_ignored(header: str) -> None:
    assert trace_id_of(traced(header)) is None


def test_two_traceparents_are_none() -> None:
    one = f"00-{TRACE}-{PARENT}-01"
    assert trace_id_of(traced(one)) == TRACE
    assert trace_id_of(traced(one, one)) is None
    assert trace_id_of(traced()) is None
