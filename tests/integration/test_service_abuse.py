"""Clients that mean harm: each is told what is wrong, the others are served, and nothing piles up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import psutil
import pytest

from actors.http.connection import HEAD_S
from bench.env import ServiceEnv, service_env

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

DRIBBLERS = 200
BOMB = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"".join(
    b"X-%d: %s\r\n" % (number, b"y" * 8000) for number in range(60)
)
MANY = b"GET /healthz HTTP/1.1\r\n" + b"A: b\r\n" * 20_000
LINE = b"GET /" + b"a" * 1_000_000
LARGE = (
    b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000\r\n\r\n"
    + b"x" * 10_000_000
)
CHUNKED = (
    b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    + (b"100000\r\n" + b"x" * 0x100000 + b"\r\n") * 10
)
ATTACKS = {BOMB: b"431", MANY: b"431", LINE: b"431", LARGE: b"413", CHUNKED: b"413"}
# An allocator keeps some of what it had; what is sent is some hundred times as much.
ROOM = 24 * 1024 * 1024


async def test_bombs_and_large_bodies_have_their_status_and_leave_no_memory_behind() -> None:
    with service_env(1) as w:
        w.service.wait_ready(1)
        await attack(w, rounds=5)
        before = w.service.rss
        await attack(w, rounds=40)
        assert w.service.rss - before < ROOM
        assert w.service.get("/healthz")[0] == 200
        await wait_connections(w, 0)
        assert "request_crashed" not in w.service.log


async def test_connections_that_dribble_delay_no_other_and_are_closed() -> None:
    with service_env(1) as w:
        w.service.wait_ready(1)
        async with dribbling(w) as readers:
            await wait_connections(w, DRIBBLERS)
            for _ in range(20):
                status, _ = await asyncio.to_thread(w.service.get, "/match-details?match_id=5")
                assert status == 200
            async with asyncio.timeout(HEAD_S + 30):
                first_lines = await asyncio.gather(*(reader.readline() for reader in readers))
            assert {line.split()[1] for line in first_lines} == {b"408"}
            await wait_connections(w, 0)
        assert w.service.get("/healthz")[0] == 200


async def attack(w: ServiceEnv, rounds: int) -> None:
    for _ in range(rounds):
        for data, status in ATTACKS.items():
            assert await answer(w, data) == status


async def answer(w: ServiceEnv, data: bytes) -> bytes:
    """Send as much as is taken; return the status of the answer."""
    reader, writer = await connect(w)
    try:
        writer.write(data)
        async with asyncio.timeout(30):
            line = await reader.readline()
        return line.split()[1]
    finally:
        writer.transport.abort()


@contextlib.asynccontextmanager
async def dribbling(w: ServiceEnv) -> AsyncIterator[list[asyncio.StreamReader]]:
    """Hold connections on which a byte of a head comes every now and then."""
    pairs = [await connect(w) for _ in range(DRIBBLERS)]

    async def dribble(writer: asyncio.StreamWriter) -> None:
        for byte in BOMB:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.5)

    tasks = [asyncio.create_task(dribble(writer)) for _, writer in pairs]
    try:
        yield [reader for reader, _ in pairs]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _, writer in pairs:
            writer.transport.abort()


async def connect(w: ServiceEnv) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = w.service.url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


async def wait_connections(w: ServiceEnv, count: int) -> None:
    """Wait until the service has that many connections of clients."""
    port = int(w.service.url.rsplit(":", 1)[1])
    process = psutil.Process(w.service.process.pid)
    async with asyncio.timeout(30):
        while count != sum(  # noqa: ASYNC110 - the kernel has no event for it
            one.status == psutil.CONN_ESTABLISHED and one.laddr.port == port
            for one in process.net_connections("tcp")
        ):
            await asyncio.sleep(0.1)
