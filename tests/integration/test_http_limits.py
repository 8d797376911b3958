"""Limits on size and time of requests and responses, over raw sockets."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket

import pytest
from aiohttp import web
from support.http_env import WITHIN_S, Answer, HttpServerEnv, get, serving

from actors.http import connection, pipeline
from actors.http.auth.clients import client_of
from supervisor.config.model import Http

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("no_leaks")]

SOON_S = 0.2  # replaces the limits of several seconds
CHUNKED = b"POST /ok HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"


def post(body: bytes, *headers: str, path: str = "/ok") -> bytes:
    lines = "".join(f"{line}\r\n" for line in (f"Content-Length: {len(body)}", *headers))
    return f"POST {path} HTTP/1.1\r\nHost: test\r\n{lines}\r\n".encode() + body


def is_complete(answer: Answer) -> bool:
    """Return whether a response has the headers of every response, also without a route."""
    return (
        answer.headers["server"] == "botapi"
        and answer.headers["x-content-type-options"] == "nosniff"
        and "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        and len(answer.headers["x-request-id"]) == 16
        and answer.headers["content-type"] == "application/json"
    )


MANY = b"".join(b"X-%d: y\r\n" % number for number in range(connection.MAX_HEADERS + 1))
FAT = b"".join(b"X-%d: %s\r\n" % (number, b"y" * 8000) for number in range(60))


@pytest.mark.parametrize(
    ("data", "status", "word"),
    [
        (b"NONSENSE\r\n\r\n", 400, "bad-request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "bad-request"),  # TLS
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400, "bad-request"),
        (b"GET / HTTP/1.1\r\nHost: test\r\nX: a\x00b\r\n\r\n", 400, "bad-request"),
        (b"GET /\xff HTTP/1.1\r\nHost: test\r\n\r\n", 400, "bad-request"),
        (post(b"", "Transfer-Encoding: chunked"), 400, "bad-request"),  # two lengths: smuggling
        (post(b"", "Content-Length: 5"), 400, "bad-request"),
        (CHUNKED + b"zz\r\n", 400, "bad-request"),
        (get("/" + "a" * 9000), 431, "headers-too-large"),
        (get("/ok", X="a" * 9000), 431, "headers-too-large"),
        (b"GET /ok HTTP/1.1\r\nHost: test\r\n" + MANY + b"\r\n", 431, "headers-too-large"),
        (b"GET /ok HTTP/1.1\r\nHost: test\r\n" + FAT, 431, "headers-too-large"),
        (get("/ok", Expect="a miracle"), 417, "expectation-failed"),
        (get("/nothing"), 404, "not-found"),
        (get("/%ff?%ff=%00"), 404, "not-found"),
        (post(b"x" * (pipeline.MAX_BODY + 1)), 413, "too-large"),
        (post(b"x" * 10_000_000), 413, "too-large"),
        (CHUNKED + b"100000\r\n" + b"x" * 0x100000 + b"\r\n0\r\n\r\n", 413, "too-large"),
        (post(gzip.compress(b"x" * 1_000_000), "Content-Encoding: gzip"), 415,
         "unsupported-media-type"),
    ],
)  # fmt: skip
async def test_what_cannot_be_served_is_refused_in_our_own_form(
    data: bytes, status: int, word: str
) -> None:
    async with serving() as server:
        answer = await server.ask(data)
        assert (answer.status, answer.word) == (status, word)
        assert is_complete(answer)
        assert (await server.ask(get("/ok"))).status == 200


INNER = get("/inner")
UPGRADE = "Connection: upgrade\r\nUpgrade: foo"


@pytest.mark.parametrize(
    ("begin", "headers", "statuses"),
    [
        ("POST /ok", f"Content-Length: {2**64 - 1}", {413}),  # llhttp's own mark for "no length"
        ("GET /ok", f"Content-Length: 00{2**64 - 1}", {413}),
        (
            "GET /healthz",
            f"Content-Length: {2**64 - 1}",
            {413},
        ),  # answered before routing
        ("POST /ok", f"Content-Length: {2**64 - 2}", {413}),
        ("POST /ok", f"Content-Length: {2**63}", {413}),
        ("POST /ok", f"Content-Length: {2**64}", {400}),
        ("POST /ok", "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff", {408}),
        ("POST /ok", f"Content-Length: {len(INNER)}\r\n{UPGRADE}", {200}),
        ("CONNECT test:80", f"Content-Length: {len(INNER)}", {400}),
        ("HEAD /ok", f"Content-Length: {len(INNER)}", {200}),
        ("OPTIONS /ok", f"Content-Length: {len(INNER)}", {200}),
    ],
)
async def test_nothing_of_a_body_is_answered_as_a_request(
    monkeypatch: pytest.MonkeyPatch, begin: str, headers: str, statuses: set[int]
) -> None:
    monkeypatch.setattr(pipeline, "BODY_S", SOON_S)
    asked = []

    async def inner(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response()

    async with serving({"/inner": inner, "/healthz": inner}) as server, server.wire() as wire:
        await wire.send(f"{begin} HTTP/1.1\r\nHost: test\r\n{headers}\r\n\r\n".encode() + INNER)
        head = (await wire.reader.readuntil(b"\r\n\r\n")).decode()
        assert int(head.split()[1]) in statuses
        await wire.send(INNER)  # after a complete body it is a request
        if "200 OK" not in head:
            await wire.wait_closed()
            assert asked == []
    assert asked in ([], ["/inner"])


async def test_what_is_just_within_the_limits_is_served() -> None:
    async with serving() as server:
        headers = {f"X_{number}": "y" for number in range(connection.MAX_HEADERS - 1)}
        for data in (
            get("/ok?" + "a" * 8000),
            get("/ok", X="a" * 8000),
            get("/ok", **headers),
            post(b"x" * pipeline.MAX_BODY),
            post(b"x", "Content-Encoding: identity"),
            post(b"x", "Expect: 100-continue")[:-1],
        ):
            async with server.wire() as wire:
                await wire.send(data)
                answer = await wire.answer()
                if answer.status == 100:
                    await wire.send(b"x")
                    answer = await wire.answer()
                assert answer.status == 200


async def test_requests_in_a_row_are_answered_in_a_row() -> None:
    async def number(request: web.Request) -> web.Response:
        await asyncio.sleep(0.05 if request.query["n"] == "0" else 0)
        return web.Response(text=request.query["n"])

    async with serving({"/number": number}) as server, server.wire() as wire:
        await wire.send(b"".join(get(f"/number?n={n}") for n in range(100)))
        assert [(await wire.answer()).body for _ in range(100)] == [b"%d" % n for n in range(100)]


# -- time ------------------------------------------------------------------------------------------


async def test_a_head_that_dribbles_is_answered_408_and_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving() as server, server.wire() as used:
        await used.send(get("/ok"))
        assert (await used.answer()).status == 200
        monkeypatch.setattr(connection, "HEAD_S", SOON_S)
        async with server.wire() as fresh:
            await fresh.send(b"GET /ok HTTP/1.1\r\nHo")
            await used.send(b"GET /ok HTTP/1.1\r\nHo")
            for wire in (fresh, used):
                answer = await wire.answer()
                assert (answer.status, answer.word) == (408, "request-timeout")
                assert is_complete(answer)
                assert await wire.wait_closed() == b""
        await server.wait_open(0)


async def test_one_byte_now_and_then_does_not_win_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_S", SOON_S)

    async def dribble(server: HttpServerEnv) -> int:
        async with server.wire() as wire:
            answer = asyncio.create_task(wire.answer())
            for byte in get("/ok", X="y" * 1000):
                await wire.send(bytes([byte]))
                if (await asyncio.wait({answer}, timeout=0.02))[0]:
                    break
            return (await answer).status

    async with serving() as server:
        assert await asyncio.gather(*(dribble(server) for _ in range(20))) == [408] * 20


async def test_a_head_in_pieces_but_in_time_is_served() -> None:
    async with serving() as server, server.wire() as wire:
        for _ in range(2):
            for byte in get("/ok"):
                await wire.send(bytes([byte]))
                await asyncio.sleep(0)
            assert (await wire.answer()).status == 200


async def test_who_connects_and_says_nothing_is_let_go_without_a_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "HEAD_S", SOON_S)
    async with serving() as server, server.wire() as wire:
        assert await wire.wait_closed() == b""


async def test_a_body_that_dribbles_is_answered_408_and_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline, "BODY_S", SOON_S)
    limits = {**connection.AIOHTTP_LIMITS, "lingering_time": SOON_S}
    monkeypatch.setattr(connection, "AIOHTTP_LIMITS", limits)
    async with serving() as server:
        for begun in (post(b"x" * 1000)[:-500], CHUNKED + b"5\r\nab"):
            async with server.wire() as wire:
                await wire.send(begun)
                answer = await wire.answer()
                assert (answer.status, answer.word) == (408, "request-timeout")
                assert await wire.wait_closed() == b""


async def test_a_client_that_goes_away_amid_its_body_is_no_crash() -> None:
    async with serving() as server:
        async with server.wire() as wire:
            await wire.send(post(b"x" * 1000)[:-500])
            await server.wait_open(1)
        await server.wait_open(0)
        assert (await server.ask(get("/ok"))).status == 200
    assert "request_crashed" not in {line["event"] for line in server.log}


@pytest.mark.parametrize("size", [10_000_000, 3_000_000])
async def test_a_connection_with_an_unread_response_is_aborted(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    async def large(_request: web.Request) -> web.Response:
        return web.Response(body=b"x" * size)

    async with serving({"/large": large}) as server:
        with small_window(server) as slow, monkeypatch.context() as patch:
            patch.setattr(connection, "UNREAD_S", SOON_S)
            slow.sendall(get("/large"))
            await server.wait_open(1)
            await server.wait_open(0)
        assert (await server.ask(get("/large"))).body == b"x" * size


async def test_a_connection_with_small_unread_responses_is_aborted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Many responses on one connection, until the kernel's buffers are full."""
    monkeypatch.setattr(connection, "UNREAD_S", SOON_S)

    async def some(_request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 20_000)

    async with serving({"/some": some}) as server:
        with small_window(server) as slow:
            slow.settimeout(0)
            with contextlib.suppress(BlockingIOError):
                slow.sendall(get("/some") * 1000)
            await server.wait_open(1)
            await server.wait_open(0)


