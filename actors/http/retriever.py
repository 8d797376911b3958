"""`/match/{id}`, `/profile/{account_id}`, `/aliases/{steam_ids}`: compatible with OpenDota's retriever.

For clients of a retriever that change nothing but its host name. Other clients use the other routes: the
errors of these say little, in the form that a retriever's clients expect. `app` converts the exceptions
that are raised here to that form.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from actors.actor import Address
from actors.clock import Clock
from actors.errors import RequestError, TimedOut
from actors.http.asking import MatchAsker, Wish, ask_in_time
from actors.http.inputs import parse_match_id
from actors.http.notes import noted
from actors.http.operation import Operation
from actors.http.request_ids import request_id_of
from actors.http.retriever_answers import match_headers, match_refusal, packed
from actors.http.retriever_inputs import parse_account_id, parse_number, parse_steam_ids
from actors.http.retriever_operations import GET_ALIASES, GET_PROFILE, GET_RETRIEVER_MATCH
from actors.matches.answer import MatchAnswer
from actors.matches.retriever import RetrieverDecoder
from actors.messages import FetchAliases, FetchProfile, PlayersMessage

# Callers wait 3, 4 or 5 s for a match, 2 or 5 s for a profile: they shall have an answer before that.
MATCH_S: Final = 2.8
PROFILE_S: Final = 1.8
ALIASES_S: Final = 4.8
GRACE_S: Final = 0.1  # the actor keeps the deadline; this is for its answer


class RetrieverRoutes:
    """Asks the router about matches, the players actor about players."""

    def __init__(
        self,
        asker: MatchAsker,
        players: Address[PlayersMessage],
        decoder: RetrieverDecoder,
        *,
        clock: Clock,
    ) -> None:
        self._asker = asker
        self._players = players
        self._decoder = decoder
        self._clock = clock

    def routes(self) -> Iterable[tuple[Operation, Handler]]:
        """Return what it does."""
        return (
            (GET_RETRIEVER_MATCH, self.match),
            (GET_PROFILE, self.profile),
            (GET_ALIASES, self.aliases),
        )

    async def match(self, request: web.Request) -> web.Response:
        """Answer with what the GC said, and with nothing else."""
        text, wish = request.match_info["match_id"], self._asker.wish(request)
        parse_number(text)
        try:
            answer = await self._fetch_match(parse_match_id(text), wish)
        except RequestError as error:
            return match_refusal(request, error)
        body = self._decoder.json(answer.protobuf)
        return noted(packed(request, body, match_headers(answer)), answer.source)

    async def profile(self, request: web.Request) -> web.Response:
        """Answer with a player's profile card."""
        account_id = parse_account_id(request.match_info["account_id"])
        deadline = self._clock.now() + PROFILE_S
        fetch = FetchProfile(account_id, deadline, request_id_of(request))
        card = await ask_in_time(self._players, fetch, until=deadline + GRACE_S)
        return web.Response(body=card, content_type="application/json")

    async def aliases(self, request: web.Request) -> web.Response:
        """Answer with the former names of some players."""
        steam_ids = parse_steam_ids(request.match_info["steam_ids"])
        deadline = self._clock.now() + ALIASES_S
        fetch = FetchAliases(steam_ids, deadline, request_id_of(request))
        names = await ask_in_time(self._players, fetch, until=deadline + GRACE_S)
        return packed(request, names, {})

    async def _fetch_match(self, match_id: int, wish: Wish) -> MatchAnswer:
        """Wait less long than the router may take.

        A try under way then goes on without us: it is paid for, its silence says something about the
        account, and what it brings is known when the caller asks again.
        """
        try:
            return await self._asker.fetch(match_id, wish, patience_s=MATCH_S)
        except TimedOut as late:
            # Let callers know which account it is that they wait for.
            if late.steam_id is None and (seat := await self._asker.asked_last(match_id)):
                late.steam_id, late.ip = seat.steam_id, seat.ip
            raise
