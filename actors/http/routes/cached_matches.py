"""Matches in memory, answered at the top of the pipeline, before the application.

Routing, middlewares and aiohttp's response objects take several times as long as the lookup in memory.
A request that this module does not answer takes the usual way and has caused no effects here.
"""

from __future__ import annotations

import functools
import re
from email.utils import formatdate
from typing import Any, Final

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.abc import AbstractStreamWriter

from actors.clock import Clock
from actors.errors import RequestError
from actors.http.auth.admission import Admission
from actors.http.auth.api_keys import KEY_HEADER
from actors.http.auth.cross_site import SITE
from actors.http.content import (
    HIT,
    JSON,
    X_CACHE,
    accepts_gzip,
    age_s,
    best_media_type,
    cache_control,
    json_headers,
)
from actors.http.headers import (
    ID_HEADER,
    SECURITY_HEADERS,
    TRACE_HEADER,
    log_fields,
    request_id_for,
)
from actors.http.openapi.operations import GET_MATCH, GET_MATCH_DETAILS
from actors.http.routes.match_fetcher import TIMEOUT_HEADER, MatchFetcher
from actors.matches.match import MatchAnswer, Source

OK: Final = 200
_ID_NAME: Final = str(ID_HEADER)  # formatting an `istr` takes a microsecond
_QUERY: Final = "/match-details?match_id="
_TARGET: Final = re.compile(r"(/match-details\?match_id=|/matches/)([1-9][0-9]{0,12})")
# Headers that ask for more than the match, or authenticate otherwise than by an API key of its own.
_NOT_PLAIN: Final = (
    *(hdrs.AUTHORIZATION, hdrs.COOKIE, hdrs.ORIGIN, SITE, TRACE_HEADER, TIMEOUT_HEADER),
    *(hdrs.CACHE_CONTROL, hdrs.IF_NONE_MATCH, hdrs.EXPECT),
    *(hdrs.CONTENT_LENGTH, hdrs.TRANSFER_ENCODING, hdrs.UPGRADE),
)


class CachedMatch:
    """A 200 response that is bytes already, with what the pipeline records of it.

    It has what aiohttp's connection needs of a response. A subclass of `StreamResponse` would make
    objects for headers, cookies and state that it never uses.
    """

    __slots__ = ("_data", "_writer", "keep_alive", "log_fields", "route", "source", "took_s")

    def __init__(
        self, data: bytes, route: str, source: Source, took_s: float, log_fields: dict[str, Any]
    ) -> None:
        """`data`: the head and the body. `took_s`: seconds until it was made."""
        self.route = route
        self.source = source
        self.took_s = took_s
        self.log_fields = log_fields
        self.keep_alive = True  # whether the connection stays open
        self._data = data

    def force_close(self) -> None:
        """Close the connection after this response."""
        self.keep_alive = False

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """Use the connection of `request`."""
        self._writer = request.writer
        return self._writer

    async def write_eof(self) -> None:
        """Send the response."""
        await self._writer.write_eof(self._data)


class CachedMatches:
    """Answers plain requests for matches in memory, as JSON."""

    def __init__(self, admission: Admission, fetcher: MatchFetcher, *, clock: Clock) -> None:
        self._admission = admission
        self._memory = fetcher.memory
        self._fetcher = fetcher
        self._clock = clock

    def answer(self, request: web.Request) -> CachedMatch | None:
        """Return the response, or None if the request takes the usual way."""
        target = _TARGET.fullmatch(request.raw_path)
        if target is None:
            return None
        started, wall = self._clock.now(), self._clock.wall()
        headers, match_id, is_query = request.headers, target[2], target[1] == _QUERY
        answer = self._memory.get(int(match_id), wall)
        if not (
            isinstance(answer, MatchAnswer)
            and request.method == hdrs.METH_GET
            and request.version == HttpVersion11
            and request.keep_alive
            and headers.keys().isdisjoint(_NOT_PLAIN)
        ):
            return None
        media_type = best_media_type(headers.get(hdrs.ACCEPT, ""))
        if media_type != JSON and not (is_query and media_type is None):
            return None
        key, address = headers.get(KEY_HEADER), self._admission.address_of(request)
        try:
            client = self._admission.admit_plain(key, headers.getall(hdrs.HOST, ()), address)
        except RequestError:  # the usual way refuses it
            return None
        self._fetcher.count_cached()
        coding = "gzip" if accepts_gzip(headers.get(hdrs.ACCEPT_ENCODING, "")) else ""
        body = answer.gzip if coding else answer.json
        scope = "public" if key is None else "private"
        head = _head(answer.etag, coding, scope, answer.stored_at, answer.fresh_until)
        request_id = request_id_for(headers)
        data = (
            f"{head}{len(body)}\r\nAge: {age_s(answer, wall)}\r\nDate: {_date(int(wall))}\r\n"
            f"{_ID_NAME}: {request_id}\r\n\r\n"
        ).encode() + body
        route = GET_MATCH_DETAILS.path if is_query else GET_MATCH.path
        took_s = self._clock.now() - started
        fields = log_fields(
            client,
            address,
            request_id,
            method=hdrs.METH_GET,
            path=route if is_query else request.raw_path,
            match_id=match_id,
            status=OK,
            took_s=took_s,
        )
        return CachedMatch(data, route, answer.source, took_s, fields)


@functools.lru_cache(1024)
def _head(etag: str, coding: str, scope: str, stored_at: float, fresh_until: float) -> str:
    """Return the part of a head that responses with the same content share, to "Content-Length: "."""
    headers = {
        **json_headers(etag, coding),
        **SECURITY_HEADERS,
        hdrs.CACHE_CONTROL: cache_control(scope, stored_at, fresh_until),
        X_CACHE: HIT,
    }
    lines = (f"{name}: {value}\r\n" for name, value in headers.items())
    return "".join(("HTTP/1.1 200 OK\r\n", *lines, f"{hdrs.CONTENT_LENGTH}: "))


@functools.lru_cache(1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
