"""The headers that every answer has, put on in one place; what a route has set itself stays.

The policy for answers that are no pages allows nothing: shown in a browser, they load and run nothing and
stand in no frame. Encryption is the business of a proxy in front, and so is HSTS.
"""

from __future__ import annotations

from typing import Final

from aiohttp import hdrs, web
from multidict import CIMultiDict

from actors.http.admission import shows_credential
from actors.http.request_ids import HEADER as ID_HEADER
from actors.http.request_ids import TRACE_HEADER, new_request_id, request_id_of, trace_id_of

SERVER: Final = "botapi"
POLICY: Final = "Content-Security-Policy"
HEADERS: Final = CIMultiDict(
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
    headers.merge(HEADERS)


async def on_prepare(request: web.Request, response: web.StreamResponse) -> None:
    """Complete a stream, which a route begins to send by itself; the edge completes all else."""
    if not isinstance(response, web.Response):
        complete(request, response)
