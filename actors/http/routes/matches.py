"""`GET /match-details`, `GET /matches/M`, `POST /match-details`: matches from memory, else the router."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Final

import orjson
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from actors.clock import Clock
from actors.errors import (
    RequestError,
)
from actors.http.auth.admission import Admission
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
from actors.http.openapi.inputs import parse_match_id, parse_match_ids
from actors.http.openapi.operation import Operation
from actors.http.openapi.operations import GET_MATCH, GET_MATCH_DETAILS, NDJSON, POST_MATCH_DETAILS
from actors.http.routes.match_fetcher import MatchFetcher, Options

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
