"""Requests that no client library sends: bytes that are no text, pipelines, partial requests."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.quick_service import quick_world
from support.raw_http import RawAnswer, RawConnection

from bench.env import ServiceEnv

pytestmark = pytest.mark.integration

PATHS = (b"/match-details", b"/matches/5", b"/replays/5", b"/status", b"/healthz", b"/openapi.json")
# What may stand in a request line as it is; the rest ends the line or the target.
SENDABLE = st.binary(max_size=200).map(lambda data: re.sub(rb"[\s\x00#]", b"", data))


@pytest.fixture(scope="module")
def w() -> Iterator[ServiceEnv]:
    with quick_world(2) as running:
        yield running


def ask(w: ServiceEnv, target: bytes, *headers: bytes) -> RawAnswer:
    with RawConnection(w.service.url) as connection:
        connection.get(target, *headers)
        return connection.answer()


def assert_is_refusal(answer: RawAnswer, statuses: set[int]) -> None:
    assert answer.status in statuses
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json.keys() == {"error", "message", "retry_after"}


@pytest.mark.parametrize(
    "target",
    [
        b"/match-details?match_id=%ff%fe",
        b"/match-details?match_id=\xff\xfe",
        b"/match-details?match_id=%",
        b"/match-details?match_id=5%00",
        b"/match-details?match_id=%D9%A5",  # an Arabic five
        b"/match-details?%ff=5",
        b"/match-details?match_id[]=5",
        b"/match-details?match_id=" + b"9" * 4000,
        b"/matches/%ff",
        b"/matches/%D9%A5",
        b"/matches/5%00",
        b"/matches/%zz",
        b"/matches/%2F",
        b"/matches/\xff",
        b"/replays/%ff",
        b"/replays/5?redirect=%ff",
    ],
)
def test_what_is_no_text_is_a_bad_request(w: ServiceEnv, target: bytes) -> None:
    assert_is_refusal(ask(w, target), {400})


@pytest.mark.parametrize(
    "target",
    [
        b"/%ff",
        b"/matches",
        b"/matches/",
        b"/matches/5/",
        b"//matches/5",
        b"/docs/../status",
    ],
)
def test_what_is_no_path_of_ours_is_not_found(w: ServiceEnv, target: bytes) -> None:
    assert_is_refusal(ask(w, target), {404})


@given(path=st.sampled_from(PATHS), query=SENDABLE)
@settings(max_examples=200)
def test_no_query_makes_a_server_error(w: ServiceEnv, path: bytes, query: bytes) -> None:
    answer = ask(w, path + b"?" + query)
    assert answer.status in {200, 302, 400, 403, 404}
    if answer.status >= 400:
        assert_is_refusal(answer, {answer.status})


@given(
    value=SENDABLE,
    name=st.sampled_from(
        (b"If-None-Match", b"Accept", b"Accept-Encoding", b"Cache-Control", b"X-Request-Timeout")
    ),
)
@settings(max_examples=200)
def test_no_header_makes_a_server_error(w: ServiceEnv, name: bytes, value: bytes) -> None:
    answer = ask(w, b"/matches/5", name + b": " + value)
    assert answer.status in {200, 304, 400, 406}


def test_requests_in_a_row_are_answered_in_a_row(w: ServiceEnv) -> None:
    ids = [*range(20, 40), 0, 41]
    with RawConnection(w.service.url) as connection:
        connection.send(
            b"".join(
                b"GET /matches/%d HTTP/1.1\r\nHost: [::1]\r\n\r\n" % match_id for match_id in ids
            )
        )
        answers = [connection.answer() for _ in ids]
    assert [answer.json.get("id", 0) for answer in answers] == ids
    assert [answer.status for answer in answers] == [200] * 20 + [400, 200]


def test_what_follows_a_body_is_the_next_request(w: ServiceEnv) -> None:
    body = b'{"match_ids": []}'
    with RawConnection(w.service.url) as connection:
        connection.send(
            b"POST /match-details HTTP/1.1\r\nHost: [::1]\r\nContent-Length: %d\r\n\r\n%s"
            b"GET /matches/50 HTTP/1.1\r\nHost: [::1]\r\n\r\n" % (len(body), body)
        )
        assert connection.answer().status == 400
        assert connection.answer().json["id"] == 50


def test_a_request_may_come_a_byte_at_a_time(w: ServiceEnv) -> None:
    with RawConnection(w.service.url) as connection:
        for byte in b"GET /matches/51 HTTP/1.1\r\nHost: [::1]\r\n\r\n":
            connection.send(bytes((byte,)))
        assert connection.answer().json["id"] == 51


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"MAKE /matches/5 HTTP/1.1\r\nHost: [::1]\r\n\r\n",
        b"GET /matches/5 HTTP/9.9\r\n\r\n",
        b"GET /matches/5 HTTP/1.1\r\nHost: [::1]\r\nContent-Length: -1\r\n\r\n",
        b"GET /matches/5 HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /matches/5 HTTP/1.1\r\nHost: [::1]\r\nA\x00B: c\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_and_ends_the_connection(w: ServiceEnv, garbage: bytes) -> None:
    with RawConnection(w.service.url) as connection:
        connection.send(garbage)
        assert connection.answer().status == 400
        assert connection.is_closed()


@pytest.mark.parametrize("method", [b"PUT", b"DELETE", b"PATCH", b"TRACE", b"OPTIONS"])
def test_another_method_is_refused_and_told_which_work(w: ServiceEnv, method: bytes) -> None:
    with RawConnection(w.service.url) as connection:
        connection.send(method + b" /match-details HTTP/1.1\r\nHost: [::1]\r\n\r\n")
        answer = connection.answer()
    assert_is_refusal(answer, {405})
    assert set(answer.headers["allow"].replace(" ", "").split(",")) == {"GET", "HEAD", "POST"}