def small_window(server: HttpServerEnv) -> socket.socket:
    """Return a connection whose client reads nothing, with small kernel buffers."""
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.connect(server.address)
    return slow


async def test_an_idle_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {**connection.AIOHTTP_LIMITS, "keepalive_timeout": 1.0}
    monkeypatch.setattr(connection, "AIOHTTP_LIMITS", limits)
    async with serving() as server, server.wire() as wire:
        await wire.send(get("/ok"))
        assert (await wire.answer()).status == 200
        assert await wire.wait_closed() == b""


# -- connections -----------------------------------------------------------------------------------


async def test_one_connection_too_many_is_told_so_and_the_others_stay() -> None:
    async with serving(http=Http(connections=2)) as server:
        async with server.wire() as first, server.wire() as second:
            await server.wait_open(2)
            async with server.wire() as third:
                await third.send(get("/ok"))
                answer = await third.answer()
                assert (answer.status, answer.word) == (503, "busy")
                assert answer.headers["retry-after"] == "1"
                assert is_complete(answer)
                assert await third.wait_closed() == b""
            for wire in (first, second):
                await wire.send(get("/ok"))
                assert (await wire.answer()).status == 200
        await server.wait_open(0)
        assert (await server.ask(get("/ok"))).status == 200


async def test_one_address_leaves_connections_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    peers = iter(["198.51.100.1"] * 7 + ["127.0.0.1", "203.0.113.2"])
    monkeypatch.setattr(connection, "_address", lambda _: next(peers))
    async with serving(http=Http(connections=10)) as server, contextlib.AsyncExitStack() as stack:
        for number in range(7):
            wire = await stack.enter_async_context(server.wire())
            if number >= 5:
                assert (await wire.answer()).word == "busy"
        assert server.capacity.open == 5
        for _ in range(2):
            assert (await server.ask(get("/ok"))).status == 200


