"""Which heads are plain, and what they say."""

from __future__ import annotations

import pytest

from actors.http.plain_head import LONGEST_HEADERS, PlainHead, PlainHeaders, read_plain_head

NOTHING = PlainHeaders("", "", "", None, "x")


def head(*lines: str, first: str = "GET /matches/5 HTTP/1.1", host: str = "Host: x") -> bytes:
    return "\r\n".join((first, host, *lines, "", "")).encode("latin-1")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (head(), PlainHead(5, is_by_query=False, headers=NOTHING)),
        (
            head(first="GET /match-details?match_id=7490235544 HTTP/1.1"),
            PlainHead(7490235544, is_by_query=True, headers=NOTHING),
        ),
        (
            head(host="host: localhost:5000"),
            PlainHead(5, is_by_query=False, headers=NOTHING._replace(host="localhost:5000")),
        ),
        (
            head("User-Agent: curl/8.5.0", "Accept: */*", "Connection: keep-alive"),
            PlainHead(5, is_by_query=False, headers=NOTHING._replace(accept="*/*")),
        ),
        (
            head("ACCEPT-ENCODING: gzip, deflate", "X-API-Key: botapi_k", "X-Forwarded-For: a, b"),
            PlainHead(
                5,
                is_by_query=False,
                headers=PlainHeaders("", "gzip, deflate", "a, b", "botapi_k", "x"),
            ),
        ),
    ],
)
def test_a_head_of_a_usual_client_is_plain(data: bytes, said: PlainHead) -> None:
    assert read_plain_head(data) == said


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        head()[:-1],
        head()[:-2],
        head() + b"x",
        head() + head(),
        b"\r\n" + head(),
        # Other first lines.
        head(first="HEAD /matches/5 HTTP/1.1"),
        head(first="POST /matches/5 HTTP/1.1"),
        head(first="get /matches/5 HTTP/1.1"),
        head(first="GET /matches/5 HTTP/1.0"),
        head(first="GET /matches/05 HTTP/1.1"),
        head(first="GET /matches/+5 HTTP/1.1"),
        head(first="GET /matches/5/ HTTP/1.1"),
        head(first="GET /matches/5?x HTTP/1.1"),
        head(first="GET /matches/%35 HTTP/1.1"),
        head(first="GET /matches/12345678901234 HTTP/1.1"),
        head(first="GET //matches/5 HTTP/1.1"),
        head(first="GET  /matches/5 HTTP/1.1"),
        head(first="GET /match-details?match_id=5&match_id=6 HTTP/1.1"),
        head(first="GET /match-details?match_id= HTTP/1.1"),
        head(first="GET /replays/5 HTTP/1.1"),
        head(first="GET http://x/matches/5 HTTP/1.1"),
        # Headers that mean something, to us or to HTTP.
        head("Content-Length: 0"),
        head("Transfer-Encoding: chunked"),
        head("Connection: close"),
        head("Connection: keep-alive, Upgrade"),
        head("Upgrade: websocket"),
        head("Expect: 100-continue"),
        head("Authorization: Bearer k"),
        head("Cookie: a=b"),
        head("Sec-Fetch-Site: cross-site"),
        head("Sec-Fetch-Site: same-origin"),
        head("Origin: https://evil.example"),
        head("Cache-Control: no-cache"),
        head("If-None-Match: *"),
        head("Range: bytes=0-1"),
        head("X-Request-Id: a"),
        head("X-Request-Timeout: 5"),
        head("traceparent: 00-0-0-0"),
        head("X-Whatever: 1"),
        # Headers in a form that usual clients do not use.
        head("Accept: */*", "accept: application/json"),
        head("Host: y"),
        head(host="Accept: */*"),
        head("Accept:*/*"),
        head("Accept:  */*"),
        head("Accept : */*"),
        head(" Accept: */*"),
        head("Accept: */*\r\n folded"),
        head("Accept: "),
        head("Accept: a\tb"),
        head("Accept: b\x00"),
        head("Accept: \xe9"),
        head("Accept: a\nCookie: b"),
        head("Accept: a\rb"),
        head("Accept"),
        head("", "Accept: a"),
        head("User-Agent: " + "x" * LONGEST_HEADERS),
    ],
)
def test_what_is_not_plain_goes_the_long_way(data: bytes) -> None:
    assert read_plain_head(data) is None
