"""Replay server over HTTP.

As at Valve, files of matches since about July 2026 are compressed with zstd and older ones with bzip2,
under the same kind of name. A file that is not uploaded yet, has expired or never existed is 404. Ranges
and If-Range are supported; the switches `replay_*` cause errors.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web

from sandbox.control.faults import Faults
from sandbox.gc.matches import facts
from sandbox.replays.files import FileName, ReplayFiles
from sandbox.steam.context import Context

_NAME: Final = re.compile(r"([0-9]{1,13})_([0-9]{1,10})\.(dem|meta)\.bz2", re.ASCII)
_CHUNK: Final = 64 * 1024
_SLICES_PER_S: Final = 20  # writes per second of a slow answer
_KB: Final = 1000
_MB: Final = 1_000_000
_LAST_MODIFIED: Final = "Mon, 06 Jan 2025 10:00:00 GMT"
_WRONG: Final = bytes(16)
_LONGEST_STALL_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class _Part:
    """The part of a file that an answer has."""

    status: HTTPStatus
    start: int
    body: bytes


@dataclass(frozen=True, slots=True)
class _Pacing:
    """Speed of an answer in bytes per second (None: no limit), and the offset where it stops early."""

    pace: float | None
    limit: float | None
    stalls: bool  # stop sending at the limit instead of closing the connection

    @classmethod
    def from_faults(cls, faults: Faults) -> _Pacing:
        """Return the pacing that the switches ask for."""
        kb_s = faults.take("replay_kb_s")
        stall_kb, break_kb = faults.take("replay_stall_kb"), faults.take("replay_break_kb")
        limit_kb = break_kb if stall_kb is None else stall_kb
        return cls(
            pace=kb_s * _KB if kb_s else None,
            limit=None if limit_kb is None else limit_kb * _KB,
            stalls=stall_kb is not None,
        )


class ReplayServer:
    """Serves the replays of the matches in the catalogue."""

    def __init__(self, context: Context) -> None:
        options = context.options
        self._context = context
        self._files = ReplayFiles(options.seed, int(options.replay_mb * _MB))

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add the route below Dota's app id."""
        router.add_get("/570/{name}", self._on_request)

    async def _on_request(self, request: web.Request) -> web.StreamResponse:
        faults = self._context.faults
        status = faults.take("replay_status")
        name = None if status else self._parse_name(request.match_info["name"])
        if name is None:
            return self._refuse(request, status or HTTPStatus.NOT_FOUND)
        whole = await self._files.read(name)
        if faults.take("replay_truncated"):
            whole = whole[: len(whole) * 2 // 3]
        etag = _etag(name, len(whole))
        if faults.take("replay_corrupt"):
            middle = len(whole) // 2
            whole = whole[:middle] + _WRONG + whole[middle + len(_WRONG) :]
        part = self._part(request, whole, etag)
        if part is None:
            behind: dict[str, str] = {hdrs.CONTENT_RANGE: f"bytes */{len(whole)}"}
            return self._refuse(request, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, behind)
        return await self._send(request, part, _headers(part, len(whole), etag))

    def _parse_name(self, text: str) -> FileName | None:
        """Return the file of a name; None if there is no such file."""
        found = _NAME.fullmatch(text)
        if found is None:
            return None
        match_id, salt = int(found[1]), int(found[2])
        if self._context.catalogue.replay_salt(match_id) != salt:
            return None
        faults = self._context.faults
        usual = "zstd" if facts.played_at(match_id) >= facts.ZSTD_SINCE else "bzip2"
        return FileName(
            match_id,
            salt,
            kind=found[3],
            compression=str(faults.take("replay_compression", usual)),
            content_of=faults.take("replay_content_of", match_id),
            version=faults.take("replay_version", 0),
        )

    def _part(self, request: web.Request, whole: bytes, etag: str) -> _Part | None:
        """Return the requested range; None if it begins after the end."""
        everything = _Part(HTTPStatus.OK, 0, whole)
        if hdrs.RANGE not in request.headers or self._context.faults.take("replay_no_ranges"):
            return everything
        if request.headers.get(hdrs.IF_RANGE, etag) not in {etag, _LAST_MODIFIED}:
            return everything
        try:
            start, end, _ = request.http_range.indices(len(whole))
        except ValueError:
            return None
        if start >= end:
            return None
        return _Part(HTTPStatus.PARTIAL_CONTENT, start, whole[start:end])

    async def _send(
        self, request: web.Request, part: _Part, headers: Mapping[str, str]
    ) -> web.StreamResponse:
        answer = web.StreamResponse(status=part.status, headers=headers)
        answer.content_length = len(part.body)
        sent = 0
        pacing = _Pacing.from_faults(self._context.faults)
        limit = len(part.body) if pacing.limit is None else int(pacing.limit)
        step = _CHUNK if pacing.pace is None else int(pacing.pace / _SLICES_PER_S) or 1
        try:
            await answer.prepare(request)
            while request.method != hdrs.METH_HEAD and sent < min(limit, len(part.body)):
                piece = part.body[sent : min(sent + step, limit)]
                await answer.write(piece)
                sent += len(piece)
                if pacing.pace is not None:
                    await asyncio.sleep(1 / _SLICES_PER_S)
            if limit < len(part.body):
                await _stall(request, _LONGEST_STALL_S if pacing.stalls else 0.0)
        except ConnectionError:
            pass  # the client closed the connection
        finally:
            self._record(request, part.status, part.start, sent)
        return answer

    def _refuse(
        self, request: web.Request, status: int, headers: Mapping[str, str] | None = None
    ) -> web.Response:
        self._record(request, status, 0, 0)
        return web.Response(status=status, headers=headers)

    def _record(self, request: web.Request, status: int, start: int, sent: int) -> None:
        self._context.journal.add(
            "replay_request",
            name=request.match_info["name"],
            method=request.method,
            status=int(status),
            start=start,
            sent=sent,
            source=request.remote,
        )


def _etag(name: FileName, size: int) -> str:
    told = f"{name} {name.version} {size}".encode()
    return f'"{hashlib.sha256(told).hexdigest()[:16]}"'


def _headers(part: _Part, size: int, etag: str) -> dict[str, str]:
    headers: dict[str, str] = {
        hdrs.ACCEPT_RANGES: "bytes",
        hdrs.ETAG: etag,
        hdrs.LAST_MODIFIED: _LAST_MODIFIED,
        hdrs.CONTENT_TYPE: "application/octet-stream",
    }
    if part.status is HTTPStatus.PARTIAL_CONTENT:
        last = part.start + len(part.body) - 1
        headers[hdrs.CONTENT_RANGE] = f"bytes {part.start}-{last}/{size}"
    return headers


async def _stall(request: web.Request, for_s: float) -> None:
    """Send nothing until the client leaves, for at most `for_s` seconds; then close."""
    for _ in range(int(for_s * _SLICES_PER_S)):
        if request.transport is None or request.transport.is_closing():
            return
        await asyncio.sleep(1 / _SLICES_PER_S)
    if request.transport is not None:
        request.transport.close()
