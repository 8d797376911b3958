"""The error table: which RequestError becomes which status and word. The words are the API's promise.

Every error body is ``{"error": word, "message": sentence, "retry_after": seconds or null}``; a
``retry_after`` also goes out as the Retry-After header, in whole seconds, rounded up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import orjson
from aiohttp import web

from actors.errors import (
    Busy,
    InvalidMatchId,
    MatchBlocked,
    MatchIdRequired,
    MatchNotFound,
    NotReady,
    QuotaExhausted,
    RateLimited,
    RequestError,
    RequestStoreUnavailable,
    TimedOut,
    Unauthorized,
)

TABLE: Final[Mapping[type[RequestError], tuple[int, str]]] = {
    MatchIdRequired: (400, "match-id-required"),
    InvalidMatchId: (400, "invalid"),
    Unauthorized: (401, "unauthorized"),
    MatchNotFound: (404, "not-found"),
    MatchBlocked: (403, "blocked"),
    RateLimited: (429, "rate-limited"),
    QuotaExhausted: (429, "quota-exhausted"),
    NotReady: (503, "notready"),
    Busy: (503, "busy"),
    RequestStoreUnavailable: (503, "store-unavailable"),
    TimedOut: (504, "timeout"),
}


def error_response(error: RequestError) -> web.Response:
    """Return the response the table has for `error`."""
    status, word = TABLE[type(error)]
    return error_body(status, word, str(error), error.retry_after)


def error_body(
    status: int, word: str, message: str, retry_after: float | None = None
) -> web.Response:
    """Build an error response; `retry_after` in seconds."""
    seconds = None if retry_after is None else max(1, math.ceil(retry_after))
    body = orjson.dumps({"error": word, "message": message, "retry_after": seconds})
    headers = {} if seconds is None else {"Retry-After": str(seconds)}
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)
