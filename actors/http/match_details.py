"""`GET /match-details?match_id=M` and `GET /matches/M`: one match, the same under both addresses."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from actors.errors import RequestError
from actors.http.asking import MatchAsker
from actors.http.errors import error_body, error_response
from actors.http.freshness import add_freshness
from actors.http.inputs import parse_match_id
from actors.http.notes import noted
from actors.http.operation import Operation
from actors.http.operations import GET_MATCH, GET_MATCH_DETAILS
from actors.http.representation import (
    JSON,
    OFFERS,
    acceptable,
    is_known,
    represent,
)


class MatchRoutes:
    """Answers match requests; holds nothing itself."""

    def __init__(self, asker: MatchAsker, *, wall: Callable[[], float]) -> None:
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
