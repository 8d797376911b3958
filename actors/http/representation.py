"""One match in the form that a client likes: JSON, JSON gzipped, or the bytes of the Game Coordinator.

All of them lie ready in the answer; nothing is parsed or packed here. Each has an ETag of its own, as
each is a sequence of bytes of its own (RFC 9110, section 8.8.3).
"""

from __future__ import annotations

import functools
import hashlib
from typing import Final, NamedTuple

from aiohttp import hdrs, web
from multidict import CIMultiDict

from actors.http.accept import accepts_gzip, best_media_type
from actors.matches.answer import MatchAnswer

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
