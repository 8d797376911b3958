"""`POST /match-details`: one line per match, as it arrives, no faster than the client reads."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
import pytest
from support.quick_service import quick_world, wait_idle

from actors.http.openapi.inputs import MOST_IDS
from actors.http.routes.matches import CONCURRENCY
from bench.env import ServiceEnv

pytestmark = pytest.mark.integration

PATIENT = {"http": {"deadline": 25}, "bots": {"request_timeout": 20}}
NOT_FOUND, BLOCKED = 9_000_000_001, 4_000_000_015


@pytest.fixture(scope="module")
def w() -> Iterator[ServiceEnv]:
    with quick_world(4) as running:
        yield running


async def post(w: ServiceEnv, body: Any, **headers: str) -> tuple[int, list[dict[str, Any]]]:
    async with (
        aiohttp.ClientSession(w.service.url, headers=headers) as http,
        http.post(
            "/match-details", data=body if isinstance(body, bytes) else orjson.dumps(body)
        ) as got,
    ):
        text = await got.read()
        if got.status == 200:
            assert got.headers["Content-Type"] == "application/x-ndjson"
            assert text.endswith(b"\n")
        return got.status, [orjson.loads(line) for line in text.splitlines()]


async def test_every_match_has_a_line_that_is_what_get_answers(w: ServiceEnv) -> None:
    ids = list(range(100, 130))
    status, lines = await post(w, {"match_ids": ids})
    assert status == 200
    assert sorted(line["id"] for line in lines) == ids
    one = next(line for line in lines if line["id"] == 105)
    assert one == orjson.loads(w.service.get("/matches/105")[1])


async def test_an_error_is_a_line_too_and_spoils_no_other(w: ServiceEnv) -> None:
    status, lines = await post(w, {"match_ids": [NOT_FOUND, 131, BLOCKED]})
    assert status == 200
    by_id = {line["id"]: line for line in lines}
    assert by_id[131]["result"] == 1
    for match_id, word in {NOT_FOUND: "not-found", BLOCKED: "blocked"}.items():
        assert by_id[match_id].keys() == {"id", "error", "message", "retry_after"}
        assert by_id[match_id]["error"] == word


async def test_a_match_that_is_named_twice_is_answered_once(w: ServiceEnv) -> None:
    status, lines = await post(w, {"match_ids": [140, 141, 140, 141, 140]})
    assert status == 200
    assert Counter(line["id"] for line in lines) == {140: 1, 141: 1}


async def test_a_whole_number_may_have_a_point(w: ServiceEnv) -> None:
    status, lines = await post(w, b'{"match_ids": [142.0, 1.43e2]}')
    assert status == 200
    assert sorted(line["id"] for line in lines) == [142, 143]


async def test_as_many_as_allowed_are_answered(w: ServiceEnv) -> None:
    ids = list(range(1000, 1000 + MOST_IDS))
    status, lines = await post(w, {"match_ids": ids})
    assert status == 200
    assert [line["id"] for line in sorted(lines, key=lambda line: line["id"])] == ids
    assert all("error" not in line for line in lines)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"match_ids=5",
        b"\xff\xfe",
        [],
        [5],
        {},
        {"match_ids": None},
        {"match_ids": []},
        {"match_ids": 5},
        {"match_ids": ["5"]},
        {"match_ids": [5.5]},
        {"match_ids": [True]},
        {"match_ids": [0]},
        {"match_ids": [5, 1_024_000_000_000]},
        {"match_ids": [5], "more": 1},
        {"match_ids": list(range(1, MOST_IDS + 2))},
        b'{"match_ids": [' + b"[" * 5000,
    ],
)
async def test_what_is_no_list_of_ids_is_refused_whole(w: ServiceEnv, body: Any) -> None:
    status, (answer,) = await post(w, body)
    assert (status, answer["error"]) == (400, "invalid")


async def test_a_body_that_is_too_large_is_refused(w: ServiceEnv) -> None:
    status, (answer,) = await post(w, b"[" + b"1," * 40_000 + b"1]")
    assert (status, answer["error"]) == (413, "too-large")


async def test_each_match_has_the_clients_time_limit_to_itself(w: ServiceEnv) -> None:
    await w.sandbox.faults(gc_silent=True)
    try:
        status, lines = await post(w, {"match_ids": [150, 151]}, **{"X-Request-Timeout": "0.3"})
    finally:
        await w.sandbox.clear_faults()
    assert status == 200
    assert [line["error"] for line in lines] == ["timeout", "timeout"]
    status, (answer,) = await post(w, {"match_ids": [5]}, **{"X-Request-Timeout": "never"})
    assert (status, answer["error"]) == (400, "invalid")


async def test_lines_come_as_soon_as_they_are_there() -> None:
    with quick_world(2, settings=PATIENT) as w:
        await w.sandbox.faults(gc_silent={"accounts": ["bot0000"]})
        async with aiohttp.ClientSession(w.service.url) as http:
            body = {"match_ids": [160, 161]}  # in turn, so that one of them meets the silent bot
            async with http.post("/match-details", json=body) as got:
                first = orjson.loads(await asyncio.wait_for(got.content.readline(), 20))
                assert first["result"] == 1


async def test_who_goes_away_stops_the_rest() -> None:
    with quick_world(1, sandbox_options=("--gc-delay", "100")) as w:
        async with aiohttp.ClientSession(w.service.url) as http:
            got = await http.post("/match-details", json={"match_ids": list(range(500, 1000))})
            await got.content.readline()
            got.close()
        wait_idle(w)
        asked = (await w.sandbox.summary())["requests"]["bot0000"]
        assert asked < 400
        assert "request_crashed" not in w.service.log


async def test_who_does_not_read_is_not_served_further() -> None:
    """The kernel's buffers and a few lines fill up; the rest waits until the client reads."""
    with quick_world(4) as w:
        address = urlsplit(w.service.url)
        body = orjson.dumps({"match_ids": list(range(2000, 2000 + MOST_IDS))})
        head = (
            f"POST /match-details HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n"
        )
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect((address.hostname, address.port))
            client.sendall(head.encode() + body)
            stuck = await settled_requests(w)
            assert CONCURRENCY < stuck < MOST_IDS - CONCURRENCY
            client.settimeout(30)
            received = await asyncio.to_thread(read_all, client)
        assert received.count(b'"replay_url"') == MOST_IDS


async def settled_requests(w: ServiceEnv) -> int:
    """Return the number of matches requested from the GC, once it has stopped growing."""
    before, quiet = -1, 0
    while quiet < 5:
        asked = sum((await w.sandbox.summary())["requests"].values())
        is_still = asked == before and not w.service.status()["router"]["in_flight"]
        quiet = quiet + 1 if is_still and asked else 0
        before = asked
        await asyncio.sleep(0.1)
    return before


def read_all(client: socket.socket) -> bytes:
    parts = []
    while part := client.recv(65536):
        parts.append(part)
    return b"".join(parts)
