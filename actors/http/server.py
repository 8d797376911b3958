"""HttpServer and the assembly of the aiohttp application."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from actors.http.auth.admission import Admission
from actors.http.connection import Capacity, Connection, Ready
from actors.http.headers import on_prepare
from actors.http.openapi.document import document
from actors.http.openapi.operation import Routes, add_routes, shortcuts
from actors.http.pipeline import MAX_BODY, Answering, Pipeline, Shortcuts, bodies_first
from actors.http.routes.api_docs import DocsRoutes


@dataclass(frozen=True, slots=True)
class Site:
    """The application, and what need not be looked for in it."""

    app: web.Application
    shortcuts: Shortcuts = field(default_factory=dict)


def make_site(groups: Sequence[Routes], admission: Admission, *, version: str) -> Site:
    """Serve `groups`, and what describes them."""
    app = bare_app(admission)
    operations = tuple(add_routes(app, *groups))
    DocsRoutes(lambda: document(operations, version=version)).add_to(app)
    return Site(app, shortcuts(*groups))


def bare_app(admission: Admission) -> web.Application:
    """Return an application without routes."""
    app = web.Application(middlewares=[bodies_first(admission)], client_max_size=MAX_BODY)
    app.on_response_prepare.append(on_prepare)
    return app


BACKLOG: Final = 512  # connections that the kernel holds while we are busy
# Connections that asyncio accepts in one go. A refused one keeps its file for four turns of the event
# loop, and all of these must fit beside http.connections into the limit of open files.
ACCEPTS: Final = 16


class HttpServer:
    """Serves one application on a bound socket until stopped.

    A stop closes the listening socket at once
    and gives running requests `drain_s` seconds.
    """

    def __init__(
        self,
        site: Site,
        listener: socket.socket,
        *,
        edge: Pipeline,
        capacity: Capacity,
        drain_s: float,
        log: FilteringBoundLogger,
        ready: Ready | None = None,
    ) -> None:
        """`ready`: answers that need no application."""
        self._listener = listener
        self._capacity = capacity
        self._ready = ready
        self._log = log.bind(actor="http")
        self._stopping = asyncio.Event()
        self._edge = edge
        self._shortcuts = site.shortcuts
        self._runner = web.AppRunner(site.app, shutdown_timeout=drain_s, handler_cancellation=True)

    async def start(self) -> None:
        """Accept connections.

        Raises:
            OSError: another process listens on the address.
        """
        await self._runner.setup()
        server = self._server
        # aiohttp types it for any kind of request; an application's are its own.
        application = cast("Answering", server.request_handler)
        server.request_handler = cast("Any", self._edge.around(application, self._shortcuts))
        loop = asyncio.get_running_loop()
        try:
            # Not one of aiohttp's sites: they make connections of aiohttp's own class.
            self._accepting = await loop.create_server(
                self._connection, sock=self._listener, backlog=ACCEPTS
            )
            self._listener.listen(BACKLOG)
        except OSError:
            await self._runner.cleanup()
            raise
        host, port, *_ = self._listener.getsockname()
        self._log.info("http_listening", host=host, port=port)

    async def run(self) -> None:
        """Serve until stopped, then drain."""
        try:
            await self._stopping.wait()
        finally:
            self._accepting.close()
            await self._runner.cleanup()

    def stop(self) -> None:
        """Take no more connections and let `run` end. Harmless when repeated."""
        self._stopping.set()

    @property
    def _server(self) -> web.Server:
        server = self._runner.server
        assert server is not None  # noqa: S101 - for the type checker: it is set up before
        return server

    def _connection(self) -> Connection:
        loop = asyncio.get_running_loop()
        return Connection(self._server, self._capacity, loop=loop, log=self._log, ready=self._ready)
