"""The HTTP server as a child of the supervisor: bind, serve, drain."""

from __future__ import annotations

import asyncio

from aiohttp import web
from structlog.typing import FilteringBoundLogger


class HttpServer:
    """Serves one application on one address until stopped.

    `port` 0 takes any free one; `bound_port` tells which. A stop closes the listening socket at once
    and gives running requests `drain_s` seconds.
    """

    def __init__(
        self,
        app: web.Application,
        *,
        host: str,
        port: int,
        drain_s: float,
        log: FilteringBoundLogger,
    ) -> None:
        self._host = host
        self._port = port
        self._log = log.bind(actor="http")
        self._stopping = asyncio.Event()
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=drain_s, handler_cancellation=True
        )
        self.bound_port = port

    async def start(self) -> None:
        """Bind.

        Raises:
            OSError: the address is in use or not ours.
        """
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        try:
            await site.start()
        except OSError:
            await self._runner.cleanup()
            raise
        self.bound_port = self._runner.addresses[0][1]
        self._log.info("http_listening", host=self._host, port=self.bound_port)

    async def run(self) -> None:
        """Serve until stopped, then drain."""
        try:
            await self._stopping.wait()
        finally:
            await self._runner.cleanup()

    def stop(self) -> None:
        """Take no more connections and let `run` end. Harmless when repeated."""
        self._stopping.set()
