"""Wraps every request: admit, limit the body, answer, record.

Read before a route is asked, so that each is safe from bodies without end, also those that want none.

Around the application, and not a middleware in it: all that aiohttp does to find a route takes as long as
an answer from memory. What is asked for all the time is found here, by its name alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from structlog.typing import FilteringBoundLogger

from actors.clock import Clock
from actors.errors import RequestError
from actors.http.auth.admission import QUERY_KEY_PREFIXES, Admission
from actors.http.auth.clients import ANONYMOUS, Client
from actors.http.errors import error_response, protocol_error
from actors.http.headers import TRACE_HEADER, complete, name_request, request_id_of, trace_id_of
from actors.http.outcome import Count, Outcome, Record, outcome_of, request_facts, short
from actors.http.routes.retriever import refusal
from actors.metrics import contained

MAX_BODY: Final = 64 * 1024  # bytes
# What may be larger, from operators: a file with ten thousand accounts.
LARGE_BODIES: Final = {"/admin/import": 4 * 1024 * 1024}
BODY_S: Final = 10.0  # for the body to arrive, after the head


def bodies_first(admission: Admission) -> Middleware:
    """Return a middleware that has the body here before a route is asked, which keeps it."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.body_exists:
            most = MAX_BODY
            if request.path in LARGE_BODIES and admission.is_operator(request):
                most = LARGE_BODIES[request.path]
                request = request.clone(client_max_size=most)
            await _read(request, most)
        return await handler(request)

    return middleware


def refuse_lost_body(request: web.Request) -> None:
    """Refuse a request behind which the parser sees the next one, although something else follows.

    llhttp takes a Content-Length of 2**64 - 1 for none, and behind CONNECT comes another protocol.

    Raises:
        HTTPError: the connection ends with its answer, and nothing that follows is read as a request.
    """
    if request.method == hdrs.METH_CONNECT:
        raise web.HTTPBadRequest
    if request.body_exists or hdrs.CONTENT_LENGTH not in request.headers:
        return
    announced = request.content_length or 0
    if announced > MAX_BODY:
        raise web.HTTPRequestEntityTooLarge(MAX_BODY, announced)
    if announced:
        raise web.HTTPBadRequest


async def _read(request: web.Request, most: int) -> None:
    """Raises HTTPError: the body is too large, too slow, packed or broken."""
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
        raise web.HTTPUnsupportedMediaType
    if (announced := request.content_length or 0) > most:
        raise web.HTTPRequestEntityTooLarge(most, announced)
    try:
        async with asyncio.timeout(BODY_S):
            await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    except web.RequestPayloadError:
        raise web.HTTPBadRequest from None


Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]
Shortcuts = Mapping[tuple[str, str], Answering]  # by method and path

QUIET_PATHS: Final = frozenset({"/healthz", "/readyz", "/status", "/metrics"})  # asked often
BY_PATH: Final = ("/matches/", "/replays/", "/match/")  # then a match's id


class Pipeline:
    """Wraps the application's request handler. It lives as long as its server."""

    def __init__(
        self,
        admission: Admission,
        *,
        clock: Clock,
        log: FilteringBoundLogger,
        record: Record | None = None,
        count: Count | None = None,
    ) -> None:
        """`record` writes a request's line, if that goes another way than `log`."""
        self._admission = admission
        self._now = clock.now
        self._log = log.bind(actor="http")
        self._record = record or self._record_by_log
        self._count = count
        self._note = contained(self._note_request, "requests", log=self._log)

    def around(self, application: Answering, shortcuts: Shortcuts) -> Answering:
        """Return what answers requests: `shortcuts` where one fits, else `application`."""

        async def answer(request: web.Request) -> web.StreamResponse:
            begun = self._now()
            request_id = name_request(request)
            address = self._admission.address_of(request)
            client, route, is_routed = ANONYMOUS, None, False
            try:
                refuse_lost_body(request)
                client = self._admission.admit(request, address)
                shortcut = shortcuts.get((request.method, request.path))
                if shortcut is not None and not request.body_exists:
                    route = request.path
                    response = await shortcut(request)
                else:
                    is_routed = True
                    response = await application(request)
            except Exception as error:  # noqa: BLE001 - the boundary of one request
                response = self._instead(request, error)
            if is_routed:  # also when it was refused there
                route = _route_of(request)
            self._admission.note_answer(request, response.status, address)
            if not response.prepared:
                complete(request, response)
            took_s = self._now() - begun
            self._note(request, outcome_of(route, response, took_s), request_id, address, client)
            return response

        return answer

    def _note_request(
        self, request: web.Request, outcome: Outcome, request_id: str, address: str, client: Client
    ) -> None:
        if self._count is not None:
            self._count(outcome)
        facts = request_facts(
            method=request.method,
            path=request.path,
            match_id=_match_id(request),
            outcome=outcome,
            request_id=request_id,
            address=address,
            client=client,
        )
        if TRACE_HEADER in request.headers and (trace_id := trace_id_of(request)):
            facts["trace_id"] = trace_id
        self._record("debug" if request.path in QUIET_PATHS else "info", facts)

    def _instead(self, request: web.Request, error: Exception) -> web.Response:
        """Return what is answered where there is only an error."""
        if isinstance(error, RequestError):
            return _refused(request, error)
        if isinstance(error, web.HTTPError):
            return _in_our_form(error)
        if isinstance(error, web.HTTPException | ConnectionError):
            raise error  # it is no response, or the client has disconnected
        # A bug here must not look like silence.
        self._log.exception(
            "request_crashed", request_id=request_id_of(request), path=short(request.path)
        )
        return protocol_error(500)

    def _record_by_log(self, level: str, facts: dict[str, Any]) -> None:
        getattr(self._log, level)("request_answered", **facts)


def _match_id(request: web.Request) -> str | None:
    match_id = request.query.get("match_id")
    if match_id is None and request.path.startswith(BY_PATH):
        return request.path.rpartition("/")[2]
    return match_id


def _route_of(request: web.Request) -> str | None:
    resource = request.match_info.route.resource
    return None if resource is None else resource.canonical


def _refused(request: web.Request, error: RequestError) -> web.Response:
    """Refuse in the form that is understood where the request went."""
    goes_to_retriever = request.path.startswith(QUERY_KEY_PREFIXES)
    return refusal(error) if goes_to_retriever else error_response(error)


def _in_our_form(refused: web.HTTPError) -> web.Response:
    answer = protocol_error(refused.status)
    if hdrs.ALLOW in refused.headers:
        answer.headers[hdrs.ALLOW] = refused.headers[hdrs.ALLOW]
    return answer
