"""Files of the pages: `/` and `/page/...` for the fleet, `/docs` for the API.

The pages load nothing from other hosts and contain no inline script or style; their headers make the
browser enforce that. So a script in a name or an error message is shown as text and never runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import hdrs, web

from actors.http.headers import PAGE_HEADERS
from actors.matches.match import etag_of

PAGE: Final = Path(__file__).parents[1] / "page"
DOCS: Final = Path(__file__).parents[1] / "static"
DOCS_FILES: Final[Mapping[str, str]] = {
    "/docs": "docs.html",
    "/docs/docs.js": "docs.js",
    "/docs/docs.css": "docs.css",
}
TYPES: Final[Mapping[str, str]] = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    type: str
    etag: str


class PageRoutes:
    """Serves the files of the pages from memory."""

    def __init__(self) -> None:
        paths = {f"/page/{file.name}": file for file in PAGE.iterdir() if file.suffix in TYPES}
        paths |= {path: DOCS / name for path, name in DOCS_FILES.items()}
        self._files = {path: _read(file) for path, file in paths.items()}
        self._files["/"] = self._files["/page/index.html"]

    def add_to(self, app: web.Application) -> None:
        """Add the routes to the application."""
        for path in ("/", "/page/{name}", *DOCS_FILES):
            app.router.add_get(path, self.get)

    async def get(self, request: web.Request) -> web.Response:
        """Return a file, unless the browser has it."""
        file = self._files.get(request.path)
        if file is None:
            raise web.HTTPNotFound
        if any(etag.value == file.etag for etag in request.if_none_match or ()):
            answer = web.Response(status=304)
        else:
            answer = web.Response(body=file.content, content_type=file.type, charset="utf-8")
            answer.enable_compression()
        answer.etag = file.etag
        # The browser revalidates every file: all must be of one version.
        answer.headers[hdrs.CACHE_CONTROL] = "no-cache"
        if file.type == "text/html":  # also a 304: its headers replace those in the browser's cache
            answer.headers.extend(PAGE_HEADERS)
        return answer


def _read(file: Path) -> _File:
    content = file.read_bytes()
    return _File(content, TYPES[file.suffix], etag_of(content))
