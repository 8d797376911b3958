"""Resumable HTTP download of a replay file into a part file, verified while it arrives."""

from __future__ import annotations

import asyncio
import os
import re
from http import HTTPStatus
from typing import Final, Protocol
from urllib.parse import urlsplit

import aiohttp
from aiohttp import hdrs

from actors.clock import Clock
from actors.replays.files import CHUNK, Origin, PartFile, PlainFile
from actors.replays.verify import BadReplay, ReplayVerifier

AGENT: Final = "botapi"
CONNECT_S: Final = 10.0
SILENCE_S: Final = 30.0  # without a byte; then the connection counts as dead
FIRST_WAIT_S: Final = 1.0  # before the second attempt; doubles with each
LONGEST_WAIT_S: Final = 30.0
_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_BUSY: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


class NotThere(Exception):
    """The server does not have the file: not yet, or not any more."""


class GaveUp(Exception):
    """All attempts have failed; a later download may succeed."""


class _Broke(Exception):
    """One attempt has failed."""


class ProgressObserver(Protocol):
    """Observer of a download."""

    def reading(self, length: int) -> None:
        """`length` bytes of an earlier download have been verified."""

    def coming(self, length: int, size: int | None) -> None:
        """`length` bytes of `size` have arrived; None: the size is unknown."""

    def waiting(self, seconds: float, reason: str) -> None:
        """The next attempt starts in some seconds."""


class Download:
    """Downloads one file into a part file, and its decompressed content into a sink, if there is one."""

    def __init__(
        self,
        match_id: int,
        url: str,
        *,
        part: PartFile,
        sink: PlainFile | None,
        watcher: ProgressObserver,
        retries: int,
        clock: Clock,
    ) -> None:
        """`match_id`: the match that the file must be of; `retries`: in a row, without a new byte."""
        self._match_id = match_id
        self._url = url
        self._name = urlsplit(url).path.rpartition("/")[2]
        self._part = part
        self._sink = sink
        self._watcher = watcher
        self._retries = retries
        self._clock = clock
        self._verifier = ReplayVerifier(match_id)

    @property
    def compression(self) -> str | None:
        """See `ReplayVerifier`."""
        return self._verifier.compression

    async def run(self, *, through_proxy: bool) -> None:
        """Download the whole file; `through_proxy`: use the proxy of the environment, if any.

        Raises:
            NotThere, GaveUp: see these classes.
            BadReplay: the file is bad, also after a second download.
            OSError: the file cannot be written.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S)
        async with aiohttp.ClientSession(
            headers={hdrs.USER_AGENT: AGENT, hdrs.ACCEPT_ENCODING: "identity"},
            auto_decompress=False,
            trust_env=through_proxy,
            timeout=timeout,
        ) as http:
            await self._verify_part_file()
            # The first time the transfer may have damaged it; the second time it is the server's file.
            for is_last in (False, True):
                try:
                    await self._download(http)
                except BadReplay:
                    self._start_over()
                    if is_last:
                        raise
                else:
                    return

    async def _verify_part_file(self) -> None:
        """Verify the bytes of an earlier download, or discard them."""
        origin = self._part.origin
        if origin is None or origin.name != self._name:
            self._start_over()
            return
        try:
            for chunk in self._part.chunks():
                self._unpack(chunk)
                self._watcher.reading(self._part.length)
                await asyncio.sleep(0)  # so that Ctrl-C is handled
        except BadReplay:
            self._start_over()

    async def _download(self, http: aiohttp.ClientSession) -> None:
        failures, wait_s = 0, FIRST_WAIT_S
        while True:
            before = self._part.length
            try:
                await self._attempt(http)
            except _Broke as broke:
                if self._part.length > before:
                    failures, wait_s = 0, FIRST_WAIT_S
                failures += 1
                if failures > self._retries:
                    raise GaveUp(str(broke)) from broke
                self._watcher.waiting(wait_s, str(broke))
                await self._clock.sleep(wait_s)
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)
            else:
                return

    async def _attempt(self, http: aiohttp.ClientSession) -> None:
        try:
            async with http.get(self._url, headers=self._range()) as answer:
                if not self._is_whole(answer):
                    await self._take(answer)
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise _Broke(why(error)) from error
        self._verifier.finish()

    async def _take(self, answer: aiohttp.ClientResponse) -> None:
        size = self._size_by(answer)
        self._watcher.coming(self._part.length, size)
        async for chunk in answer.content.iter_chunked(CHUNK):
            self._part.append(chunk)
            self._unpack(chunk)
            self._watcher.coming(self._part.length, size)

    def _range(self) -> dict[str, str]:
        """Return the headers that request the missing bytes of the same file."""
        if self._part.length == 0:
            return {}
        headers: dict[str, str] = {hdrs.RANGE: f"bytes={self._part.length}-"}
        origin = self._part.origin
        if origin is not None and origin.validator is not None:
            headers[hdrs.IF_RANGE] = origin.validator
        return headers

    def _is_whole(self, answer: aiohttp.ClientResponse) -> bool:
        """Return whether the part file has all bytes of the server's file."""
        whole = f"bytes */{self._part.length}"
        is_behind = answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        return is_behind and answer.headers.get(hdrs.CONTENT_RANGE) == whole

    def _size_by(self, answer: aiohttp.ClientResponse) -> int | None:
        """Return the size of the whole file; start over if the response is not the missing part."""
        match answer.status:
            case HTTPStatus.OK:
                self._start_over(_validator(answer))
                return answer.content_length
            case HTTPStatus.PARTIAL_CONTENT:
                found = _RANGE.fullmatch(answer.headers.get(hdrs.CONTENT_RANGE, ""))
                if found and int(found[1]) == self._part.length:
                    return None if found[2] == "*" else int(found[2])
            case HTTPStatus.NOT_FOUND | HTTPStatus.GONE:
                raise NotThere
            case status if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _BUSY:
                raise _Broke(f"the server says {status}")
            case status if status != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise GaveUp(f"the server says {status}")
        self._start_over()
        raise _Broke("the server's file is another one now")

    def _start_over(self, validator: str | None = None) -> None:
        self._part.restart(Origin(self._name, validator))
        self._verifier = ReplayVerifier(self._match_id)
        if self._sink is not None:
            self._sink.restart()

    def _unpack(self, chunk: bytes) -> None:
        for plain in self._verifier.feed(chunk):
            if self._sink is not None:
                self._sink.write(plain)


def _validator(answer: aiohttp.ClientResponse) -> str | None:
    """Return a validator for If-Range, which must not be a weak ETag (RFC 9110, 13.1.5)."""
    etag = answer.headers.get(hdrs.ETAG, "")
    if etag and not etag.startswith("W/"):
        return etag
    return answer.headers.get(hdrs.LAST_MODIFIED)


def why(error: BaseException) -> str:
    """Return a few words about a failed connection."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "its name is not known"
        case aiohttp.ClientConnectorError(os_error=OSError(errno=int(number))):
            return os.strerror(number).lower()  # asyncio's own text repeats the address
        case TimeoutError():
            return "it takes too long"
        case aiohttp.ClientPayloadError() | aiohttp.ServerDisconnectedError():
            return "the connection broke"
        case OSError(errno=int(number)):
            return os.strerror(number).lower()
        case _:
            return str(error) or type(error).__name__
