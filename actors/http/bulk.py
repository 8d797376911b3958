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

Charge = Callable[[web.Request, int], None]
AT_ONCE: Final = 8  # matches of one request under way; others want bots too


class BulkRoute:
    """Answers bulk requests; holds nothing itself.

    A few askers share the ids. Each asks for one match, writes its line, and asks for the next when the
    client has room for more: a slow reader is served slowly, and never more than a few lines wait for it.
    """

    def __init__(self, asker: MatchAsker, charge: Charge) -> None:
        """`charge`: counts as that many more requests what a request asks for besides."""
        self._asker = asker
        self._charge = charge

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
        self._charge(request, len(match_ids) - 1)
        response = web.StreamResponse(
            headers={hdrs.CONTENT_TYPE: NDJSON, hdrs.CACHE_CONTROL: "no-store"}
        )
        await response.prepare(request)
        left = iter(match_ids)
        try:
            async with asyncio.TaskGroup() as askers:
                for _ in range(min(AT_ONCE, len(match_ids))):
                    askers.create_task(self._answer(left, wish, response))
        except* ConnectionError:  # the client is gone; what was under way for it is cancelled
            pass
        return response

    async def _answer(self, left: Iterator[int], wish: Wish, response: web.StreamResponse) -> None:
        for match_id in left:
            await response.write(await self._line(match_id, wish))

    async def _line(self, match_id: int, wish: Wish) -> bytes:
        try:
            body = (await self._asker.fetch(match_id, wish)).json
        except RequestError as error:
            row = error_row(TABLE[type(error)][1], str(error), error.retry_after)
            body = orjson.dumps({"id": match_id, **row})
        return body + b"\n"
