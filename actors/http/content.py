"""Content of a response: negotiation, gzip, ETag and cache headers.

A match is available as JSON, as gzipped JSON and as protobuf, each with its own ETag, because each is its
own sequence of bytes (RFC 9110, section 8.8.3). `max-age` is the whole time for which a response is
fresh, and `Age` the part of it that has passed (RFC 9111, sections 4.2.1 and 5.1).
"""

from __future__ import annotations

import functools
from collections.abc import MutableMapping, Sequence
from typing import Final, TypeVar

from aiohttp import hdrs, web
from multidict import CIMultiDict

from actors.http.auth.api_keys import KEY_HEADER, QUERY_KEY, QUERY_KEY_PREFIXES
from actors.http.auth.sessions import COOKIE
from actors.matches.match import MatchAnswer, Source, etag_of, gzipped

# -- negotiation -------------------------------------------------------------------------------------

JSON: Final = "application/json"
PROTOBUF: Final = "application/x-protobuf"
OFFERS: Final = (JSON, PROTOBUF)
_ANY: Final = "*/*"
_CACHED: Final = 256  # clients repeat their headers; a header has at most 8 KB


@functools.lru_cache(_CACHED)
def accepts_gzip(header: str) -> bool:
    """Return whether an Accept-Encoding header lists gzip without ``q=0``."""
    return _weight("gzip", header.lower(), ()) > 0


@functools.lru_cache(_CACHED)
def best_media_type(header: str, offers: tuple[str, ...] = OFFERS) -> str | None:
    """Return the first of the offers that an Accept header prefers, or None if it accepts none."""
    header = header.lower()
    if not header or header == _ANY:
        return offers[0]
    weights = {
        offer: _weight(offer, header, (f"{offer.split('/')[0]}/*", _ANY)) for offer in offers
    }
    best = max(offers, key=weights.__getitem__)
    return best if weights[best] > 0 else None


def _weight(name: str, header: str, wildcards: Sequence[str]) -> float:
    """Return the weight of `name` in `header`: its own, else that of the first wildcard listed."""
    weights = {}
    for item in header.split(","):
        listed, *parameters = (part.strip() for part in item.split(";"))
        weights[listed] = _quality(parameters)
    return next((weights[one] for one in (name, *wildcards) if one in weights), 0.0)


def _quality(parameters: Sequence[str]) -> float:
    """Return the weight among the parameters of an item; an invalid or missing one counts as 1."""
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return min(1.0, max(0.0, float(parameter[2:])))
            except ValueError:
                return 1.0
    return 1.0


# -- responses with content that is made for the request ---------------------------------------------

MIN_COMPRESSED: Final = 1024  # bytes; gzip saves nothing on less


def json_response(request: web.Request, body: bytes, *, status: int = 200) -> web.Response:
    """Return a response to `request` with a body of JSON."""
    headers: dict[str, str] = {hdrs.CONTENT_TYPE: JSON, hdrs.VARY: hdrs.ACCEPT_ENCODING}
    return compressed(request, body, headers, status=status)


def compressed(
    request: web.Request, body: bytes, headers: MutableMapping[str, str], *, status: int = 200
) -> web.Response:
    """Return a response to `request`, gzipped if the client accepts that and it saves something."""
    accepted = request.headers.get(hdrs.ACCEPT_ENCODING, "")
    if len(body) >= MIN_COMPRESSED and accepts_gzip(accepted):
        body = gzipped(body)
        headers[hdrs.CONTENT_ENCODING] = "gzip"
    return web.Response(status=status, body=body, headers=headers)


# -- matches -----------------------------------------------------------------------------------------

R = TypeVar("R", bound=web.StreamResponse)

SOURCE: Final = web.ResponseKey("source", Source)  # where the data came from
X_CACHE: Final = "X-Cache"
HIT: Final = "HIT"  # the process or the fleet had the match
MISS: Final = "MISS"  # the Game Coordinator was asked
VARY: Final = f"{hdrs.ACCEPT}, {hdrs.ACCEPT_ENCODING}"


def content_of(
    answer: MatchAnswer, media_type: str, accept_encoding: str
) -> tuple[bytes, CIMultiDict[str]]:
    """Return `answer` as `media_type` in an accepted content coding, and the headers that say so."""
    if media_type == PROTOBUF:
        etag = f'"{etag_of(answer.protobuf)}-protobuf"'
        headers = {hdrs.CONTENT_TYPE: PROTOBUF, hdrs.ETAG: etag, hdrs.VARY: VARY}
        return answer.protobuf, CIMultiDict(headers)
    if accepts_gzip(accept_encoding):
        return answer.gzip, CIMultiDict(json_headers(answer.etag, "gzip"))
    return answer.json, CIMultiDict(json_headers(answer.etag))


def json_headers(etag: str, coding: str = "") -> dict[str, str]:
    """Return the headers that describe a match as JSON; `etag` without quotes."""
    if not coding:
        return {hdrs.CONTENT_TYPE: JSON, hdrs.ETAG: f'"{etag}"', hdrs.VARY: VARY}
    return json_headers(f"{etag}-{coding}") | {hdrs.CONTENT_ENCODING: coding}


def add_freshness(
    headers: CIMultiDict[str], request: web.Request, answer: MatchAnswer, now: float
) -> None:
    """Add the cache headers of `answer`; `now` in UTC seconds."""
    scope = "private" if shows_credential(request) else "public"
    headers[hdrs.CACHE_CONTROL] = cache_control(scope, answer.stored_at, answer.fresh_until)
    headers[hdrs.AGE] = str(age_s(answer, now))
    headers[X_CACHE] = MISS if answer.source is Source.GC else HIT


def with_source(response: R, source: Source) -> R:
    """Store the source of the data in the response and return the response."""
    response[SOURCE] = source
    return response


def shows_credential(request: web.Request) -> bool:
    """Return whether a request shows a key, a token or a session, valid or not.

    A shared cache must not give the response to another client (RFC 9111, section 3.5, which knows only
    the Authorization header).
    """
    headers = request.headers
    return (
        hdrs.AUTHORIZATION in headers
        or KEY_HEADER in headers
        or (hdrs.COOKIE in headers and COOKIE in request.cookies)
        or (request.path.startswith(QUERY_KEY_PREFIXES) and QUERY_KEY in request.query)
    )


def cache_control(scope: str, stored_at: float, fresh_until: float) -> str:
    """Return the Cache-Control header of a response that is fresh between two instants."""
    return f"{scope}, max-age={max(0, int(fresh_until - stored_at))}"


def age_s(answer: MatchAnswer, now: float) -> int:
    """Return the age of `answer` in whole seconds."""
    return max(0, int(now - answer.stored_at))


def is_not_modified(request: web.Request, etag: str) -> bool:
    """Return whether the If-None-Match header of `request` lists `etag`."""
    header = request.headers.get(hdrs.IF_NONE_MATCH)
    if header is None:
        return False
    # Weak comparison (RFC 9110, section 13.1.2). The service's own tags contain no comma.
    known = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return etag in known or "*" in known
