"""HTTP server: assembles the aiohttp application and serves it on a bound socket."""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import Sequence
from typing import Any, Final, cast

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler
from structlog.typing import FilteringBoundLogger

from actors.http.auth.admission import Admission
from actors.http.connection import Capacity, HttpConnection
from actors.http.content import json_response
from actors.http.headers import on_prepare
from actors.http.openapi.document import document
from actors.http.openapi.operation import Operation, Routes, add_routes
from actors.http.pipeline import MAX_BODY, Pipeline, RequestHandler, body_reader
from actors.http.routes.admin import PREFIX, AdminRoutes

BACKLOG: Final = 512  # connections that the kernel queues
# Connections that asyncio accepts at once. A refused connection keeps its file descriptor for four
# iterations of the event loop; all of these must fit into the limit of open files beside
# http.connections.
ACCEPTS: Final = 16


def make_app(
    groups: Sequence[Routes],
    admission: Admission,
    *,
    version: str,
    admin: AdminRoutes | None = None,
) -> web.Application:
    """Return an application that serves these routes and their OpenAPI document for that `version`."""
    app = web.Application(middlewares=[body_reader(admission)], client_max_size=MAX_BODY)
    app.on_response_prepare.append(on_prepare)
    operations = [*add_routes(app, *groups)]
    if admin is not None:
        admin_app = web.Application(middlewares=[admin.operators_only])
        operations += add_routes(admin_app, admin, prefix=PREFIX)
        app.add_subapp(PREFIX, admin_app)
    app.router.add_get("/openapi.json", _document_route(operations, version))
    return app


def _document_route(operations: Sequence[Operation], version: str) -> Handler:
    """Return a handler that returns the OpenAPI document; it is made for the first request."""

    @functools.cache
    def body() -> bytes:
        return orjson.dumps(document(operations, version=version))

    async def answer(request: web.Request) -> web.StreamResponse:
        return json_response(request, body())

    return answer


class HttpServer:
    """Serves one application; a stop gives running requests `drain_s` seconds."""

    def __init__(
        self,
        app: web.Application,
        listener: socket.socket,
        *,
        pipeline: Pipeline,
        capacity: Capacity,
        drain_s: float,
        log: FilteringBoundLogger,
    ) -> None:
        self._listener = listener
        self._pipeline = pipeline
        self._capacity = capacity
        self._log = log.bind(actor="http")
        self._stopping = asyncio.Event()
        self._runner = web.AppRunner(app, shutdown_timeout=drain_s, handler_cancellation=True)

    async def start(self) -> None:
        """Accept connections.

        Raises:
            OSError: another process listens on the address.
        """
        await self._runner.setup()
        server = self._runner.server
        assert server is not None  # noqa: S101 - for the type checker: `setup` has made it
        # aiohttp types the handler for BaseRequest; an application's server makes web.Request.
        application = cast("RequestHandler", server.request_handler)
        server.request_handler = cast("Any", self._pipeline.wrap(application))
        loop = asyncio.get_running_loop()
        try:
            # Not one of aiohttp's sites: their connections are of aiohttp's own class.
            self._accepting = await loop.create_server(
                functools.partial(HttpConnection, server, self._capacity, loop=loop, log=self._log),
                sock=self._listener,
                backlog=ACCEPTS,
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
        """Accept no more connections and let `run` end. Idempotent."""
        self._stopping.set()
