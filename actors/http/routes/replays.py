"""`GET /replays/M`."""

from __future__ import annotations

import math
from collections.abc import Iterable

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from multidict import CIMultiDict

from actors.clock import Clock
from actors.errors import RequestError
from actors.http.content import JSON, add_freshness, with_source
from actors.http.errors import error_body, error_response
from actors.http.openapi.inputs import REDIRECT, parse_match_id
from actors.http.openapi.operation import Operation
from actors.http.openapi.operations import GET_REPLAY, NO_REPLAY
from actors.http.openapi.outputs import Replay
from actors.http.routes.match_fetcher import MatchFetcher
from actors.matches.match import Availability, on_mirror


class ReplayRoute:
    """Answers requests for replay files."""

    def __init__(self, fetcher: MatchFetcher, *, mirror: str | None, clock: Clock) -> None:
        """`mirror`: base URL of the server with the files, if not Valve's."""
        self._fetcher = fetcher
        self._mirror = mirror
        self._clock = clock

    def routes(self) -> Iterable[tuple[Operation, Handler]]:
        """Return the operation and its handler."""
        return ((GET_REPLAY, self.get),)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Redirect to the file, or answer 404 with the reason; with `?redirect=0` return the facts."""
        try:
            match_id = parse_match_id(request.match_info["match_id"])
            is_redirect = REDIRECT.parse(request.query.get("redirect", "1")) == "1"
            answer = await self._fetcher.fetch(match_id, self._fetcher.options(request))
        except RequestError as error:
            return error_response(error)
        now, replay = self._clock.wall(), answer.replay
        verdict, url = replay.availability(now), replay.url
        is_coming = verdict is Availability.NOT_YET
        facts = Replay(
            id=answer.match_id,
            availability=verdict,
            url=on_mirror(url, self._mirror) if url and self._mirror else url,
            state=replay.state,
            cluster=replay.cluster,
            salt=replay.salt,
            ended_at=replay.ended_at,
            retry_after=math.ceil(replay.upload_left_s(now)) if is_coming else None,
        )
        if is_redirect and verdict in NO_REPLAY:
            word, sentence = NO_REPLAY[verdict]
            return error_body(404, word, sentence, facts.retry_after)
        headers = CIMultiDict[str]()
        add_freshness(headers, request, answer, now)
        if facts.retry_after is not None:  # changes within minutes, before the match expires
            headers[hdrs.CACHE_CONTROL] = "no-store"
        if is_redirect:
            headers[hdrs.LOCATION] = facts.url or ""
            return with_source(web.Response(status=302, headers=headers), answer.source)
        headers[hdrs.CONTENT_TYPE] = JSON
        body = facts.model_dump_json().encode()
        return with_source(web.Response(body=body, headers=headers), answer.source)
