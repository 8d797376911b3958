"""Mutated requests to every route of an idle service: no 500, no traceback, little processor time.

`make fuzz` sends 20,000, among them every word as every header to every route; `make test` sends some
hundreds. REQUESTS and FUZZ_SEED choose others.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support.operator_client import TOKEN, with_token
from support.quick_service import quick_world
from support.raw_http import RawAnswer, RawConnection

from bench.env import ServiceEnv

pytestmark = pytest.mark.integration

REQUESTS = int(os.environ.get("REQUESTS", "1000"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
MOST_MS = 100.0  # of process time
WORST, AGAIN = 10, 5
# What costs by the size of its answer or its body, and is bounded elsewhere.
APART = ("POST /match-details", "POST /admin/import", "GET /metrics")
# With the token these change the fleet, which is then not idle; without it they are refused.
ORDERS = ("POST /admin/fleet/scale", "POST /admin/fleet/drain")
PLAIN = ("/", "/docs", "/events", "/openapi.json", "/page/page.js", "/session")
# What stands before every handler: a request that gets one of these may not have reached its route.
BEFORE_HANDLERS = frozenset({400, 401, 403, 405, 411, 413, 414, 415, 429, 431})
METHODS = (b"GET", b"GET", b"HEAD", b"POST", b"DELETE", b"PUT", b"OPTIONS", b"PATCH")
HEADERS = (
    *("Accept", "Accept-Encoding", "Authorization", "Cache-Control", "Content-Type", "Cookie"),
    *("If-None-Match", "Last-Event-ID", "Origin", "Sec-Fetch-Site", "X-API-Key"),
    *("X-Forwarded-For", "X-Request-Id", "X-Request-Timeout", "traceparent"),
)
BODIES = {
    "POST /match-details": b'{"match_ids":[5]}',
    "POST /session": b'{"token":"%s"}' % TOKEN.encode(),
    "POST /admin/accounts": b'{"name":"n","password":"p"}',
    "POST /admin/import": b"n:p\nm:p",
    "POST /admin/accounts/{name}/guard": b'{"code":"AAAAA"}',
    "POST /admin/fleet/scale": b'{"count":1}',
}
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
    """A request and the route it was made from. `is_aimed`: its method and target are the route's."""

    route: str
    data: bytes
    is_aimed: bool


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceEnv]:
    settings = with_token(tmp_path_factory.mktemp("admin"))
    with quick_world(1, settings={**settings, "http": {**settings["http"], "per_minute": 0}}) as w:
        yield w


def routes(w: ServiceEnv) -> list[str]:
    """Return all routes as method and path, with IDs for parameters."""
    described = json.loads(w.service.get("/openapi.json")[1])["paths"]
    found = [f"{method.upper()} {path}" for path, item in described.items() for method in item]
    return [*found, *(f"GET {path}" for path in PLAIN), "POST /session", "DELETE /session"]


def mutated(rng: random.Random, text: bytes) -> bytes:
    """Return `text` with foreign bytes, words or repetitions."""
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


def request(rng: random.Random, route: str, header: bytes) -> Sent:
    """Return a request to `route` with `header`; two of five have a mutated target or body."""
    method, path = route.split(" ")
    while "{" in path:
        before, _, rest = path.partition("{")
        path = (
            before + rng.choice(("5", "7", "76561197960287930", "acc-1")) + rest.partition("}")[2]
        )
    if rng.random() < 0.3:
        path += "?match_id=5"
    elif rng.random() < 0.3:
        path += rng.choice(("?redirect=0", "?force=1", "?key=x", "?x"))
    body = BODIES.get(route, b"{}")
    target, verb = path.encode(), method.encode()
    aimed = verb, target
    if rng.random() < 0.2:
        target = b"/" + mutated(rng, target[1:]).replace(b" ", b"").replace(b"\n", b"")
    if rng.random() < 0.2:
        body = mutated(rng, body) * rng.choice((1, 1, 8))
    if rng.random() < 0.1:
        verb = rng.choice(METHODS)
    body = body if verb in {b"POST", b"PUT", b"PATCH"} else b""
    lines = [verb + b" " + target + b" HTTP/1.1", b"Host: localhost", b"Connection: close", header]
    if route not in ORDERS and rng.random() < 0.7:
        lines.append(b"Authorization: Bearer " + TOKEN.encode())
    lines += [b"X-BotAPI-Page: 1"] if rng.random() < 0.5 else []
    lines += [_mutated_header(rng, name) for name in rng.sample(HEADERS, rng.choice((0, 0, 1, 3)))]
    if body and not header.startswith(b"Content-Type"):
        lines.append(b"Content-Type: application/json")
    lines += [b"Content-Length: %d" % len(body)] if body else []
    return Sent(route, b"\r\n".join([*lines, b"", body]), aimed == (verb, target))


def header_of(name: str, value: bytes) -> bytes:
    return name.encode() + b": " + value.replace(b"\n", b"").replace(b"\r", b"")


def _mutated_header(rng: random.Random, name: str) -> bytes:
    whole = rng.choice(WORDS)
    value = rng.choice(((whole * 1400)[:7000], mutated(rng, whole), mutated(rng, b"5")))
    return header_of(name, value)


def cpu_ms(pid: int) -> float:
    """Return the processor time of all threads; threads that end meanwhile are skipped."""
    total = 0
    for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):
            total += int(file.read_text().split()[0])
    return total / 1e6


def send(w: ServiceEnv, sent: Sent, source: str) -> tuple[RawAnswer | None, float]:
    """Return the response, or None if the connection ends, and the processor time that it took."""
    before = cpu_ms(w.service.process.pid)
    with RawConnection(w.service.url, source) as connection:
        connection.send(sent.data)
        try:
            answer = connection.answer()
        except ConnectionError:
            answer = None
    return answer, cpu_ms(w.service.process.pid) - before


def test_no_mutated_request_breaks_or_holds_the_service(w: ServiceEnv) -> None:
    rng, known = random.Random(SEED), routes(w)
    assert len(known) > 30
    pairs = list(itertools.product(HEADERS, WORDS))
    rounds = zip(*(itertools.cycle(rng.sample(pairs, len(pairs))) for _ in known), strict=True)
    cases = zip(itertools.cycle(known), itertools.chain.from_iterable(rounds), strict=False)
    # Many: an address that shows wrong tokens must wait.
    sources = itertools.cycle(f"127.0.{n // 100 + 1}.{n % 100 + 1}" for n in range(2000))
    costs: list[tuple[float, Sent]] = []
    reached: set[str] = set()
    for route, pair in itertools.islice(cases, REQUESTS):
        sent = request(rng, route, header_of(*pair))
        answer, took_ms = send(w, sent, next(sources))
        assert answer is None or answer.status not in {500, 501}, sent
        if sent.is_aimed and answer is not None and answer.status not in BEFORE_HANDLERS:
            reached.add(route)
        if sent.route not in APART:
            costs.append((took_ms, sent))
    assert not list(w.service.events("request_crashed"))
    assert "Traceback" not in w.service.log
    for took_ms, sent in sorted(costs, reverse=True)[:WORST]:
        again = [send(w, sent, next(sources))[1] for _ in range(AGAIN)]
        assert min(again) < MOST_MS, (took_ms, again, sent)
    assert reached == {*known} - {*ORDERS}
