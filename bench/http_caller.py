"""HTTP client for benchmarks in which every request differs.

async with Caller(url) as caller:
    status = await caller.get("/match-details?match_id=1")
"""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import urlsplit

from bench.http_load import LENGTH

_END: Final = b"\r\n\r\n"


class _Connection(asyncio.Protocol):
    """A persistent connection; one request at a time."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answer: asyncio.Future[int] | None = None
        self.is_open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self._transport = transport

    def ask(self, request: bytes) -> asyncio.Future[int]:
        """Send a request; return the status once the response is complete."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(_END)
        length = LENGTH.search(self._buffer, 0, head) if head >= 0 else None
        if length is None or len(self._buffer) < head + len(_END) + int(length[1]):
            return
        status, self._buffer = int(self._buffer[9:12]), b""
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(status)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("closed"))

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()


class Caller:
    """HTTP client with a persistent connection for each concurrent request."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._lines = f" HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept-Encoding: gzip\r\n\r\n"
        self._idle: list[_Connection] = []

    async def get(self, target: str) -> int:
        """Return the status of a GET. Raises OSError if the connection breaks."""
        connection = await self._connection()
        status = await connection.ask(f"GET {target}{self._lines}".encode())
        self._idle.append(connection)
        return status

    async def aclose(self) -> None:
        """Close all connections."""
        for connection in self._idle:
            connection.close()

    async def _connection(self) -> _Connection:
        while self._idle:
            if (connection := self._idle.pop()).is_open:
                return connection
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, self._host, self._port)
        return connection
