"""An HTTP server on a real socket with a test's own routes, and a client that sends any bytes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, MutableMapping
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from actors.http.connection import Capacity
from actors.http.metrics import HttpMetrics
from actors.http.pipeline import Pipeline
from actors.http.server import HttpServer, make_app
from actors.metrics import Instruments
from supervisor.app.web import HttpAccess
from supervisor.clock import SystemClock
from supervisor.config.model import Http
from support.scripted_child import capturing_log

WITHIN_S = 20.0  # more than any step takes


@dataclass(frozen=True)
class Answer:
    """One parsed response."""

    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def word(self) -> str:
        """The error word; every error has the same form."""
        error = orjson.loads(self.body)
        assert set(error) == {"error", "message", "retry_after"}
        return str(error["error"])


class Wire:
    """A client's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Send; ignore a closed connection."""
        with contextlib.suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    async def answer(self) -> Answer:
        """Read one response."""
        async with asyncio.timeout(WITHIN_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
            status, *lines = head.decode().split("\r\n")
            headers = {
                name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
            }
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return Answer(int(status.split()[1]), headers, body)

    async def wait_closed(self) -> bytes:
        """Read until the server closes the connection."""
        async with asyncio.timeout(WITHIN_S):
            with contextlib.suppress(ConnectionError):
                return await self.reader.read()
        return b""

    def close(self) -> None:
        """Close the connection."""
        self.writer.close()


@dataclass
class HttpServerEnv:
    """A running server."""

    address: tuple[str, int]
    capacity: Capacity
    log: list[MutableMapping[str, Any]]

    @contextlib.asynccontextmanager
    async def wire(self) -> AsyncIterator[Wire]:
        """Yield a connection."""
        wire = Wire(*await asyncio.open_connection(*self.address))
        try:
            yield wire
        finally:
            wire.close()

    async def ask(self, data: bytes) -> Answer:
        """Send `data` on a new connection and return the response."""
        async with self.wire() as wire:
            await wire.send(data)
            return await wire.answer()

    async def wait_open(self, count: int) -> None:
        """Wait until there are `count` connections."""
        async with asyncio.timeout(WITHIN_S):
            while self.capacity.open != count:  # noqa: ASYNC110 - the server sends no signal
                await asyncio.sleep(0.01)


def get(path: str = "/", **headers: str) -> bytes:
    """Return a GET request; `_` in a header's name stands for `-`."""
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()]
    return f"GET {path} HTTP/1.1\r\nHost: test\r\n{''.join(lines)}\r\n".encode()


@contextlib.asynccontextmanager
async def serving(
    routes: dict[str, Handler] | None = None,
    http: Http | None = None,
    metrics: HttpMetrics | None = None,
    *,
    address: str = "0.0.0.0",  # noqa: S104 - the configured address; the socket is on loopback
) -> AsyncIterator[HttpServerEnv]:
    """Serve `routes` and /ok, for any method, behind the complete pipeline."""
    log, lines = capturing_log()
    clock = SystemClock()
    access = HttpAccess(http or Http(), None, address=address, clock=clock, log=log)
    app = make_app((), access.admission, version="test")

    def record(level: str, fields: dict[str, Any]) -> None:
        getattr(log, level)("request_answered", actor="http", **fields)

    pipeline = Pipeline(
        access.admission,
        clock=clock,
        log=log,
        record=record,
        metrics=metrics or HttpMetrics(Instruments(), clock),
    )
    for path, handler in {"/ok": _ok, **(routes or {})}.items():
        app.router.add_route("*", path, handler)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = HttpServer(
            app, listener.dup(), pipeline=pipeline, capacity=access.capacity, drain_s=1.0, log=log
        )
        await server.start()
        running = asyncio.create_task(server.run())
        try:
            yield HttpServerEnv(listener.getsockname()[:2], access.capacity, lines)
        finally:
            server.stop()
            await running


async def _ok(_request: web.Request) -> web.StreamResponse:
    return web.json_response({"ok": True})
