"""Request pipeline: admits a request, limits its body, gets a response, completes and records it.

The pipeline is the request handler of aiohttp's low-level server. It answers matches in memory itself,
because routing and middlewares take as long as such a response; the application answers the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from structlog.typing import FilteringBoundLogger

from actors.clock import Clock
from actors.errors import RequestError
from actors.http.auth.admission import Admission
from actors.http.auth.api_keys import QUERY_KEY_PREFIXES
from actors.http.auth.clients import ADDRESS, ANONYMOUS, Client
from actors.http.content import SOURCE
from actors.http.errors import ERROR, error_response, protocol_error
from actors.http.headers import (
    REQUEST_ID,
    TRACE_HEADER,
    complete,
    log_fields,
    loggable,
    request_id_for,
    request_id_of,
    trace_id_of,
)
from actors.http.metrics import HttpMetrics
from actors.http.routes.cached_matches import OK, CachedMatch, CachedMatches
from actors.http.routes.retriever import refusal
from actors.metrics import contained

MAX_BODY: Final = 64 * 1024  # bytes
LARGE_BODIES: Final = {"/admin/import": 4 * 1024 * 1024}  # bytes, for operators only
BODY_S: Final = 10.0  # from the end of the head to the end of the body

QUIET_PATHS: Final = frozenset({"/healthz", "/readyz", "/status", "/metrics"})  # logged at debug
MATCH_PREFIXES: Final = ("/matches/", "/replays/", "/match/")  # a match ID follows

RequestHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Pipeline:
    """Wraps an application's request handler."""

    def __init__(
        self,
        admission: Admission,
        cached: CachedMatches | None = None,
        *,
        clock: Clock,
        log: FilteringBoundLogger,
        record: Callable[[str, dict[str, Any]], None],
        metrics: HttpMetrics,
    ) -> None:
        """`cached` answers matches before the application is asked; `log` is for crashes.

        `record` writes the log line of a request, of a level and with fields that it may change.
        """
        self._admission = admission
        self._cached = cached
        self._now = clock.now
        self._log = log.bind(actor="http")
        self._record = record
        self._metrics = metrics
        self._note = contained(self._note_routed, "requests", log=self._log)
        self._note_cached = contained(self._note_cached_match, "requests", log=self._log)

    def wrap(self, application: RequestHandler) -> RequestHandler:
        """Return a handler of every request, which delegates to `application`."""

        async def handle(request: web.Request) -> web.StreamResponse:
            cached = None if self._cached is None else self._cached.answer(request)
            if cached is not None:
                self._note_cached(cached)
                return cast("web.StreamResponse", cached)
            started = self._now()
            request[REQUEST_ID] = request_id_for(request.headers)
            address = request[ADDRESS] = self._admission.address_of(request)
            client, is_routed = ANONYMOUS, False
            response: web.StreamResponse
            try:
                refuse_lost_body(request)
                client = self._admission.admit(request, address)
                is_routed = True
                response = await application(request)
            except Exception as error:  # noqa: BLE001 - the boundary of one request
                response = self._error_response(request, error)
            self._admission.note_response(request, response.status, address)
            if not response.prepared:
                complete(request, response)
            resource = request.match_info.route.resource if is_routed else None
            route = None if resource is None else resource.canonical
            self._note(request, response, client, route, self._now() - started)
            return response

        return handle

    def _note_routed(
        self,
        request: web.Request,
        response: web.StreamResponse,
        client: Client,
        route: str | None,
        took_s: float,
    ) -> None:
        error, source = response.get(ERROR), response.get(SOURCE)
        self._metrics.observe(route, response.status, took_s, error, source)
        match_id = _match_id(request)
        fields = log_fields(
            client,
            request[ADDRESS],
            request_id_of(request),
            method=request.method,
            path=loggable(request.path),
            match_id=loggable(match_id),
            status=response.status,
            took_s=took_s,
        )
        if TRACE_HEADER in request.headers and (trace_id := trace_id_of(request)):
            fields["trace_id"] = trace_id
        self._record("debug" if request.path in QUIET_PATHS else "info", fields)

    def _note_cached_match(self, response: CachedMatch) -> None:
        self._metrics.observe(response.route, OK, response.took_s, None, response.source)
        self._record("info", response.log_fields)

    def _error_response(self, request: web.Request, error: Exception) -> web.Response:
        """Return the response to a request that raised `error`.

        Raises:
            Exception: `error`, if the client has disconnected or it is a redirect.
        """
        if isinstance(error, RequestError):
            is_retriever = request.path.startswith(QUERY_KEY_PREFIXES)
            return refusal(error) if is_retriever else error_response(error)
        if isinstance(error, web.HTTPError):
            response = protocol_error(error.status)
            if hdrs.ALLOW in error.headers:
                response.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
            return response
        if isinstance(error, web.HTTPException | ConnectionError):
            raise error
        self._log.exception(
            "request_crashed", request_id=request_id_of(request), path=loggable(request.path)
        )
        return protocol_error(500)


def _match_id(request: web.Request) -> str | None:
    match_id = request.query.get("match_id") if request.query_string else None
    if match_id is None and request.path.startswith(MATCH_PREFIXES):
        return request.path.rpartition("/")[2]
    return match_id


# -- request bodies ----------------------------------------------------------------------------------


def body_reader(admission: Admission) -> Middleware:
    """Return a middleware that reads the body before a route runs; `request.read()` returns it."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.body_exists:
            limit = MAX_BODY
            if request.path in LARGE_BODIES and admission.is_operator(request):
                limit = LARGE_BODIES[request.path]
                request = request.clone(client_max_size=limit)
            await _read(request, limit)
        return await handler(request)

    return middleware


def refuse_lost_body(request: web.Request) -> None:
    """Refuse a request whose body aiohttp's parser would read as the next request.

    llhttp takes a Content-Length of 2**64 - 1 for no body; after CONNECT, another protocol follows.

    Raises:
        HTTPError: the connection closes after its response.
    """
    if request.method == hdrs.METH_CONNECT:
        raise web.HTTPBadRequest
    announced = 0 if request.body_exists else request.content_length or 0
    if announced > MAX_BODY:
        raise web.HTTPRequestEntityTooLarge(MAX_BODY, announced)
    if announced:
        raise web.HTTPBadRequest


async def _read(request: web.Request, limit: int) -> None:
    """Read a body of at most `limit` bytes.

    Raises:
        HTTPError: the body is too large, too slow, compressed or malformed.
    """
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
        raise web.HTTPUnsupportedMediaType
    if (announced := request.content_length or 0) > limit:
        raise web.HTTPRequestEntityTooLarge(limit, announced)
    try:
        async with asyncio.timeout(BODY_S):
            await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    except web.RequestPayloadError:
        raise web.HTTPBadRequest from None
