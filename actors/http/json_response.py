"""JSON bytes, or others, as an HTTP response, compressed where the client likes that and it pays."""

from __future__ import annotations

import zlib
from collections.abc import MutableMapping
from typing import Final

from aiohttp import hdrs, web

from actors.http.accept import accepts_gzip

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
