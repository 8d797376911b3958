"""`GET /` and `/page/...`: the page and its files, as they are in `page/`.

The page loads nothing from other hosts and contains no inline script or style; the headers of
`security_headers` make the browser enforce that. So a script that an attacker puts into a name or an
error message is shown as text and never runs.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import Final

from aiohttp import hdrs, web

from actors.http.security_headers import PAGE_HEADERS

INDEX: Final = "index.html"
TYPES: Final = {
    "html": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    type: str
    etag: str


class PageRoutes:
    """Serves the files from memory; there are few."""

    def __init__(self) -> None:
        folder = resources.files("actors.http") / "page"
        self._files = {
            one.name: _read(one.name, one.read_bytes())
            for one in folder.iterdir()
            if one.name.rpartition(".")[2] in TYPES
        }

    def add_to(self, app: web.Application) -> None:
        """Put the routes into the application."""
        app.router.add_get("/", self.index)
        app.router.add_get("/page/{name}", self.file)

    async def index(self, request: web.Request) -> web.Response:
        """The page itself."""
        return _answer(request, self._files[INDEX])

    async def file(self, request: web.Request) -> web.Response:
        """One of the files that it needs."""
        found = self._files.get(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound
        return _answer(request, found)


def _read(name: str, content: bytes) -> _File:
    kind = TYPES[name.rpartition(".")[2]]
    return _File(content, kind, hashlib.blake2b(content, digest_size=12).hexdigest())


def _answer(request: web.Request, file: _File) -> web.Response:
    seen = request.if_none_match or ()
    if any(etag.value == file.etag for etag in seen):
        answer = web.Response(status=304)
    else:
        answer = web.Response(body=file.content, content_type=file.type, charset="utf-8")
        answer.enable_compression()
    answer.etag = file.etag
    # Asked for every time: a page of another version than the service is trouble.
    answer.headers[hdrs.CACHE_CONTROL] = "no-cache"
    if (
        file.type == "text/html"
    ):  # a 304 is none, but what it says replaces what the browser has kept
        answer.headers.extend(PAGE_HEADERS)
    return answer
