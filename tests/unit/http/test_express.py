"""The short way for known matches: the same answers, counts and lines as the long way has."""

from __future__ import annotations

import time
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest
from support.express_env import PEER, Answer, Counter, known_match
from support.fake_clock import FakeClock, settle

from actors.http.auth.api_keys import KeyRing, digest_of, parse_keys
from actors.http.auth.cross_site import CrossSitePolicy
from actors.http.connection import IDLE_S, Connection
from actors.matches.match import NoMatch, NoMatchReason

KEY = "botapi_the-key-of-alice"
RING = KeyRing(parse_keys(f"alice sha256:{digest_of(KEY).hex()} per-minute=60 burst=2"))
QUERY, PATH = "/match-details?match_id=5", "/matches/5"


def get(target: str, *lines: str) -> bytes:
    return "\r\n".join((f"GET {target} HTTP/1.1", "Host: x", *lines, "", "")).encode()


@pytest.fixture
def counter(clock: FakeClock) -> Counter:
    counter = Counter(clock)
    counter.knows(known_match(5, clock), known_match(6, clock))
    return counter


def without_chance(answer: Answer) -> Answer:
    """Leave out what differs between any two answers."""
    headers = {
        name: value
        for name, value in answer.headers.items()
        if name not in {"x-request-id", "date"}
    }
    return answer._replace(headers=headers)


def facts_without_chance(line: tuple[str, dict[str, Any]]) -> Iterator[tuple[str, Any]]:
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
        ("Accept: application/x-protobuf",),
        ("Accept: application/x-protobuf;q=0.1, application/json",),
        ("Connection: keep-alive",),
        ("Connection: Keep-Alive",),
        ("X-API-Key: not needed here",),
        ("X-Forwarded-For: 203.0.113.9",),
    ],
)
async def test_both_ways_answer_count_and_log_the_same(
    counter: Counter, target: str, lines: tuple[str, ...]
) -> None:
    async with counter.talk(is_express=False) as long, counter.talk() as short:
        await short.ask(get(PATH))  # the first request of a connection is aiohttp's
        for seen in (counter.lines, counter.outcomes, counter.errors, counter.tally.lookups):
            seen.clear()
        await counter.clock.advance(7.9)
        expected = await long.ask(get(target, *lines))
        tally = dict(counter.tally.lookups)
        assert not counter.taken
        found = await short.ask(get(target, *lines))
    assert len(counter.taken) == 1
    assert without_chance(found) == without_chance(expected)
    assert found.headers["age"] == "7"
    assert found.headers["x-request-id"] != expected.headers["x-request-id"]
    assert time.strptime(found.headers["date"], "%a, %d %b %Y %H:%M:%S GMT")
    by_long, by_short = counter.lines
    assert dict(facts_without_chance(by_short)) == dict(facts_without_chance(by_long))
    assert by_short[1]["request_id"] == found.headers["x-request-id"]
    assert counter.outcomes[0] == counter.outcomes[1]
    assert counter.errors == ["", ""]
    assert dict(counter.tally.lookups) == {name: 2 * count for name, count in tally.items()}


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (get(PATH, "Accept: image/png"), 406),
        (get(PATH, 'If-None-Match: "tag-of-5"'), 304),
        (get("/matches/0"), 400),
        (get("/nothing"), 404),
        (b"not HTTP\r\n\r\n", 400),
        (get("/matches/8"), 404),
    ],
)
async def test_what_it_does_not_answer_is_answered_the_long_way(
    counter: Counter, data: bytes, status: int
) -> None:
    now = counter.clock.wall()
    counter.knows(NoMatch(8, NoMatchReason.NOT_FOUND, now, now + 60))
    async with counter.talk() as talk:
        await talk.ask(get(PATH))
        assert (await talk.ask(data)).status == status
    assert not counter.taken


async def test_a_request_to_a_foreign_name_is_refused_the_long_way(counter: Counter) -> None:
    counter.admission.browsers = CrossSitePolicy(["x"], is_local=True)
    foreign = get(PATH).replace(b"Host: x", b"Host: evil.example")
    async with counter.talk() as talk:
        assert (await talk.ask(get(PATH))).status == 200
        assert (await talk.ask(foreign)).status == 403
        assert not counter.taken
        assert (await talk.ask(get(PATH))).status == 200
        assert len(counter.taken) == 1


async def test_a_match_that_is_no_longer_fresh_is_not_answered_from_memory(
    clock: FakeClock,
) -> None:
    counter = Counter(clock)
    counter.knows(known_match(5, clock, ttl_s=10.0))
    await clock.advance(9.9)
    assert counter.express(get(PATH), PEER) is not None
    await clock.advance(0.1)
    assert counter.express(get(PATH), PEER) is None


