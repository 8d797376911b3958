"""The aiohttp application: which path is answered by what, and what every answer has in common."""

from __future__ import annotations

from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from structlog.typing import FilteringBoundLogger

from actors.clock import Clock
from actors.http.errors import error_body
from actors.http.match_details import MatchDetailsRoute
from actors.http.status import StatusRoutes

MAX_BODY: Final = 64 * 1024  # bytes; no route of today takes a body
QUIET_PATHS: Final = frozenset({"/healthz", "/readyz", "/status"})  # asked every few seconds


def make_app(
    matches: MatchDetailsRoute,
    status: StatusRoutes,
    *,
    clock: Clock,
    log: FilteringBoundLogger,
) -> web.Application:
    """Put the routes together."""
    app = web.Application(middlewares=[_canonical_line(clock, log)], client_max_size=MAX_BODY)
    app.router.add_get("/match-details", matches.get)
    app.router.add_get("/healthz", status.healthz)
    app.router.add_get("/readyz", status.readyz)
    app.router.add_get("/status", status.status)
    return app


def _canonical_line(clock: Clock, log: FilteringBoundLogger) -> Middleware:
    """One log line per request at its end, and errors of aiohttp in our own form."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        begun = clock.now()
        response = await _answer(request, handler, log)
        level = log.debug if request.path in QUIET_PATHS else log.info
        level(
            "request_answered",
            method=request.method,
            path=request.path,
            match_id=request.query.get("match_id"),
            status=response.status,
            duration_s=round(clock.now() - begun, 6),
        )
        return response

    return middleware


async def _answer(
    request: web.Request, handler: Handler, log: FilteringBoundLogger
) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as refusal:
        word = refusal.reason.lower().replace(" ", "-")
        answer = error_body(refusal.status, word, f"{request.method} {request.path}: {word}")
        if "Allow" in refusal.headers:
            answer.headers["Allow"] = refusal.headers["Allow"]
        return answer
    except Exception:  # the boundary of one request: a bug here must not look like silence
        log.exception("request_crashed", method=request.method, path=request.path)
        return error_body(500, "internal", "a bug in the service; the log has the details")
