"""Error -> status table, and responses with errors.

Every error body is ``{"error": word, "message": sentence, "retry_after": seconds or null}``. The
Retry-After header equals ``retry_after``: whole seconds, rounded up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import orjson
from aiohttp import web

from actors.errors import (
    Busy,
    ForeignHost,
    ForeignPage,
    InvalidMatchId,
    InvalidRequest,
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
    Unusable,
)

ERROR: Final = web.ResponseKey("error", str)  # the error word
TABLE: Final[Mapping[type[RequestError], tuple[int, str]]] = {
    MatchIdRequired: (400, "match-id-required"),
    InvalidMatchId: (400, "invalid"),
    InvalidRequest: (400, "invalid"),
    Unauthorized: (401, "unauthorized"),
    ForeignPage: (403, "foreign-page"),
    ForeignHost: (403, "foreign-host"),
    MatchNotFound: (404, "not-found"),
    MatchBlocked: (403, "blocked"),
    RateLimited: (429, "rate-limited"),
    Unusable: (502, "unusable"),
    QuotaExhausted: (429, "quota-exhausted"),
    NotReady: (503, "notready"),
    Busy: (503, "busy"),
    RequestStoreUnavailable: (503, "store-unavailable"),
    TimedOut: (504, "timeout"),
}

# Errors of the HTTP protocol. Python's own phrases differ between versions.
PROTOCOL: Final[Mapping[int, tuple[str, str]]] = {
    400: ("bad-request", "this is not valid HTTP (RFC 9112)"),
    404: ("not-found", "there is nothing at this path"),
    405: (
        "method-not-allowed",
        "this path does not support the method; the Allow header lists those that it supports",
    ),
    408: ("request-timeout", "the request took too long to arrive"),
    413: ("too-large", "the body is too large"),
    415: ("unsupported-media-type", "send the body without a Content-Encoding"),
    417: ("expectation-failed", "the only supported expectation is 100-continue"),
    431: ("headers-too-large", "the request line or the headers are too long, or too many"),
    500: ("internal", "a bug in the service; the log has the details"),
}
# Bytes that follow on the connection may belong to the refused request.
CLOSING: Final = frozenset({400, 408, 413, 431})


def error_response(error: RequestError) -> web.Response:
    """Return the response for `error`."""
    status, word = TABLE[type(error)]
    response = error_body(status, word, str(error), error.retry_after)
    if isinstance(error, Unauthorized):
        response.headers["WWW-Authenticate"] = "Bearer"  # required by RFC 9110, section 11.6.1
    return response


def protocol_error(status: int) -> web.Response:
    """Return the response for an error of the HTTP protocol."""
    word, message = PROTOCOL.get(status, (f"status-{status}", "see the status"))
    response = error_body(status, word, message)
    if status in CLOSING:
        response.force_close()
    return response


def error_body(
    status: int, word: str, message: str, retry_after: float | None = None
) -> web.Response:
    """Return a response with an error; `retry_after` in seconds."""
    row = error_row(word, message, retry_after)
    seconds = row["retry_after"]
    headers = {} if seconds is None else {"Retry-After": str(seconds)}
    response = web.Response(
        status=status, body=orjson.dumps(row), content_type="application/json", headers=headers
    )
    response[ERROR] = word
    return response


def error_row(word: str, message: str, retry_after: float | None = None) -> dict[str, Any]:
    """Return the fields of an error; `retry_after` in seconds."""
    seconds = None if retry_after is None else max(1, math.ceil(retry_after))
    return {"error": word, "message": message, "retry_after": seconds}
