"""Matches in memory: answered as the application answers them, without asking it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest
from support.fake_clock import FakeClock, settle
from support.pipeline_env import Answer, PipelineEnv, known_match

from actors.http.auth.api_keys import KeyRing, digest_of, parse_keys
from actors.http.auth.cross_site import CrossSitePolicy
from actors.http.connection import HttpConnection
from actors.matches.match import NoMatch, NoMatchReason

KEY = "botapi_the-key-of-alice"
RING = KeyRing(parse_keys(f"alice sha256:{digest_of(KEY).hex()} per-minute=60 burst=2"))
QUERY, PATH = "/match-details?match_id=5", "/matches/5"


def get(target: str, *lines: str, host: str = "Host: x", version: str = "HTTP/1.1") -> bytes:
    head = "\r\n".join((f"GET {target} {version}", host, *lines, "", ""))
    return head.encode("latin-1")


@pytest.fixture
def env(clock: FakeClock) -> PipelineEnv:
    env = PipelineEnv(clock)
    env.knows(known_match(5, clock), known_match(6, clock))
    return env


def without_chance(answer: Answer) -> Answer:
    """Leave out the headers that differ between any two responses."""
    headers = {
        name: value
        for name, value in answer.headers.items()
        if name not in {"x-request-id", "date"}
    }
    return answer._replace(headers=headers)


def fields_without_chance(line: tuple[str, dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    yield "level", line[0]
    yield from ((key, value) for key, value in line[1].items() if key != "request_id")


@pytest.mark.parametrize("target", [QUERY, PATH])
@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("Accept-Encoding: gzip",),
        ("Accept-Encoding: gzip;q=0",),
        ("Accept-Encoding: br, gzip, deflate", "Accept: */*", "User-Agent: python-requests/2.32"),
        ("Accept: application/x-protobuf;q=0.1, application/json",),
        ("Connection: keep-alive",),
        ("Connection: Keep-Alive",),
        ("accept:*/*",),
        ("ACCEPT-ENCODING: gzip, deflate",),
        ("X-API-Key: not needed here",),
        ("X-Forwarded-For: 203.0.113.9",),
        ("X-Real-IP: 203.0.113.9", "X-Forwarded-Proto: https", "X-Whatever: 1"),
        ("Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty", "Accept-Language: en"),
        ("Range: bytes=0-1",),
    ],
)
async def test_both_ways_answer_count_and_log_the_same(
    env: PipelineEnv, target: str, lines: tuple[str, ...]
) -> None:
    async with env.talk(from_memory=False) as application, env.talk() as memory:
        await env.clock.advance(7.9)
        expected = await application.ask(get(target, *lines))
        router_metrics = dict(env.router_metrics.counts)
        assert env.routed == [target]
        found = await memory.ask(get(target, *lines))
    assert env.routed == [target]
    assert without_chance(found) == without_chance(expected)
    assert found.headers["age"] == "7"
    assert found.headers["x-request-id"] != expected.headers["x-request-id"]
    assert time.strptime(found.headers["date"], "%a, %d %b %Y %H:%M:%S GMT")
    routed, cached = env.lines
    assert dict(fields_without_chance(cached)) == dict(fields_without_chance(routed))
    assert cached[1]["request_id"] == found.headers["x-request-id"]
    assert env.outcomes[0] == env.outcomes[1]
    assert env.errors == ["", ""]
    assert dict(env.router_metrics.counts) == {
        name: 2 * count for name, count in router_metrics.items()
    }


@pytest.mark.parametrize("target", [QUERY, PATH])
async def test_a_valid_request_id_of_the_client_is_kept(env: PipelineEnv, target: str) -> None:
    async with env.talk() as talk:
        found = await talk.ask(get(target, "X-Request-Id: of-the-client"))
        other = await talk.ask(get(target, "X-Request-Id: \x7f"))
    assert not env.routed
    assert found.headers["x-request-id"] == env.lines[0][1]["request_id"] == "of-the-client"
    assert len(other.headers["x-request-id"]) == 16


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (get(PATH, "Accept: image/png"), 406),
        (get(PATH, "Accept: application/x-protobuf"), 200),
        (get(QUERY, "Accept: application/x-protobuf"), 200),
        (get(PATH, 'If-None-Match: "tag-of-5"'), 304),
        (get(PATH, "If-None-Match: *"), 304),
        (get(PATH, "Cache-Control: no-cache"), 200),
        (get(PATH, "X-Request-Timeout: 5"), 200),
        (get(PATH, "X-Request-Timeout: soon"), 400),
        (get(PATH, "traceparent: 00-0-0-0"), 200),
        (get(PATH, "Authorization: Bearer x"), 200),
        (get(PATH, "authorization: Bearer x"), 200),
        (get(PATH, "Cookie: a=b"), 200),
        (get(PATH, "Origin: http://x"), 200),
        (get(PATH, "Sec-Fetch-Site: same-origin"), 200),
        (get(PATH, "Expect: 100-continue"), 200),
        (get(PATH, "Expect: a miracle"), 417),
        (get(PATH, "Connection: close"), 200),
        (get(PATH, version="HTTP/1.0"), 200),
        (get(PATH, "Connection: keep-alive", version="HTTP/1.0"), 200),
        (get(PATH, "Content-Length: 0"), 200),
        (get(PATH, "Content-Length: 2") + b"{}", 200),
        (get(PATH, "Transfer-Encoding: chunked") + b"0\r\n\r\n", 200),
        (get("/matches/0"), 400),
        (get("/matches/05"), 200),
        (get("/matches/%35"), 200),
        (get("/matches/5?x=1"), 200),
        (get("/match-details?match_id=5&x=1"), 200),
        (get("/match-details?x=1&match_id=5"), 200),
        (get("http://x/matches/5"), 200),
        (get("/nothing"), 404),
        (get("/matches/8"), 404),
        (get("/matches/10000000000000"), 400),
    ],
)
async def test_other_requests_are_answered_by_the_application(
    env: PipelineEnv, data: bytes, status: int
) -> None:
    now = env.clock.wall()
    env.knows(NoMatch(8, NoMatchReason.NOT_FOUND, now, now + 60))
    async with env.talk() as talk:
        found = [answer.status for answer in await talk.send(data)]
    assert found[-1:] == [status]
    assert len(env.routed) == len(env.lines) == len(env.outcomes) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"not HTTP\r\n\r\n",
        get(PATH, "Accept : */*"),
        get(PATH, "Accept: b\x00"),
        get(PATH, "Accept: a\rb"),
        get(PATH, host="Accept"),
        get(PATH).replace(b"GET", b"get"),
    ],
)
async def test_what_the_parser_refuses_is_not_answered_from_memory(
    env: PipelineEnv, data: bytes
) -> None:
    async with env.talk() as talk:
        assert (await talk.ask(data)).status == 400
    assert not env.lines


async def test_head_has_no_body(env: PipelineEnv) -> None:
    async with env.talk() as talk:
        talk.connection.data_received(get(PATH).replace(b"GET", b"HEAD"))
        await settle()
        assert talk.wire.written.startswith(b"HTTP/1.1 200")
        assert talk.wire.written.endswith(b"\r\n\r\n")
    assert env.routed == [PATH]


async def test_a_request_to_a_foreign_name_is_refused(env: PipelineEnv) -> None:
    env.admission.browsers = CrossSitePolicy(["x"], is_local=True)
    async with env.talk() as talk:
        assert (await talk.ask(get(PATH))).status == 200
        assert (await talk.ask(get(PATH, host="Host: evil.example"))).status == 403
        assert (await talk.ask(get(PATH))).status == 200
        assert (await talk.ask(get(PATH, "Host: evil.example"))).status == 400
    assert not env.routed


async def test_a_match_that_is_no_longer_fresh_is_not_answered_from_memory(
    clock: FakeClock,
) -> None:
    env = PipelineEnv(clock)
    env.knows(known_match(5, clock, ttl_s=10.0))
    async with env.talk() as talk:
        await clock.advance(9.9)
        assert (await talk.ask(get(PATH))).status == 200
        assert not env.routed
        await clock.advance(0.1)
        await talk.send(get(PATH))
    assert env.routed == [PATH]


async def test_an_answer_that_was_replaced_is_not_sent_again(env: PipelineEnv) -> None:
    async with env.talk() as talk:
        await talk.ask(get(PATH))
        await env.clock.advance(100)
        env.knows(known_match(5, env.clock, ttl_s=30.0))
        found = await talk.ask(get(PATH))
    assert found.headers["age"] == "0"
    assert found.headers["cache-control"] == "public, max-age=30"


async def test_keys_and_their_rates_hold(clock: FakeClock) -> None:
    env = PipelineEnv(clock, keys=RING)
    env.knows(known_match(5, clock))
    with_key = get(PATH, f"X-API-Key: {KEY}")
    async with env.talk() as talk:
        first = await talk.ask(with_key)
        second = await talk.ask(with_key)
        assert (await talk.ask(with_key)).status == 429  # burst=2
        assert (await talk.ask(get(PATH))).status == 401
        assert (await talk.ask(get(PATH, "X-API-Key: wrong"))).status == 401
        await clock.advance(1.0)
        assert (await talk.ask(with_key)).status == 200  # a refusal has cost nothing
    assert not env.routed  # admission refuses before the application is asked
    assert first.headers["cache-control"] == second.headers["cache-control"]
    assert second.headers["cache-control"].startswith("private")
    assert [line[1].get("client") for line in env.lines[:2]] == ["alice", "alice"]
    assert KEY not in str(env.lines)


async def test_a_key_that_is_taken_away_opens_nothing_any_more(clock: FakeClock) -> None:
    ring = KeyRing(parse_keys(f"bob sha256:{digest_of(KEY).hex()}"))
    env = PipelineEnv(clock, keys=ring)
    env.knows(known_match(5, clock))
    with_key = get(PATH, f"X-API-Key: {KEY}")
    async with env.talk() as talk:
        assert (await talk.ask(with_key)).status == 200
        ring.replace(())
        assert (await talk.ask(with_key)).status == 401


async def test_a_rate_per_address_counts_both_ways_together(clock: FakeClock) -> None:
    env = PipelineEnv(clock, per_minute=3)
    env.knows(known_match(5, clock))
    async with env.talk() as talk:
        heads = [get(PATH), get(PATH, "Cookie: a=b"), get(PATH), get(PATH)]
        statuses = [(await talk.ask(head)).status for head in heads]
    assert statuses == [200, 200, 200, 429]
    assert env.routed == [PATH]


async def test_a_trusted_proxy_is_believed(clock: FakeClock) -> None:
    env = PipelineEnv(clock, proxies=(ip_network("198.51.100.0/24"),))
    env.knows(known_match(5, clock))
    async with env.talk() as talk:
        await talk.ask(get(PATH, "X-Forwarded-For: 203.0.113.9"))
        await talk.ask(get(PATH, "X-Forwarded-For: 203.0.113.8"))
    assert not env.routed
    assert [line[1]["address"] for line in env.lines] == ["203.0.113.9", "203.0.113.8"]


def vars_of(connection: HttpConnection, name: str) -> Any:
    return getattr(connection, name)


async def test_a_connection_that_is_used_is_not_idle(env: PipelineEnv) -> None:
    async with env.talk() as talk:
        await talk.ask(get(PATH))
        before = vars_of(talk.connection, "_next_keepalive_close_time")
        await talk.ask(get(PATH))
        assert before < vars_of(talk.connection, "_next_keepalive_close_time")


@pytest.mark.parametrize("how", ["close", "force_close"])
async def test_nothing_is_written_to_a_connection_that_ends(env: PipelineEnv, how: str) -> None:
    async with env.talk() as talk:
        await talk.ask(get(PATH))
        getattr(talk.connection, how)()
        assert await talk.send(get(PATH)) == []


async def test_a_client_that_sends_no_more_is_answered_and_the_connection_ends(
    env: PipelineEnv,
) -> None:
    async with env.talk() as talk:
        talk.connection.data_received(get(PATH))
        assert talk.connection.eof_received()
        await settle()
        assert talk.wire.written.startswith(b"HTTP/1.1 200")
        assert talk.wire.is_closing()


async def test_an_empty_line_before_a_request_leaves_no_timer_behind(env: PipelineEnv) -> None:
    async with env.talk() as talk:
        await settle()  # it waits for a request
        assert await talk.send(b"\r\n\r\n") == []
        assert vars_of(talk.connection, "_head_timer") is not None
        await talk.ask(get(PATH))
        assert vars_of(talk.connection, "_head_timer") is None
        assert vars_of(talk.connection, "_head_bytes") == 0


async def test_a_client_that_does_not_read_is_not_sent_more(env: PipelineEnv) -> None:
    async with env.talk() as talk:
        await talk.ask(get(PATH))
        talk.connection.pause_writing()
        for _ in range(3):
            await talk.send(get(PATH))
        assert len(env.lines) == 2  # the second waits to be read, the others wait for it
        talk.connection.resume_writing()
        await settle()
        assert len(env.lines) == 4
