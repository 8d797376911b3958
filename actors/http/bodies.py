"""Bodies of requests: how large they may be, and how long they may take.

Read before a route is asked, so that each is safe from bodies without end, also those that want none.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from actors.http.admission import Admission

MAX_BODY: Final = 64 * 1024  # bytes
# What may be larger, from operators: a file with ten thousand accounts.
LARGE_BODIES: Final = {"/admin/import": 4 * 1024 * 1024}
BODY_S: Final = 10.0  # for the body to arrive, after the head


def bodies_first(admission: Admission) -> Middleware:
    """Return a middleware that has the body here before a route is asked, which keeps it."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.body_exists:
            most = MAX_BODY
            if request.path in LARGE_BODIES and admission.is_operator(request):
                most = LARGE_BODIES[request.path]
                request = request.clone(client_max_size=most)
            await _read(request, most)
        return await handler(request)

    return middleware


def refuse_lost_body(request: web.Request) -> None:
    """Refuse a request behind which the parser sees the next one, although something else follows.

    llhttp takes a Content-Length of 2**64 - 1 for none, and behind CONNECT comes another protocol.

    Raises:
        HTTPError: the connection ends with its answer, and nothing that follows is read as a request.
    """
    if request.method == hdrs.METH_CONNECT:
        raise web.HTTPBadRequest
    if request.body_exists or hdrs.CONTENT_LENGTH not in request.headers:
        return
    announced = request.content_length or 0
    if announced > MAX_BODY:
        raise web.HTTPRequestEntityTooLarge(MAX_BODY, announced)
    if announced:
        raise web.HTTPBadRequest


async def _read(request: web.Request, most: int) -> None:
    """Raises HTTPError: the body is too large, too slow, packed or broken."""
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
        raise web.HTTPUnsupportedMediaType
    if (announced := request.content_length or 0) > most:
        raise web.HTTPRequestEntityTooLarge(most, announced)
    try:
        async with asyncio.timeout(BODY_S):
            await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    except web.RequestPayloadError:
        raise web.HTTPBadRequest from None
