"""HTTP client on a socket, for requests that no client library sends."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

TIMEOUT_S = 30.0


@dataclass(frozen=True)
class RawAnswer:
    """One response; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class RawConnection:
    """A connection, from the local address `source` if given; a context manager."""

    def __init__(self, url: str, source: str = "") -> None:
        self._address = urlsplit(url)
        self._source = source

    def __enter__(self) -> Self:
        host, port = self._address.hostname, self._address.port
        self.socket = socket.create_connection((host, port), TIMEOUT_S, (self._source, 0))
        self._left = b""
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def get(self, target: bytes, *headers: bytes) -> None:
        """Send a GET without quoting."""
        lines = (b"GET " + target + b" HTTP/1.1", b"Host: localhost", *headers, b"", b"")
        self.send(b"\r\n".join(lines))

    def answer(self) -> RawAnswer:
        """Read the next response. Raises ConnectionError if there is none."""
        head = self._read_past(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)
        }
        status = int(first.split()[1])
        has_body = status not in {204, 304}
        size = int(headers.get("content-length", "0")) if has_body else 0
        return RawAnswer(status, headers, self._read(size))

    def is_closed(self) -> bool:
        """Wait until the service closes the connection or sends data; return whether it closed."""
        return not self._left and not self.socket.recv(1)

    def _read_past(self, mark: bytes) -> bytes:
        while mark not in self._left:
            self._left += self._received()
        found, _, self._left = self._left.partition(mark)
        return found

    def _read(self, size: int) -> bytes:
        while len(self._left) < size:
            self._left += self._received()
        found, self._left = self._left[:size], self._left[size:]
        return found

    def _received(self) -> bytes:
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("closed before the response was complete")
        return data
