"""Request id, traceparent and security headers.

A valid `X-Request-Id` of the client is used; otherwise the service generates one. Every response has it.
`traceparent` is parsed by W3C Trace Context, level 1 (https://www.w3.org/TR/trace-context/, 3.2), and
passed on unchanged: this service opens no spans of its own.

The policy for answers that are no pages allows nothing: shown in a browser, they load and run nothing and
stand in no frame. Encryption is the business of a proxy in front, and so is HSTS.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Final

from aiohttp import hdrs, web
from multidict import CIMultiDict, istr

from actors.http.auth.credentials import shows_credential

ID_HEADER: Final = istr("X-Request-Id")
TRACE_HEADER: Final = istr("traceparent")
REQUEST_ID: Final = web.RequestKey("request_id", str)

_SANE: Final = re.compile(r"[A-Za-z0-9_.:@/+=-]{1,64}")
_TRACEPARENT: Final = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace_id>[0-9a-f]{32})-(?P<parent_id>[0-9a-f]{16})-[0-9a-f]{2}"
    r"(?P<more>-.*)?"
)


def name_request(request: web.Request) -> str:
    """Give `request` its id and return it."""
    request_id = request[REQUEST_ID] = request_id_for(request.headers)
    return request_id


def request_id_for(headers: Mapping[str, str]) -> str:
    """Return the ID that the headers of a request contain, if valid, else a new one."""
    shown = headers.get(ID_HEADER)
    return shown if shown is not None and _SANE.fullmatch(shown) else new_request_id()


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


SERVER: Final = "botapi"
POLICY: Final = "Content-Security-Policy"
SECURITY_HEADERS: Final = CIMultiDict(
    {
        hdrs.SERVER: SERVER,  # aiohttp would name its own version and Python's
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        POLICY: "default-src 'none'; frame-ancestors 'none'",
    }
)
# Pages bring their scripts and styles as files of ours; nothing stands inline.
PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS: Final = CIMultiDict(
    {
        POLICY: PAGE_POLICY,
        "X-Frame-Options": "DENY",
        "Cross-Origin-Opener-Policy": "same-origin",
    }
)


def complete(request: web.Request, response: web.StreamResponse) -> None:
    """Complete the headers of an answer that is not sent yet."""
    headers = response.headers
    headers[hdrs.SERVER] = SERVER
    headers[ID_HEADER] = request_id_of(request) or new_request_id()
    if TRACE_HEADER in request.headers and trace_id_of(request) is not None:
        headers[TRACE_HEADER] = request.headers[TRACE_HEADER]
    # What a route says of its answer stays: pages may be kept, matches for their client alone.
    if hdrs.CACHE_CONTROL not in headers and shows_credential(request):
        headers[hdrs.CACHE_CONTROL] = "no-store"
    # What is there already stays. `merge` does that for all of them for the price of one by hand.
    if response.content_type == "text/html":
        headers.merge(PAGE_HEADERS)
    headers.merge(SECURITY_HEADERS)


async def on_prepare(request: web.Request, response: web.StreamResponse) -> None:
    """Complete a stream, which a route begins to send by itself; the edge completes all else."""
    if not isinstance(response, web.Response):
        complete(request, response)
