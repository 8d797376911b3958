"""`/session`, `/events`: the session and the event stream of the page."""

from __future__ import annotations

import contextlib
import functools
from typing import Final

import orjson
from aiohttp import hdrs, web
from pydantic import BaseModel, Field

from actors.clock import Clock, within
from actors.dashboard.dashboard import Dashboard
from actors.dashboard.event_stream import Watcher, event_id
from actors.errors import LocalProtocolError
from actors.http.auth.admin import (
    UNAUTHENTICATED,
    Audit,
    OperatorAuth,
    add_facts,
    foreign_page,
    is_own_page,
)
from actors.http.auth.clients import SLOWED
from actors.http.auth.sessions import SIGN_IN, drop_cookie, set_cookie
from actors.http.content import json_response
from actors.http.errors import error_body, error_response
from actors.http.routes.admin_request import BadInput, body_of


class SignIn(BaseModel):
    """The body of a sign-in."""

    token: str = Field(strict=True, repr=False)


class SessionRoutes:
    """Routes to sign in and out. `operators`: None without an admin token: then no sign-in works."""

    def __init__(self, operators: OperatorAuth | None, audit: Audit, *, is_private: bool) -> None:
        """`is_private`: only operators may watch the page."""
        self._operators = operators
        self._audit = audit
        self._is_private = is_private

    def add_to(self, app: web.Application) -> None:
        """Add the routes to the application."""
        app.router.add_get(SIGN_IN, self.show)
        if self._operators is not None:
            app.router.add_post(SIGN_IN, functools.partial(self.sign_in, self._operators))
            app.router.add_delete(SIGN_IN, functools.partial(self.sign_out, self._operators))

    async def show(self, request: web.Request) -> web.Response:
        """Return whether there is an admin API, and whether this browser is signed in."""
        if self._operators is None:
            return self._answer(request, "no-admin")
        session = self._operators.sessions.of(request)
        if session is None:
            return self._answer(request, "signed-out")
        return self._answer(request, "signed-in", self._operators.sessions.left_s(session))

    async def sign_in(self, operators: OperatorAuth, request: web.Request) -> web.Response:
        """Begin a session with the admin token: `{"token": ...}`."""
        answer = await self._open(operators, request)
        self._audit.write(request, UNAUTHENTICATED, answer)
        return answer

    async def sign_out(self, operators: OperatorAuth, request: web.Request) -> web.Response:
        """End the session of this browser."""
        if not is_own_page(request):
            return foreign_page()
        operator = operators.operator(request)
        operators.sessions.close(request)
        answer = self._answer(request, "signed-out")
        drop_cookie(answer)
        self._audit.write(request, operator or UNAUTHENTICATED, answer)
        return answer

    async def _open(self, operators: OperatorAuth, request: web.Request) -> web.Response:
        if not is_own_page(request):
            return foreign_page()
        if SLOWED in request:
            return error_response(request[SLOWED])
        try:
            token = (await body_of(request, SignIn)).token
        except BadInput as error:
            return error_body(400, "invalid", str(error))
        if not operators.token.matches(token):
            return error_body(401, "unauthorized", "this is not the admin token")
        secret, session = operators.sessions.open()
        add_facts(request, session=session.name)
        answer = self._answer(request, "signed-in", operators.sessions.left_s(session))
        set_cookie(answer, secret, request)
        return answer

    def _answer(
        self, request: web.Request, state: str, left_s: float | None = None
    ) -> web.Response:
        may_watch = state == "signed-in" or not self._is_private
        ends_in = None if left_s is None else round(left_s)
        body = orjson.dumps({"state": state, "may_watch": may_watch, "ends_in": ends_in})
        answer = json_response(request, body)
        answer.headers[hdrs.CACHE_CONTROL] = "no-store"
        return answer


MOST: Final = 100  # streams at once
ASK_S: Final = 10.0  # the first snapshot may wait for Redis
SESSION_OVER: Final = b"event: over\ndata: {}\n\n"  # wait for a sign-in, then reconnect
BEGIN: Final = b"retry: 2000\n\n"  # ms after which a browser comes back
LAST_EVENT_ID: Final = "Last-Event-ID"


class EventsRoute:
    """The event stream: a `snapshot`, then an `update` for each change (docs/api.md).

    A client that reconnects with Last-Event-ID gets the events since then.
    """

    def __init__(
        self,
        dashboard: Dashboard,
        operators: OperatorAuth | None,
        *,
        is_private: bool,
        clock: Clock,
    ) -> None:
        """`operators`, `is_private`: see SessionRoutes; checked at the begin and with every event."""
        self._dashboard = dashboard
        self._operators = operators
        self._is_private = is_private
        self._clock = clock
        self._open: set[Watcher] = set()

    def add_to(self, app: web.Application) -> None:
        """Add the route to the application; when that stops, all streams end."""
        app.router.add_get("/events", self.get, allow_head=False)
        app.on_shutdown.append(self._end_all)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Stream until the client or the service ends it."""
        if not self._may_watch(request):
            return error_body(401, "unauthorized", "sign in at /, or show the admin token")
        if len(self._open) >= MOST:
            return error_body(503, "busy", "too many watch already", 10.0)
        try:
            async with within(self._clock, ASK_S):
                last_seen = event_id(request.headers.get(LAST_EVENT_ID))
                watcher = await self._dashboard.watch(last_seen)
        except (TimeoutError, LocalProtocolError):
            return error_body(503, "unhealthy", "an actor does not answer", 2.0)
        self._open.add(watcher)
        try:
            return await self._stream(request, watcher)
        finally:
            self._open.discard(watcher)
            self._dashboard.unwatch(watcher)

    def _may_watch(self, request: web.Request) -> bool:
        is_operator = self._operators is not None and self._operators.is_operator(request)
        return is_operator or not self._is_private

    async def _stream(self, request: web.Request, watcher: Watcher) -> web.StreamResponse:
        stream = web.StreamResponse(
            headers={
                hdrs.CONTENT_TYPE: "text/event-stream; charset=utf-8",
                hdrs.CACHE_CONTROL: "no-store",
                "X-Accel-Buffering": "no",  # nginx would hold events back
            }
        )
        await stream.prepare(request)
        with contextlib.suppress(ConnectionError):  # the client has disconnected
            await stream.write(BEGIN)
            async for chunk in watcher:
                await stream.write(chunk)
                if not self._may_watch(request):
                    await stream.write(SESSION_OVER)
                    break
        return stream

    async def _end_all(self, _app: web.Application) -> None:
        for watcher in tuple(self._open):
            watcher.end()
