"""`POST /match-details`: many matches in one request, one line of NDJSON for each as it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import orjson
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from actors.errors import RequestError
from actors.http.asking import MatchAsker, Wish
from actors.http.errors import TABLE, error_response, error_row
from actors.http.inputs import parse_match_ids
from actors.http.operation import Operation
from actors.http.operations import NDJSON, POST_MATCH_DETAILS

Take = Callable[[web.Request], None]
AT_ONCE: Final = 8  # matches of one request under way; others want bots too


class BulkRoute:
    """Answers bulk requests; holds nothing itself.

    A few askers share the ids. Each asks for one match, writes its line, and asks for the next when the
    client has room for more: a slow reader is served slowly, and never more than a few lines wait for it.
    """

    def __init__(self, asker: MatchAsker, take: Take) -> None:
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
