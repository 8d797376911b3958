"""`/docs` and `/openapi.json`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import orjson
from aiohttp import hdrs, web

from actors.http.content import json_response

STATIC: Final = Path(__file__).parents[1] / "static"
# Path -> file name and media type.
FILES: Final[Mapping[str, tuple[str, str]]] = {
    "/docs": ("docs.html", "text/html"),
    "/docs/docs.js": ("docs.js", "text/javascript"),
    "/docs/docs.css": ("docs.css", "text/css"),
}


class DocsRoutes:
    """Serves the OpenAPI document and a page that shows it."""

    def __init__(self, describe: Callable[[], Mapping[str, Any]]) -> None:
        """`describe` returns the document; it is called once, for the first request."""
        self._describe = describe
        self._files = {path: (STATIC / name).read_bytes() for path, (name, _) in FILES.items()}

    def add_to(self, app: web.Application) -> None:
        """Add the routes to an application."""
        app.router.add_get("/openapi.json", self.openapi)
        for path in FILES:
            app.router.add_get(path, self.file)

    async def openapi(self, request: web.Request) -> web.Response:
        """Return the OpenAPI document."""
        return json_response(request, self._document)

    async def file(self, request: web.Request) -> web.Response:
        """Return a file of the page."""
        return web.Response(
            body=self._files[request.path],
            content_type=FILES[request.path][1],
            charset="utf-8",
            headers={hdrs.CACHE_CONTROL: "no-cache"},
        )

    @cached_property
    def _document(self) -> bytes:
        return orjson.dumps(self._describe())
