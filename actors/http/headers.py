"""Headers of every response: request ID, traceparent and security headers.

A valid `X-Request-Id` of the client is used; otherwise the service makes one. `traceparent` follows W3C
Trace Context, level 1 (https://www.w3.org/TR/trace-context/, 3.2), and is returned unchanged: the service
opens no spans of its own. A proxy in front of the service adds TLS and HSTS.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Any, Final, overload

from aiohttp import hdrs, web
from multidict import CIMultiDict, istr

from actors.http.auth.clients import Client
from actors.http.content import shows_credential

ID_HEADER: Final = istr("X-Request-Id")
TRACE_HEADER: Final = istr("traceparent")
REQUEST_ID: Final = web.RequestKey("request_id", str)

MAX_LOGGED: Final = 200  # characters of a value that a client sent
_SANE: Final = re.compile(r"[A-Za-z0-9_.:@/+=-]{1,64}")
_TRACEPARENT: Final = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace_id>[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}"
    r"-[0-9a-f]{2}(?P<more>-.*)?"
)

SERVER: Final = "botapi"
POLICY: Final = "Content-Security-Policy"
SECURITY_HEADERS: Final = CIMultiDict(
    {
        hdrs.SERVER: SERVER,  # aiohttp's default names its version and Python's
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        POLICY: "default-src 'none'; frame-ancestors 'none'",
    }
)
# Pages load their scripts and styles from this service; nothing is inline.
PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS: Final = CIMultiDict(
    {POLICY: PAGE_POLICY, "X-Frame-Options": "DENY", "Cross-Origin-Opener-Policy": "same-origin"}
)


def request_id_for(headers: Mapping[str, str]) -> str:
    """Return the ID that the headers of a request contain, if valid, else a new one."""
    shown = headers.get(ID_HEADER)
    return shown if shown is not None and _SANE.fullmatch(shown) else new_request_id()


def request_id_of(request: web.BaseRequest) -> str:
    """Return the ID of `request`; "" before the pipeline has stored it."""
    return str(request.get(REQUEST_ID, ""))


def new_request_id() -> str:
    """Return a new unique ID. It is no secret."""
    return f"{random.getrandbits(64):016x}"


def trace_id_of(request: web.Request) -> str | None:
    """Return the trace ID of `request`, or None if it has no valid traceparent."""
    shown = request.headers.getall(TRACE_HEADER, ())
    found = _TRACEPARENT.fullmatch(shown[0]) if len(shown) == 1 else None
    if found is None or (found["version"] == "00" and found["more"]):  # later versions have more
        return None
    return found["trace_id"]


def log_fields(
    client: Client,
    address: str,
    request_id: str,
    *,
    method: str,
    path: str,
    match_id: str | None,
    status: int,
    took_s: float,
) -> dict[str, Any]:
    """Return the fields of a request's log line; see `loggable` for texts of the client."""
    fields = {
        "method": method,
        "path": path,
        "match_id": match_id,
        "status": status,
        "duration_s": round(took_s, 6),
        "request_id": request_id,
        "address": address,
    }
    # The name of the API key, never the key. Without API keys the name is the address.
    if client.name and client.name != address:
        fields["client"] = client.name
    return fields


@overload
def loggable(text: str) -> str: ...
@overload
def loggable(text: None) -> None: ...
def loggable(text: str | None) -> str | None:
    r"""Return a client's text for a log line: shortened, unprintable characters escaped (ESC: `\x1b`).

    A terminal may show the line.
    """
    if text is None or (text.isascii() and text.isprintable() and len(text) <= MAX_LOGGED):
        return text
    return "".join(one if one.isprintable() else _escaped(one) for one in text[:MAX_LOGGED])


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", errors="backslashreplace").decode()


def complete(request: web.Request, response: web.StreamResponse) -> None:
    """Complete the headers of a response that is not sent yet; existing headers stay."""
    headers = response.headers
    headers[hdrs.SERVER] = SERVER
    headers[ID_HEADER] = request_id_of(request) or new_request_id()
    if TRACE_HEADER in request.headers and trace_id_of(request) is not None:
        headers[TRACE_HEADER] = request.headers[TRACE_HEADER]
    if hdrs.CACHE_CONTROL not in headers and shows_credential(request):
        headers[hdrs.CACHE_CONTROL] = "no-store"
    if response.content_type == "text/html":
        headers.merge(PAGE_HEADERS)
    headers.merge(SECURITY_HEADERS)


async def on_prepare(request: web.Request, response: web.StreamResponse) -> None:
    """Complete a stream, which its route sends; the pipeline completes other responses."""
    if not isinstance(response, web.Response):
        complete(request, response)
