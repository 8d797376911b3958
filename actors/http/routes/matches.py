"""`GET /match-details`, `GET /matches/M`, `POST /match-details`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import orjson
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from actors.errors import RequestError
from actors.http.content import JSON, OFFERS, acceptable, add_freshness, is_known, represent
from actors.http.errors import TABLE, error_body, error_response, error_row
from actors.http.openapi.inputs import parse_match_id, parse_match_ids
from actors.http.openapi.operation import Operation
from actors.http.openapi.operations import GET_MATCH, GET_MATCH_DETAILS, NDJSON, POST_MATCH_DETAILS
from actors.http.outcome import noted
from actors.http.routes.match_fetcher import MatchFetcher, Wish


class MatchRoutes:
    """Answers match requests; holds nothing itself."""

    def __init__(self, asker: MatchFetcher, *, wall: Callable[[], float]) -> None:
        """`wall`: UTC seconds."""
        self._asker = asker
        self._wall = wall

    def routes(self) -> Iterable[tuple[Operation, Handler]]:
        """Return what it does."""
        return ((GET_MATCH_DETAILS, self.by_query), (GET_MATCH, self.by_path))

    async def by_query(self, request: web.Request) -> web.StreamResponse:
        """The seed's route. It never looked at Accept: who accepts nothing that we have gets JSON."""
        media_type = acceptable(request.headers.get(hdrs.ACCEPT, "")) or JSON
        return await self._answer(request, request.query.get("match_id"), media_type)

    async def by_path(self, request: web.Request) -> web.StreamResponse:
        """The same with an address of its own."""
        media_type = acceptable(request.headers.get(hdrs.ACCEPT, ""))
        if media_type is None:
            return error_body(406, "not-acceptable", f"there is {' and '.join(OFFERS)}")
        return await self._answer(request, request.match_info["match_id"], media_type)

    async def _answer(
        self, request: web.Request, match_id: str | None, media_type: str
    ) -> web.StreamResponse:
        try:
            answer = await self._asker.fetch(parse_match_id(match_id), self._asker.wish(request))
        except RequestError as error:
            return error_response(error)
        shown = represent(answer, media_type, request.headers.get(hdrs.ACCEPT_ENCODING, ""))
        headers = shown.head.copy()
        add_freshness(headers, request, answer, self._wall())
        if is_known(request, shown.etag):
            del headers[hdrs.CONTENT_TYPE]
            headers.popall(hdrs.CONTENT_ENCODING, None)
            return noted(web.Response(status=304, headers=headers), answer.source)
        return noted(web.Response(body=shown.body, headers=headers), answer.source)


Take = Callable[[web.Request], None]
AT_ONCE: Final = 8  # matches of one request under way; others want bots too


class BulkRoute:
    """Answers bulk requests; holds nothing itself.

    A few askers share the ids. Each asks for one match, writes its line, and asks for the next when the
    client has room for more: a slow reader is served slowly, and never more than a few lines wait for it.
    """

    def __init__(self, asker: MatchFetcher, take: Take) -> None:
        """`take`: counts one more request of a request's client, or raises RateLimited."""
        self._asker = asker
        self._take = take

    def routes(self) -> Iterable[tuple[Operation, Handler]]:
        """Return what it does."""
        return ((POST_MATCH_DETAILS, self.post),)

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Answer every id with a line: the match as GET has it, or its error with the `id`."""
        try:
            match_ids = parse_match_ids(await request.read())
            wish = self._asker.wish(request)
        except RequestError as error:
            return error_response(error)
        response = web.StreamResponse(
            headers={hdrs.CONTENT_TYPE: NDJSON, hdrs.CACHE_CONTROL: "no-store"}
        )
        await response.prepare(request)
        left = enumerate(match_ids)
        try:
            async with asyncio.TaskGroup() as askers:
                for _ in range(min(AT_ONCE, len(match_ids))):
                    askers.create_task(self._answer(request, left, wish, response))
        except* ConnectionError:  # the client is gone; what was under way for it is cancelled
            pass
        return response

    async def _answer(
        self,
        request: web.Request,
        left: Iterator[tuple[int, int]],
        wish: Wish,
        response: web.StreamResponse,
    ) -> None:
        for index, match_id in left:
            await response.write(await self._line(request, index, match_id, wish))

    async def _line(self, request: web.Request, index: int, match_id: int, wish: Wish) -> bytes:
        try:
            if index > 0:  # the first id is the one that the request was counted for
                self._take(request)
            body = (await self._asker.fetch(match_id, wish)).json
        except RequestError as error:
            row = error_row(TABLE[type(error)][1], str(error), error.retry_after)
            body = orjson.dumps({"id": match_id, **row})
        return body + b"\n"
