"""Request and trace IDs, which name a request in the logs of this service and of the client.

A valid `X-Request-Id` of the client is used; otherwise the service generates one. Every response has it.
`traceparent` is parsed by W3C Trace Context, level 1 (https://www.w3.org/TR/trace-context/, 3.2), and
passed on unchanged: this service opens no spans of its own.
"""

from __future__ import annotations

import random
import re
from typing import Final

from aiohttp import web

HEADER: Final = "X-Request-Id"
TRACE_HEADER: Final = "traceparent"
REQUEST_ID: Final = web.RequestKey("request_id", str)

_SANE: Final = re.compile(r"[A-Za-z0-9_.:@/+=-]{1,64}")
_TRACEPARENT: Final = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace_id>[0-9a-f]{32})-(?P<parent_id>[0-9a-f]{16})-[0-9a-f]{2}"
    r"(?P<more>-.*)?"
)


def name_request(request: web.Request) -> str:
    """Give `request` its id and return it."""
    shown = request.headers.get(HEADER)
    request_id = shown if shown is not None and _SANE.fullmatch(shown) else new_request_id()
    request[REQUEST_ID] = request_id
    return request_id


def request_id_of(request: web.BaseRequest) -> str:
    """Return the id that `request` was given; "" before that."""
    request_id: str = request.get(REQUEST_ID, "")
    return request_id


def new_request_id() -> str:
    """Return a new unique ID; it is no secret."""
    return f"{random.getrandbits(64):016x}"


def trace_id_of(request: web.Request) -> str | None:
    """Return the trace that `request` belongs to, None where it names none by the rules."""
    shown = request.headers.getall(TRACE_HEADER, ())
    return parse_trace_id(shown[0]) if len(shown) == 1 else None


def parse_trace_id(traceparent: str) -> str | None:
    """Return the trace id in a traceparent, None where the header must be ignored."""
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None or found["version"] == "ff":
        return None
    if found["version"] == "00" and found["more"] is not None:  # only later versions have more
        return None
    if not found["trace_id"].strip("0") or not found["parent_id"].strip("0"):
        return None
    return found["trace_id"]