async def test_an_answer_that_was_replaced_is_not_sent_again(counter: Counter) -> None:
    counter.express(get(PATH), PEER)
    await counter.clock.advance(100)
    counter.knows(known_match(5, counter.clock, ttl_s=30.0))
    found = counter.express(get(PATH), PEER)
    assert found is not None
    head = b"".join(found)
    assert b"Age: 0\r\n" in head
    assert b"max-age=30\r\n" in head


async def test_keys_and_their_rates_hold(clock: FakeClock) -> None:
    counter = Counter(clock, keys=RING)
    counter.knows(known_match(5, clock))
    with_key = get(PATH, f"X-API-Key: {KEY}")
    async with counter.talk() as talk:
        first = await talk.ask(with_key)
        second = await talk.ask(with_key)
        assert counter.taken == [with_key]
        assert (await talk.ask(with_key)).status == 429  # burst=2
        assert (await talk.ask(get(PATH))).status == 401
        assert (await talk.ask(get(PATH, "X-API-Key: wrong"))).status == 401
        assert counter.taken == [with_key]
        await clock.advance(1.0)
        assert (await talk.ask(with_key)).status == 200  # a refusal has cost nothing
    assert first.headers["cache-control"] == second.headers["cache-control"]
    assert second.headers["cache-control"].startswith("private")
    assert [line[1].get("client") for line in counter.lines[:2]] == ["alice", "alice"]
    assert KEY not in str(counter.lines)


async def test_a_key_that_is_taken_away_opens_nothing_any_more(clock: FakeClock) -> None:
    ring = KeyRing(parse_keys(f"bob sha256:{digest_of(KEY).hex()}"))
    counter = Counter(clock, keys=ring)
    counter.knows(known_match(5, clock))
    assert counter.express(get(PATH, f"X-API-Key: {KEY}"), PEER) is not None
    ring.replace(())
    assert counter.express(get(PATH, f"X-API-Key: {KEY}"), PEER) is None


async def test_a_rate_per_address_counts_both_ways_together(clock: FakeClock) -> None:
    counter = Counter(clock, per_minute=3)
    counter.knows(known_match(5, clock))
    async with counter.talk() as talk:
        statuses = [(await talk.ask(get(PATH))).status for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    assert len(counter.taken) == 2


async def test_a_trusted_proxy_is_believed(clock: FakeClock) -> None:
    counter = Counter(clock, proxies=(ip_network("198.51.100.0/24"),))
    counter.knows(known_match(5, clock))
    assert counter.express(get(PATH, "X-Forwarded-For: 203.0.113.9"), PEER) is not None
    assert counter.express(get(PATH, "X-Forwarded-For: 203.0.113.8"), PEER) is not None
    assert [line[1]["address"] for line in counter.lines] == ["203.0.113.9", "203.0.113.8"]


async def test_a_connection_that_is_answered_at_once_is_not_taken_for_idle(
    counter: Counter,
) -> None:
    async with counter.talk() as talk:
        await talk.ask(get(PATH))
        before = vars_of(talk.connection, "_next_keepalive_close_time")
        await talk.ask(get(PATH))
        assert len(counter.taken) == 1
        after = vars_of(talk.connection, "_next_keepalive_close_time")
        assert before < after
        assert after - IDLE_S <= vars_of(talk.connection, "_loop").time()


def vars_of(connection: Connection, name: str) -> Any:
    return getattr(connection, name)


@pytest.mark.parametrize("how", ["close", "force_close"])
async def test_nothing_is_written_to_a_connection_that_ends(counter: Counter, how: str) -> None:
    async with counter.talk() as talk:
        await talk.ask(get(PATH))
        getattr(talk.connection, how)()
        assert await talk.send(get(PATH)) == []
        assert not counter.taken


async def test_an_empty_line_before_a_request_leaves_no_timer_behind(counter: Counter) -> None:
    async with counter.talk() as talk:
        await settle()  # it waits for a request
        assert await talk.send(b"\r\n\r\n") == []
        assert vars_of(talk.connection, "_head_timer") is not None
        await talk.ask(get(PATH))
        assert counter.taken
        assert vars_of(talk.connection, "_head_timer") is None
        assert vars_of(talk.connection, "_head_bytes") == 0


async def test_who_does_not_read_is_not_sent_more(counter: Counter) -> None:
    async with counter.talk() as talk:
        await talk.ask(get(PATH))
        talk.connection.pause_writing()
        await talk.send(get(PATH))
        assert not counter.taken
        talk.connection.resume_writing()
