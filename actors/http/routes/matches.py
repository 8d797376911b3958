"""`GET /match-details`, `GET /matches/M`, `POST /match-details`: matches from memory, else the router."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, TypeVar

import orjson
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from multidict import istr

from actors.actor import Address, Ask
from actors.bot.messages import ReadyBot
from actors.clock import Clock
from actors.errors import (
    ActorStopped,
    Busy,
    LocalProtocolError,
    MailboxFull,
    NotReady,
    RequestError,
    TimedOut,
)
from actors.http.auth.admission import Admission
from actors.http.auth.clients import Client, client_of
from actors.http.content import (
    JSON,
    OFFERS,
    add_freshness,
    best_media_type,
    content_of,
    is_not_modified,
    with_source,
)
from actors.http.errors import TABLE, error_body, error_response, error_row
from actors.http.headers import request_id_of
from actors.http.metrics import MatchMetrics
from actors.http.openapi.inputs import TIMEOUT, parse_match_id, parse_match_ids
from actors.http.openapi.operation import Operation
from actors.http.openapi.operations import GET_MATCH, GET_MATCH_DETAILS, NDJSON, POST_MATCH_DETAILS
from actors.matches.cache import MatchCache
from actors.matches.match import MatchAnswer, NoMatch
from actors.router.messages import FetchMatch, GetAsked, RouterMessage
from actors.router.metrics import Lookup, RouterMetrics

ROUTER_GRACE_S: Final = 0.25  # beyond the deadline, for the router's answer
ASKED_S: Final = 0.1
TIMEOUT_HEADER: Final = istr(TIMEOUT.name)

M = TypeVar("M")
R = TypeVar("R")


class Options(NamedTuple):
    """How an HTTP request wants its matches."""

    client: Client
    timeout_s: float  # for each match
    refresh: bool
    request_id: str


class MatchFetcher:
    """Gets matches from memory, else from the router; `deadline_s` limits the wait for one match."""

    def __init__(
        self,
        router: Address[RouterMessage],
        memory: MatchCache,
        *,
        deadline_s: float,
        router_metrics: RouterMetrics,
        metrics: MatchMetrics,
        clock: Clock,
    ) -> None:
        self._router = router
        self.memory = memory
        self._deadline_s = deadline_s
        self._router_metrics = router_metrics
        self._metrics = metrics
        self._clock = clock

    def reconfigure(self, deadline_s: float) -> None:
        """Limit the wait of later requests to `deadline_s`."""
        self._deadline_s = deadline_s

    def options(self, request: web.Request) -> Options:
        """Return the options in the headers of `request`.

        Raises:
            InvalidRequest: its time limit is not a number of seconds.
        """
        client, timeout_s = client_of(request), self._deadline_s
        if (text := request.headers.get(TIMEOUT_HEADER)) is not None:
            timeout_s = min(timeout_s, TIMEOUT.parse(text))
        directives = request.headers.get(hdrs.CACHE_CONTROL, "").lower().split(",")
        refresh = client.may_refresh and "no-cache" in (one.strip() for one in directives)
        return Options(client, timeout_s, refresh, request_id_of(request))

    async def fetch(
        self, match_id: int, options: Options, *, patience_s: float = math.inf
    ) -> MatchAnswer:
        """Return the match. Cancelling this call, as a disconnect does, cancels the router's request.

        `patience_s`: stop waiting after that many seconds, as if the client had disconnected. The router
        gets the usual deadline, so that it spends no more on the match than for other requests.

        Raises:
            RequestError: of the router, or `TimedOut`.
        """
        try:
            answer = await self._fetch(match_id, options, patience_s)
        except RequestError as error:
            self._metrics.answered(TABLE[type(error)][1])
            raise
        self._metrics.answered()
        return answer

    def count_cached(self) -> None:
        """Count a match that was answered from memory without `fetch`."""
        self._router_metrics.looked_up(Lookup.MEMORY)
        self._metrics.answered()

    async def asked_last(self, match_id: int) -> ReadyBot | None:
        """Return the bot that was asked last for a match that the router still fetches."""
        deadline = self._clock.now() + ASKED_S
        with contextlib.suppress(TimeoutError, LocalProtocolError):
            return await self._router.ask(GetAsked(match_id), deadline=deadline)
        return None

    async def _fetch(self, match_id: int, options: Options, patience_s: float) -> MatchAnswer:
        wall = self._clock.wall()
        if not options.refresh and (known := self.memory.get(match_id, wall)) is not None:
            self._router_metrics.looked_up(Lookup.MEMORY)
            if isinstance(known, NoMatch):
                raise known.error(wall)
            return known
        now = self._clock.now()
        deadline = now + options.timeout_s
        fetch = FetchMatch(
            match_id,
            deadline,
            client=options.client.name,
            priority=options.client.priority,
            refresh=options.refresh,
            request_id=options.request_id,
        )
        # The router keeps the deadline and knows the reason of a failure: wait a little longer for it.
        until = min(deadline + ROUTER_GRACE_S, now + patience_s)
        return await ask_in_time(self._router, fetch, until=until)


async def ask_in_time(actor: Address[M], question: Ask[R], *, until: float) -> R:
    """Return an actor's answer by the instant `until`.

    Raises:
        RequestError: the actor's answer, or the actor is late, overloaded or stopped.
    """
    try:
        return await actor.ask(question, deadline=until)
    except TimeoutError:
        raise TimedOut("no bot had an answer within the deadline", 5.0) from None
    except MailboxFull:
        raise Busy("too many requests at once; try again soon", 1.0) from None
    except ActorStopped:
        raise NotReady("the service is starting or stopping", 5.0) from None


CONCURRENCY: Final = 8  # matches of one bulk request in progress; other clients need bots too


class MatchRoutes:
    """Answers requests for one match."""

    def __init__(self, fetcher: MatchFetcher, *, clock: Clock) -> None:
        self._fetcher = fetcher
        self._clock = clock

    def routes(self) -> Iterable[tuple[Operation, Handler]]:
        """Return the operations and their handlers."""
        return ((GET_MATCH_DETAILS, self.by_query), (GET_MATCH, self.by_path))

    async def by_query(self, request: web.Request) -> web.StreamResponse:
        """Answer `/match-details`. An Accept header without a known media type means JSON."""
        media_type = best_media_type(request.headers.get(hdrs.ACCEPT, "")) or JSON
        return await self._fetch(request, request.query.get("match_id"), media_type)

    async def by_path(self, request: web.Request) -> web.StreamResponse:
        """Answer `/matches/M`."""
        media_type = best_media_type(request.headers.get(hdrs.ACCEPT, ""))
        if media_type is None:
            return error_body(406, "not-acceptable", f"there is {' and '.join(OFFERS)}")
        return await self._fetch(request, request.match_info["match_id"], media_type)

    async def _fetch(
        self, request: web.Request, match_id: str | None, media_type: str
    ) -> web.StreamResponse:
        try:
            parsed_id, options = parse_match_id(match_id), self._fetcher.options(request)
            answer = await self._fetcher.fetch(parsed_id, options)
        except RequestError as error:
            return error_response(error)
        accepted = request.headers.get(hdrs.ACCEPT_ENCODING, "")
        body, headers = content_of(answer, media_type, accepted)
        add_freshness(headers, request, answer, self._clock.wall())
        if is_not_modified(request, headers[hdrs.ETAG]):
            del headers[hdrs.CONTENT_TYPE]
            headers.popall(hdrs.CONTENT_ENCODING, None)
            return with_source(web.Response(status=304, headers=headers), answer.source)
        return with_source(web.Response(body=body, headers=headers), answer.source)


class BulkRoute:
    """Answers requests for many matches.

    A few tasks share the IDs. Each fetches one match, writes its line, and fetches the next when the
    client has room for more: a slow reader is served slowly, and only a few lines wait for it.
    """

    def __init__(self, fetcher: MatchFetcher, admission: Admission) -> None:
        self._fetcher = fetcher
        self._admission = admission

    def routes(self) -> Iterable[tuple[Operation, Handler]]:
        """Return the operation and its handler."""
        return ((POST_MATCH_DETAILS, self.post),)

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Answer every ID with a line: the match as GET returns it, or its error with the `id`."""
        try:
            match_ids = parse_match_ids(await request.read())
            options = self._fetcher.options(request)
        except RequestError as error:
            return error_response(error)
        response = web.StreamResponse(
            headers={hdrs.CONTENT_TYPE: NDJSON, hdrs.CACHE_CONTROL: "no-store"}
        )
        await response.prepare(request)
        remaining = enumerate(match_ids)
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(min(CONCURRENCY, len(match_ids))):
                    tasks.create_task(self._write_lines(request, remaining, options, response))
        except* ConnectionError:  # the client has disconnected; its fetches are cancelled
            pass
        return response

    async def _write_lines(
        self,
        request: web.Request,
        remaining: Iterator[tuple[int, int]],
        options: Options,
        response: web.StreamResponse,
    ) -> None:
        for index, match_id in remaining:
            try:
                if index > 0:  # the request itself was counted for the first ID
                    self._admission.take(request)
                body = (await self._fetcher.fetch(match_id, options)).json
            except RequestError as error:
                row = error_row(TABLE[type(error)][1], str(error), error.retry_after)
                body = orjson.dumps({"id": match_id, **row})
            await response.write(body + b"\n")