async def test_those_that_are_told_so_are_few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_REFUSED", 3)
    async with serving(http=Http(connections=1)) as server, contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(server.wire())
        await server.wait_open(1)
        wires = [await stack.enter_async_context(server.wire()) for _ in range(10)]
        said = await asyncio.gather(*(wire.wait_closed() for wire in wires))
        assert sum(b"503" in words for words in said) == 3
        assert server.capacity.closing <= 3


# -- the client's address --------------------------------------------------------------------------


async def test_an_id_goes_through_and_every_answer_has_one() -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    async with serving() as server:
        answer = await server.ask(get("/ok", X_Request_Id="mine-1", traceparent=trace))
        assert answer.headers["x-request-id"] == "mine-1"
        assert answer.headers["traceparent"] == trace
        (line,) = [line for line in server.log if line["event"] == "request_answered"]
        assert line["request_id"] == "mine-1"
        assert line["trace_id"] == trace.split("-")[1]
        assert line["address"] == "127.0.0.1"
        answer = await server.ask(get("/ok", X_Request_Id="not sane", traceparent="00-0-0-0"))
        assert len(answer.headers["x-request-id"]) == 16
        assert "traceparent" not in answer.headers
        answer = await server.ask(b"NONSENSE\r\n\r\n")
        (line,) = [line for line in server.log if line["event"] == "request_malformed"]
        assert line["request_id"] == answer.headers["x-request-id"]


