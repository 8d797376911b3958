"""The aiohttp application: which path is answered by what, and what every request goes through."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from structlog.typing import FilteringBoundLogger

from actors.clock import Clock
from actors.errors import RequestError
from actors.http.admission import QUERY_KEY_PREFIXES, Admission
from actors.http.client import ANONYMOUS
from actors.http.docs import DocsRoutes
from actors.http.errors import error_response, protocol_error
from actors.http.openapi import document
from actors.http.operation import Routes, add_routes
from actors.http.request_ids import name_request, trace_id_of
from actors.http.retriever_answers import refusal
from actors.http.security_headers import on_prepare

MAX_BODY: Final = 64 * 1024  # bytes
# What may be larger, from operators: a file with ten thousand accounts.
LARGE_BODIES: Final = {"/admin/import": 4 * 1024 * 1024}
BODY_S: Final = 10.0  # for the body to arrive, after the head
Record = Callable[[str, dict[str, Any]], None]  # level, facts; it may keep them
Count = Callable[[web.Request, web.StreamResponse, float], None]  # what was answered, in seconds
QUIET_PATHS: Final = frozenset({"/healthz", "/readyz", "/status"})  # asked every few seconds
LONGEST_LOGGED: Final = 200  # characters of what a client wrote


def make_app(
    groups: Sequence[Routes],
    *,
    version: str,
    admission: Admission,
    clock: Clock,
    log: FilteringBoundLogger,
    record: Record | None = None,
    count: Count | None = None,
) -> web.Application:
    """Serve `groups`, and what describes them; `record`, `count`: see `bare_app`."""
    app = bare_app(admission, clock=clock, log=log, record=record, count=count)
    operations = tuple(add_routes(app, *groups))
    DocsRoutes(lambda: document(operations, version=version)).add_to(app)
    return app


def bare_app(
    admission: Admission,
    *,
    clock: Clock,
    log: FilteringBoundLogger,
    record: Record | None = None,
    count: Count | None = None,
) -> web.Application:
    """Return an application without routes, but with all that every request goes through.

    `record` writes the line that every request has, if that is to go another way than `log`; `count` is
    told of every answer.
    """
    log = log.bind(actor="http")
    edge = _edge(admission, clock, log, record or _recorded_by(log), count or _uncounted)
    app = web.Application(middlewares=[edge], client_max_size=MAX_BODY)
    app.on_response_prepare.append(on_prepare)
    return app


def _edge(
    admission: Admission, clock: Clock, log: FilteringBoundLogger, record: Record, count: Count
) -> Middleware:
    """Name, admit and answer a request, with one log line at its end.

    One middleware for all of it: each costs every request, and the order of these steps matters.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        begun = clock.now()
        request_id = name_request(request)
        address = admission.address_of(request)
        client = ANONYMOUS
        try:
            client = admission.admit(request, address)
            if request.body_exists:
                request = await _with_body(request, admission)
            response = await handler(request)
        except RequestError as error:
            response = _refused(request, error)
        except web.HTTPError as error:
            response = _in_our_form(error)
        except (web.HTTPException, ConnectionError):
            raise  # what is no answer, or has nobody any more to go to
        except Exception:  # the boundary of one request: a bug here must not look like silence
            log.exception("request_crashed", request_id=request_id, path=_short(request.path))
            response = protocol_error(500)
        took_s = clock.now() - begun
        count(request, response, took_s)
        facts = {
            "method": request.method,
            "path": _short(request.path),
            "match_id": _short(request.match_info.get("match_id") or request.query.get("match_id")),
            "status": response.status,
            "duration_s": round(took_s, 6),
            "request_id": request_id,
            "address": address,
        }
        # The name of a key, never the key; where there are no keys, it is the address again.
        if client.name and client.name != address:
            facts["client"] = client.name
        if trace_id := trace_id_of(request):
            facts["trace_id"] = trace_id
        record("debug" if request.path in QUIET_PATHS else "info", facts)
        return response

    return middleware


def _recorded_by(log: FilteringBoundLogger) -> Record:
    def record(level: str, facts: dict[str, Any]) -> None:
        getattr(log, level)("request_answered", **facts)

    return record


def _refused(request: web.Request, error: RequestError) -> web.Response:
    """Refuse in the form that is understood where the request went."""
    goes_to_retriever = request.path.startswith(QUERY_KEY_PREFIXES)
    return refusal(error) if goes_to_retriever else error_response(error)


def _in_our_form(refused: web.HTTPError) -> web.Response:
    answer = protocol_error(refused.status)
    if hdrs.ALLOW in refused.headers:
        answer.headers[hdrs.ALLOW] = refused.headers[hdrs.ALLOW]
    return answer


def _uncounted(_request: web.Request, _answer: web.StreamResponse, _took_s: float) -> None:
    """Count nothing."""


async def _with_body(request: web.Request, admission: Admission) -> web.Request:
    """Return the request with its body read, which it keeps for its route.

    Here and not in the routes, so that each is safe from bodies without end, also those that want none.
    """
    most = MAX_BODY
    if request.path in LARGE_BODIES and admission.is_operator(request):
        most = LARGE_BODIES[request.path]
        request = request.clone(client_max_size=most)
    await _read_body(request, most)
    return request


async def _read_body(request: web.Request, most: int) -> None:
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


def _short(text: str | None) -> str | None:
    """Return what a client wrote so that it can stand in a log line, whatever its bytes were."""
    if text is None or (text.isascii() and len(text) <= LONGEST_LOGGED):
        return text
    return text[:LONGEST_LOGGED].encode(errors="backslashreplace").decode()
