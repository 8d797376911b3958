"""The HTTP server as a child of the supervisor: accept, serve, drain."""

from __future__ import annotations

import asyncio
import socket

from aiohttp import web
from structlog.typing import FilteringBoundLogger


class HttpServer:
    """Serves one application on a bound socket until stopped.

    A stop closes the listening socket at once
    and gives running requests `drain_s` seconds.
    """

    def __init__(
        self,
        app: web.Application,
        listener: socket.socket,
        *,
        drain_s: float,
        log: FilteringBoundLogger,
    ) -> None:
        self._listener = listener
        self._log = log.bind(actor="http")
        self._stopping = asyncio.Event()
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=drain_s, handler_cancellation=True
        )

    async def start(self) -> None:
        """Accept connections.

        Raises:
            OSError: somebody else listens on the address.
        """
        await self._runner.setup()
        try:
            await web.SockSite(self._runner, self._listener).start()
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
            await self._runner.cleanup()

    def stop(self) -> None:
        """Take no more connections and let `run` end. Harmless when repeated."""
        self._stopping.set()
