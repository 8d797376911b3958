"""`GET /match-details?match_id=M`: validate, ask the router, answer. The seed's one route."""

from __future__ import annotations

import re
from typing import Final

from aiohttp import web

from actors.actor import Address
from actors.clock import Clock
from actors.errors import (
    ActorStopped,
    Busy,
    InvalidMatchId,
    MailboxFull,
    MatchIdRequired,
    NotReady,
    RequestError,
    TimedOut,
)
from actors.http.client import client_of
from actors.http.errors import error_response
from actors.http.json_response import json_response
from actors.http.request_ids import request_id_of
from actors.messages import FetchMatch, RouterMessage

ROUTER_GRACE_S: Final = 0.25
MATCH_ID_LIMIT: Final = 1_024_000_000_000  # exclusive; as the seed has it
_DIGITS: Final = re.compile(r"[0-9]{1,13}", re.ASCII)


class MatchDetailsRoute:
    """Answers match requests; `deadline_s` is how long one client waits at most."""

    def __init__(self, router: Address[RouterMessage], *, deadline_s: float, clock: Clock) -> None:
        self._router = router
        self._deadline_s = deadline_s
        self._clock = clock

    def change_deadline(self, deadline_s: float) -> None:
        """Let those who ask from now on wait that long at most."""
        self._deadline_s = deadline_s

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Answer with the match, or with a row of the error table."""
        try:
            match_id = parse_match_id(request.query.get("match_id"))
            body = await self._fetch(match_id, request)
        except RequestError as error:
            return error_response(error)
        return json_response(request, body)

    async def _fetch(self, match_id: int, request: web.Request) -> bytes:
        deadline = self._clock.now() + self._deadline_s
        client = client_of(request)
        fetch = FetchMatch(
            match_id,
            deadline,
            client=client.name,
            priority=client.priority,
            request_id=request_id_of(request),
        )
        try:
            # The router keeps the deadline and knows best why; the time on top is for its answer.
            answer = await self._router.ask(fetch, deadline=deadline + ROUTER_GRACE_S)
        except TimeoutError:
            raise TimedOut("no bot had an answer within the deadline", 5.0) from None
        except MailboxFull:
            raise Busy("too many requests at once; try again soon", 1.0) from None
        except ActorStopped:
            raise NotReady("the service is starting or stopping", 5.0) from None
        return answer.json


def parse_match_id(text: str | None) -> int:
    """Return the match id in `text`.

    Raises:
        MatchIdRequired: `text` is missing or empty.
        InvalidMatchId: not a whole number within 1 .. 1024000000000 (exclusive).
    """
    if not text:
        raise MatchIdRequired("match_id is missing: ask for /match-details?match_id=7490235544")
    if _DIGITS.fullmatch(text) and 1 <= (match_id := int(text)) < MATCH_ID_LIMIT:
        return match_id
    raise InvalidMatchId(f"match_id must be a whole number from 1 to {MATCH_ID_LIMIT - 1}")
