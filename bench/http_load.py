"""Load generator: repeats one request, cheaply enough that the server is the bottleneck."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Rate:
    """Result of one round."""

    answers: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Return responses per second."""
        return self.answers / self.seconds


class _Client(asyncio.Protocol):
    """One connection; repeats the request as soon as a response is complete, until `until`."""

    def __init__(self, request: bytes, until: float) -> None:
        self._request = request
        self._until = until
        self._buffer = b""
        self.answers = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        length = LENGTH.search(self._buffer, 0, head)
        if length is None or len(self._buffer) < head + 4 + int(length[1]):
            return
        if not self._buffer.startswith(b"HTTP/1.1 200"):
            self.done.set_exception(RuntimeError(self._buffer[:200].decode(errors="replace")))
            return
        self._buffer = b""
        self.answers += 1
        if time.perf_counter() < self._until:
            self._transport.write(self._request)
        elif not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("closed"))

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()


async def drive(url: str, *, connections: int, seconds: float, header: str = "") -> Rate:
    """GET `url` on all connections for `seconds`, with an extra `header`; every response must be 200."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    headers = [f"Host: {parts.netloc}", "Accept-Encoding: gzip", *([header] if header else [])]
    request = "\r\n".join((f"GET {target} HTTP/1.1", *headers, "", ""))
    begun = time.perf_counter()
    loop = asyncio.get_running_loop()
    clients = []
    for _ in range(connections):
        _, client = await loop.create_connection(
            lambda: _Client(request.encode(), begun + seconds),
            parts.hostname or "",
            parts.port or 80,
        )
        clients.append(client)
    try:
        await asyncio.gather(*(client.done for client in clients))
    finally:
        for client in clients:
            client.close()
    return Rate(sum(client.answers for client in clients), time.perf_counter() - begun)
