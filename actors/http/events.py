"""`GET /events`: everything the page shows, live, as server-sent events.

`snapshot` has the whole, `update` what changed since; both are JSON objects (docs/api.md). A client that
reconnects with Last-Event-ID gets what it missed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final

from aiohttp import hdrs, web

from actors.actor import Address
from actors.clock import Clock
from actors.errors import LocalProtocolError
from actors.feed import Watching, event_id
from actors.http.errors import error_body
from actors.lookout import LookoutMessage, Unwatch, Watch

MOST: Final = 100  # streams at once
ASK_S: Final = 10.0  # the first picture may have to wait for Redis
SESSION_OVER: Final = b"event: over\ndata: {}\n\n"  # wait for a sign-in, then reconnect
BEGIN: Final = b"retry: 2000\n\n"  # ms after which a browser comes back
LAST_EVENT_ID: Final = "Last-Event-ID"


class EventsRoute:
    """`may_watch`: asked when a stream begins, and with every event."""

    def __init__(
        self,
        lookout: Address[LookoutMessage],
        may_watch: Callable[[web.Request], bool],
        *,
        clock: Clock,
    ) -> None:
        self._lookout = lookout
        self._may_watch = may_watch
        self._clock = clock
        self._open: set[Watching] = set()

    def add_to(self, app: web.Application) -> None:
        """Put the route into the application; when that stops, all streams end."""
        app.router.add_get("/events", self.get, allow_head=False)
        app.on_shutdown.append(self._end_all)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Stream until one of the two sides has enough."""
        if not self._may_watch(request):
            return error_body(401, "unauthorized", "sign in at /, or show the admin token")
        if len(self._open) >= MOST:
            return error_body(503, "busy", "too many watch already", 10.0)
        try:
            watch = Watch(event_id(request.headers.get(LAST_EVENT_ID)))
            watching = await self._lookout.ask(watch, deadline=self._clock.now() + ASK_S)
        except (TimeoutError, LocalProtocolError):
            return error_body(503, "unhealthy", "an actor does not answer", 2.0)
        self._open.add(watching)
        try:
            return await self._stream(request, watching)
        finally:
            self._open.discard(watching)
            watching.end()
            with contextlib.suppress(LocalProtocolError):
                self._lookout.tell(Unwatch(watching))

    async def _stream(self, request: web.Request, watching: Watching) -> web.StreamResponse:
        stream = web.StreamResponse(
            headers={
                hdrs.CONTENT_TYPE: "text/event-stream; charset=utf-8",
                hdrs.CACHE_CONTROL: "no-store",
                "X-Accel-Buffering": "no",  # nginx would hold events back
            }
        )
        await stream.prepare(request)
        with contextlib.suppress(ConnectionError):  # they have left
            await stream.write(BEGIN)
            async for chunk in watching:
                await stream.write(chunk)
                if not self._may_watch(request):
                    await stream.write(SESSION_OVER)
                    break
        return stream

    async def _end_all(self, _app: web.Application) -> None:
        for watching in tuple(self._open):
            watching.end()