async def test_a_trusted_proxy_names_the_client() -> None:
    async def who(request: web.Request) -> web.Response:
        return web.Response(text=client_of(request).name)

    forwarded = get("/who", X_Forwarded_For="1.1.1.1, 198.51.100.1")
    async with serving({"/who": who}) as server:
        assert (await server.ask(forwarded)).body == b"127.0.0.1"
    async with serving({"/who": who}, Http(trusted_proxies=("127.0.0.0/8",))) as server:
        assert (await server.ask(forwarded)).body == b"198.51.100.1"
        (line,) = [line for line in server.log if line["event"] == "request_answered"]
        assert line["address"] == "198.51.100.1"


async def test_a_crash_is_one_line_and_no_word_of_it_to_the_client() -> None:
    async def crash(_request: web.Request) -> web.Response:
        raise RuntimeError("the inner workings")

    async with serving({"/crash": crash}) as server:
        answer = await server.ask(get("/crash"))
        assert (answer.status, answer.word) == (500, "internal")
        assert b"inner" not in answer.body
    assert [line["event"] for line in server.log].count("request_crashed") == 1


async def test_a_page_may_run_its_own_scripts_and_stand_in_no_frame() -> None:
    async def page(_request: web.Request) -> web.Response:
        return web.Response(text="<p>", content_type="text/html")

    async def own(_request: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": "default-src 'self'"}
        return web.Response(text="<p>", content_type="text/html", headers=headers)

    async with serving({"/page": page, "/own": own}) as server:
        answer = await server.ask(get("/page"))
        policy = answer.headers["content-security-policy"]
        assert "script-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-frame-options"] == "DENY"
        answer = await server.ask(get("/own"))
        assert answer.headers["content-security-policy"] == "default-src 'self'"
        assert "aiohttp" not in repr(answer).lower()


# -- clients that send no more ---------------------------------------------------------------------


async def slow(request: web.Request) -> web.Response:
    await asyncio.sleep(2 * connection.PROBE_S + 0.1)
    return web.Response(text=request.query_string)


async def stream(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    for _ in range(3):
        await asyncio.sleep(connection.PROBE_S)
        await answer.write(b"line\n")
    return answer


@pytest.mark.parametrize(
    ("data", "count", "end"),
    [
        (get("/ok"), 1, b'{"ok": true}'),
        (get("/ok") * 3, 3, b'{"ok": true}'),
        (get("/slow?first") + get("/ok") + get("/slow?last"), 3, b"last"),
        (post(b"x" * 20_000, path="/slow?body"), 1, b"body"),
        (CHUNKED + b"5\r\nabcde\r\n0\r\n\r\n", 1, b'{"ok": true}'),
        (get("/slow?a").replace(b"HTTP/1.1", b"HTTP/1.0"), 1, b"a"),
        (get("/stream"), 1, b"line\n\r\n0\r\n\r\n"),
        (get("/nothing"), 1, b'"retry_after":null}'),
        (b"NONSENSE\r\n\r\n", 1, b'"retry_after":null}'),
    ],
)
async def test_a_client_that_shuts_its_sending_half_is_answered(
    data: bytes, count: int, end: bytes
) -> None:
    async with serving({"/slow": slow, "/stream": stream}) as server, server.wire() as wire:
        await wire.send(data)
        wire.writer.write_eof()
        heard = await wire.wait_closed()
        await server.wait_open(0)
    heads = heard.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"").count(b"\r\nServer: botapi")
    assert (heads, heard[-len(end) :]) == (count, end)


@pytest.mark.parametrize(
    "data", [b"", b"GET /ok HT", post(b"x" * 1000)[:-500], CHUNKED + b"5\r\nab"]
)
async def test_half_of_a_request_is_none(data: bytes) -> None:
    async with serving() as server, server.wire() as wire:
        await wire.send(data)
        wire.writer.write_eof()
        await wire.wait_closed()
        await server.wait_open(0)
        assert not [line for line in server.log if line.get("status") == 200]


async def test_the_request_of_a_client_that_is_gone_ends() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def wait(_request: web.Request) -> web.Response:
        begun.set()
        try:
            await asyncio.sleep(WITHIN_S)
        finally:
            ended.set()
        return web.Response()

    async with serving({"/wait": wait}) as server:
        async with server.wire() as wire:
            await wire.send(get("/wait"))
            await begun.wait()
        async with asyncio.timeout(WITHIN_S / 2):
            await ended.wait()
        await server.wait_open(0)
