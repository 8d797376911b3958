"""Content negotiation, gzip, cache headers.

Clients say the same all day, so the last few verdicts are kept.

`max-age` is the whole time for which an answer is good and `Age` how much of it has passed already, as
HTTP has it (RFC 9111, sections 4.2.1 and 5.1): a cache that takes one from the other knows what is left.

All of them lie ready in the answer; nothing is parsed or packed here. Each has an ETag of its own, as
each is a sequence of bytes of its own (RFC 9110, section 8.8.3).
"""

from __future__ import annotations

import functools
import hashlib
import zlib
from collections.abc import MutableMapping, Sequence
from typing import Final, NamedTuple

from aiohttp import hdrs, web
from multidict import CIMultiDict

from actors.http.auth.admission import shows_credential
from actors.matches.match import MatchAnswer, Source

_ANY: Final = "*/*"
_KEPT: Final = 256  # headers of 8 KB at most


@functools.lru_cache(_KEPT)
def accepts_gzip(header: str) -> bool:
    """Whether an Accept-Encoding lists gzip and does not refuse it by ``q=0``."""
    return _weight("gzip", header.lower(), ()) > 0


@functools.lru_cache(_KEPT)
def best_media_type(header: str, offers: tuple[str, ...]) -> str | None:
    """Return the offer that an Accept header likes best, the first of equals, or None."""
    header = header.lower()
    if not header or header == _ANY:
        return offers[0]
    weights = {
        offer: _weight(offer, header, (f"{offer.split('/')[0]}/*", _ANY)) for offer in offers
    }
    best = max(offers, key=weights.__getitem__)
    return best if weights[best] > 0 else None


def _weight(name: str, header: str, wildcards: Sequence[str]) -> float:
    """Return how much `header` likes `name`: what names it counts, else the narrowest wildcard."""
    weights = dict(_items(header))
    for candidate in (name, *wildcards):
        if candidate in weights:
            return weights[candidate]
    return 0.0


def _items(header: str) -> list[tuple[str, float]]:
    """Split into names and weights; a weight that is none counts as 1."""
    items = []
    for item in header.split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        items.append((name, _quality(parameters)))
    return items


def _quality(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return min(1.0, max(0.0, float(parameter[2:])))
            except ValueError:
                return 1.0
    return 1.0


WORTH_COMPRESSING: Final = 1024  # bytes; below that the gzip header eats the gain
LEVEL: Final = 1  # of gzip: most of the gain for a third of level 6's time


def json_response(request: web.Request, body: bytes, *, status: int = 200) -> web.Response:
    """Answer `request` with `body`, which is JSON already."""
    headers: dict[str, str] = {
        hdrs.CONTENT_TYPE: "application/json",
        hdrs.VARY: hdrs.ACCEPT_ENCODING,
    }
    return compressed(request, body, headers, status=status)


def compressed(
    request: web.Request, body: bytes, headers: MutableMapping[str, str], *, status: int = 200
) -> web.Response:
    """Answer `request` with `body`; `headers` become the answer's, and say what it is."""
    if len(body) >= WORTH_COMPRESSING and accepts_gzip(
        request.headers.get(hdrs.ACCEPT_ENCODING, "")
    ):
        packer = zlib.compressobj(LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16)
        body = packer.compress(body) + packer.flush()
        headers[hdrs.CONTENT_ENCODING] = "gzip"
    return web.Response(status=status, body=body, headers=headers)


X_CACHE: Final = "X-Cache"
HIT: Final = "HIT"  # the match was known, to this process or to the fleet
MISS: Final = "MISS"  # the Game Coordinator was asked for it


def add_freshness(
    headers: CIMultiDict[str], request: web.Request, answer: MatchAnswer, now: float
) -> None:
    """Add the headers for `answer` to `request`; `now` in UTC seconds."""
    control = cache_control(answer, shows_credential=shows_credential(request))
    headers[hdrs.CACHE_CONTROL] = control
    headers[hdrs.AGE] = str(age_s(answer, now))
    headers[X_CACHE] = MISS if answer.source is Source.GC else HIT


def cache_control(answer: MatchAnswer, *, shows_credential: bool) -> str:
    """Return who may keep `answer`, and for how long."""
    lifetime = max(0, int(answer.fresh_until - answer.stored_at))
    return f"{'private' if shows_credential else 'public'}, max-age={lifetime}"


def age_s(answer: MatchAnswer, now: float) -> int:
    """Return how long ago the Game Coordinator said so, in whole seconds."""
    return max(0, int(now - answer.stored_at))


JSON: Final = "application/json"
PROTOBUF: Final = "application/x-protobuf"
OFFERS: Final = (JSON, PROTOBUF)
VARY: Final = f"{hdrs.ACCEPT}, {hdrs.ACCEPT_ENCODING}"


class Representation(NamedTuple):
    """Bytes and what a client must know about them."""

    body: bytes
    etag: str  # with its quotes
    head: CIMultiDict[str]  # the headers that say so; not to be changed


def acceptable(accept: str) -> str | None:
    """Return the media type for an Accept header, or None where it accepts none that we have."""
    return best_media_type(accept, OFFERS)


def represent(answer: MatchAnswer, media_type: str, accept_encoding: str) -> Representation:
    """Return `answer` as `media_type`, in a content coding that an Accept-Encoding header lists."""
    if media_type == PROTOBUF:
        digest = hashlib.blake2b(answer.protobuf, digest_size=12).hexdigest()
        etag = f'"{digest}-protobuf"'
        return Representation(answer.protobuf, etag, _head(PROTOBUF, etag))
    if accepts_gzip(accept_encoding):
        etag = f'"{answer.etag}-gzip"'
        return Representation(answer.gzip, etag, _head(JSON, etag, "gzip"))
    etag = f'"{answer.etag}"'
    return Representation(answer.json, etag, _head(JSON, etag))


@functools.lru_cache(1024)  # a match that was requested once is requested again
def _head(media_type: str, etag: str, coding: str | None = None) -> CIMultiDict[str]:
    head = CIMultiDict({hdrs.CONTENT_TYPE: media_type, hdrs.ETAG: etag, hdrs.VARY: VARY})
    if coding is not None:
        head[hdrs.CONTENT_ENCODING] = coding
    return head


def is_known(request: web.Request, etag: str) -> bool:
    """Whether `request` says by If-None-Match that it has this one already."""
    header = request.headers.get(hdrs.IF_NONE_MATCH)
    if header is None:
        return False
    # Weak comparison, as the RFC wants it here; a comma inside a tag is none of ours.
    known = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return etag in known or "*" in known
