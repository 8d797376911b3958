"""Mutated requests to every route of an idle service: no 500, no traceback, none that costs much time.

`make fuzz` sends 20,000, `make test` some hundreds; REQUESTS and FUZZ_SEED choose others.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from operator_client import TOKEN, with_token
from quick_world import quick_world
from raw_http import RawAnswer, RawConnection

from bench.world import World

pytestmark = pytest.mark.integration

REQUESTS = int(os.environ.get("REQUESTS", "400"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
MOST_MS = 100.0  # of process time
WORST, AGAIN = 10, 5
# What costs by the size of its answer or its body, and is bounded elsewhere.
APART = ("POST /match-details", "POST /admin/import", "GET /metrics")
# With the token these change the fleet, which is then not idle.
ORDERS = ("/admin/fleet", "/admin/bots")
PLAIN = ("/", "/docs", "/events", "/openapi.json", "/page/page.js", "/session")
METHODS = (b"GET", b"GET", b"HEAD", b"POST", b"DELETE", b"PUT", b"OPTIONS", b"PATCH")
HEADERS = (
    *("Accept", "Accept-Encoding", "Authorization", "Cache-Control", "Content-Type", "Cookie"),
    *("If-None-Match", "Last-Event-ID", "Origin", "Sec-Fetch-Site", "X-API-Key"),
    *("X-Forwarded-For", "X-Request-Id", "X-Request-Timeout", "traceparent"),
)
WORDS = (
    *(b"0", b"-1", b"5", b"1023999999999", b"1e999", b"9" * 5000, b"nan", b"%ff", b"%00", b"%"),
    *(
        b"token",
        b"password=",
        b"a=b;",
        b"../",
        b"[",
        b"http://[",
        b"EPOCH-",
        b"q=0.1,",
        b"\xc3\x28",
    ),
    *(b"{", b'{"a":', b"[[", b"botapi_", b"eyJhbGciOi.", b'W/"', b"::1,", b"Bearer ", b'"\\'),
)


class Sent(NamedTuple):
    """One request, and the route that it began as."""

    route: str
    data: bytes


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    settings = with_token(tmp_path_factory.mktemp("admin"))
    with quick_world(1, settings={**settings, "http": {**settings["http"], "per_minute": 0}}) as w:
        yield w


def routes(w: World) -> list[str]:
    """Return all routes, as method and path, with ids in the places of parameters."""
    described = json.loads(w.service.get("/openapi.json")[1])["paths"]
    found = [f"{method.upper()} {path}" for path, item in described.items() for method in item]
    return [*found, *(f"GET {path}" for path in PLAIN), "POST /session", "DELETE /session"]


def mutated(rng: random.Random, text: bytes) -> bytes:
    """Return `text` with some bytes, words or repetitions in it that do not belong there."""
    for _ in range(rng.randint(0, 3)):
        at = rng.randint(0, len(text))
        match rng.randrange(4):
            case 0:
                part = bytes([rng.randrange(33, 256)])
            case 1:
                part = rng.choice(WORDS)
            case 2:
                part = rng.choice(WORDS) * rng.randint(1, 1400)
            case _:
                part, text = b"", text[: rng.randint(0, len(text))] + text[at:]
        text = (text[:at] + part + text[at:])[:7000]
    return text


def request(rng: random.Random, route: str) -> Sent:
    method, path = route.split(" ")
    while "{" in path:
        before, _, rest = path.partition("{")
        path = (
            before + rng.choice(("5", "7", "76561197960287930", "acc-1")) + rest.partition("}")[2]
        )
    if rng.random() < 0.5:
        path += rng.choice(("?match_id=5", "?redirect=0", "?force=1", "?key=x", "?x"))
    target = b"/" + mutated(rng, path.encode()[1:]).replace(b" ", b"").replace(b"\n", b"")
    verb = rng.choice(METHODS) if rng.random() < 0.1 else method.encode()
    body = mutated(rng, b'{"match_ids":["x"],"token":"x","name":"n","password":"p","count":1}')
    body = body * rng.choice((1, 1, 1, 8)) if verb in {b"POST", b"PUT", b"PATCH"} else b""
    lines = [verb + b" " + target + b" HTTP/1.1", b"Host: x", b"Connection: close"]
    if not path.startswith(ORDERS) and rng.random() < 0.7:
        lines.append(b"Authorization: Bearer " + TOKEN.encode())
    lines += [b"X-BotAPI-Page: 1"] if rng.random() < 0.5 else []
    lines += [_header(rng, name) for name in rng.sample(HEADERS, rng.randint(0, 4))]
    lines += [b"Content-Length: %d" % len(body)] if body else []
    return Sent(route, b"\r\n".join([*lines, b"", body]))


def _header(rng: random.Random, name: str) -> bytes:
    whole = rng.choice(
        WORDS
    )  # as likely as a value with something in it that does not belong there
    value = rng.choice((whole, (whole * 1400)[:7000], mutated(rng, whole), mutated(rng, b"5")))
    value = value.replace(b"\n", b"").replace(b"\r", b"")
    return name.encode() + b": " + value


def cpu_ms(pid: int) -> float:
    """Return the process time that all threads have had; files of threads that end are skipped."""
    total = 0
    for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):
            total += int(file.read_text().split()[0])
    return total / 1e6


def send(w: World, sent: Sent) -> tuple[RawAnswer | None, float]:
    """Return the answer, None where the connection just ends, and the process time that it took."""
    before = cpu_ms(w.service.process.pid)
    with RawConnection(w.service.url) as connection:
        connection.send(sent.data)
        try:
            answer = connection.answer()
        except ConnectionError:
            answer = None
    return answer, cpu_ms(w.service.process.pid) - before


def test_no_mutated_request_breaks_or_holds_the_service(w: World) -> None:
    rng, known = random.Random(SEED), routes(w)
    assert len(known) > 30
    costs: list[tuple[float, Sent]] = []
    for number in range(REQUESTS):
        sent = request(rng, known[number % len(known)])
        answer, took_ms = send(w, sent)
        assert answer is None or answer.status not in {500, 501}, sent
        if sent.route not in APART:
            costs.append((took_ms, sent))
    assert not list(w.service.events("request_crashed"))
    assert "Traceback" not in w.service.log
    for took_ms, sent in sorted(costs, reverse=True)[:WORST]:
        again = [send(w, sent)[1] for _ in range(AGAIN)]
        assert min(again) < MOST_MS, (took_ms, again, sent)
