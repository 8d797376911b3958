"""Matches in memory of a running service, requested repeatedly on one connection."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.exposition import Exposition
from support.quick_service import quick_world
from support.raw_http import RawAnswer, RawConnection

from bench.env import ServiceEnv

pytestmark = pytest.mark.integration

MATCH = 7490235544
TARGETS = (b"/match-details?match_id=7490235544", b"/matches/7490235544")
TIMES = 20
WITHIN_S = 10.0
MOST_ASKED = 5_000
MOST_KEPT = 16_000_000  # bytes
# Headers in which two responses to the same request may differ.
DIFFERENT = frozenset({"x-request-id", "date", "age"})


@pytest.fixture(scope="module")
def w() -> Iterator[ServiceEnv]:
    with quick_world() as running:
        with RawConnection(running.service.url) as wire:
            wire.get(TARGETS[0])
            assert wire.answer().headers["x-cache"] == "MISS"
        yield running


def asked(w: ServiceEnv, target: bytes, *headers: bytes) -> list[RawAnswer]:
    """Send `TIMES` requests, each after the response to the one before."""
    answers = []
    with RawConnection(w.service.url) as wire:
        for _ in range(TIMES):
            wire.get(target, *headers)
            answers.append(wire.answer())
    return answers


def same(answer: RawAnswer) -> tuple[int, dict[str, str], bytes]:
    headers = {name: text for name, text in answer.headers.items() if name not in DIFFERENT}
    return answer.status, headers, answer.body


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "headers",
    [
        (),
        (b"Accept-Encoding: gzip",),
        (b"Accept: application/x-protobuf",),
        (b"Accept: application/x-protobuf", b"X-Request-Timeout: 5"),  # answered by the application
    ],
)
def test_each_of_many_answers_is_the_same_and_has_its_line(
    w: ServiceEnv, target: bytes, headers: tuple[bytes, ...]
) -> None:
    first, *others = asked(w, target, *headers)
    assert first.status == 200
    assert [same(other) for other in others] == [same(first)] * (TIMES - 1)
    assert first.headers["x-cache"] == "HIT"
    ids = [answer.headers["x-request-id"] for answer in (first, *others)]
    assert len(set(ids)) == TIMES
    lines = lines_of(w, ids)
    assert [line["request_id"] for line in lines] == ids
    path = target.decode().partition("?")[0]
    facts = ("status", "match_id", "method", "address", "path")
    assert {tuple(line[fact] for fact in facts) for line in lines} == {
        (200, str(MATCH), "GET", "127.0.0.1", path)
    }


def lines_of(w: ServiceEnv, ids: list[str]) -> list[dict[str, Any]]:
    """Return the log lines of these requests, which are written within some hundredths of a second."""
    until = time.monotonic() + WITHIN_S
    while True:
        lines = [line for line in w.service.events("request_answered") if line["request_id"] in ids]
        if len(lines) >= len(ids) or time.monotonic() > until:
            return lines
        time.sleep(0.02)


def test_each_is_counted() -> None:
    with quick_world() as running:  # a scrape may be a second old
        for target in TARGETS:
            asked(running, target)
        status, body = running.service.get("/metrics")
    assert status == 200
    shown = Exposition(body.decode())
    counts = shown.values("botapi_http_requests_total", "route")
    assert (counts["/match-details"], counts["/matches/{match_id}"]) == (TIMES, TIMES)
    assert shown.values("botapi_matches_total", "error")[""] == 2 * TIMES
    assert shown.values("botapi_cache_lookups_total", "source")["memory"] == 2 * TIMES - 1


def test_requests_that_come_together_are_answered_in_a_row(w: ServiceEnv) -> None:
    request = b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with RawConnection(w.service.url) as wire:
        for _ in range(3):
            wire.send(b"".join((request % TARGETS[0], request % b"/healthz", request % TARGETS[1])))
            answers = [wire.answer() for _ in range(3)]
            assert [answer.status for answer in answers] == [200] * 3
            assert json.loads(answers[1].body) == {"status": "ok"}
            assert answers[0].body == answers[2].body
            wire.send(request % TARGETS[0])
            assert wire.answer().body == answers[0].body


def test_a_client_that_asks_to_close_is_closed(w: ServiceEnv) -> None:
    with RawConnection(w.service.url) as wire:
        wire.get(TARGETS[0])
        wire.answer()
        wire.get(TARGETS[0], b"Connection: close")
        assert wire.answer().status == 200
        assert wire.is_closed()


def test_a_client_that_does_not_read_gets_no_more_than_a_socket_holds(w: ServiceEnv) -> None:
    """When it reads, it gets every response."""
    request = b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % TARGETS[0]
    with RawConnection(w.service.url) as wire:
        wire.send(request)
        size = len(wire.answer().body)
        before = w.service.rss
        asked = 0
        wire.socket.settimeout(1.0)
        with contextlib.suppress(TimeoutError):
            while asked < MOST_ASKED:
                wire.socket.sendall(request)  # times out when the service reads no more
                asked += 1
        assert w.service.rss - before < MOST_KEPT
        assert asked * size > MOST_KEPT  # otherwise the test proves nothing
        wire.socket.settimeout(WITHIN_S)
        for _ in range(asked):
            assert len(wire.answer().body) == size
