"""Routes compatible with OpenDota's retriever, for its clients.

A client (odota/core `svc/fetcher/GcdataFetcher.ts`) retries after a status other than 2xx. A header
`x-match-noretry` is final, whatever its value, and its reason must not be empty. Otherwise the client
accepts only a response with `match.replay_salt`. Older clients read `match.game_mode` before `result`, so
`match` is always present. Errors are plain text; the pipeline converts exceptions with `refusal`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from actors.actor import Address
from actors.clock import Clock
from actors.errors import (
    Busy,
    InvalidMatchId,
    MatchBlocked,
    MatchNotFound,
    NotReady,
    QuotaExhausted,
    RateLimited,
    RequestError,
    TimedOut,
    Unauthorized,
)
from actors.http.content import accepts_gzip, with_source
from actors.http.errors import ERROR, TABLE, error_response
from actors.http.headers import request_id_of
from actors.http.openapi.inputs import ACCOUNT_ID, NUMBER, STEAM_IDS, parse_match_id
from actors.http.openapi.operation import Operation
from actors.http.openapi.operations import GET_ALIASES, GET_PROFILE, GET_RETRIEVER_MATCH
from actors.http.openapi.outputs import (
    RETRIEVER_IP,
    RETRIEVER_NO_RETRY,
    RETRIEVER_REASON,
    RETRIEVER_STEAM_ID,
)
from actors.http.routes.match_fetcher import MatchFetcher, ask_in_time
from actors.matches.match import MatchAnswer, gzipped
from actors.matches.players import RetrieverDecoder
from actors.router.messages import FetchAliases, FetchProfile, PlayersMessage

OK, NOT_FOUND, BLOCKED = 1, 2, 15  # CMsgGCMatchDetailsResponse.result
OLD_FORMAT: Final = "old-format"  # the reason, as in GET /replays
NO_MATCH: Final = b'{"result":2,"match":{}}'

# Errors that a retry does not change. A number that is no match ID is a match that does not exist.
FINAL: Final[Mapping[type[RequestError], int]] = {
    MatchNotFound: NOT_FOUND,
    InvalidMatchId: NOT_FOUND,
    MatchBlocked: BLOCKED,
}
# Status and text of the retriever; other errors have the status and message of the error table.
TEXTS: Final[Mapping[type[RequestError], tuple[int, str]]] = {
    Unauthorized: (403, "invalid key"),
    RateLimited: (429, "too many requests"),
    NotReady: (500, "not ready"),
    Busy: (429, "too many requests"),
    QuotaExhausted: (429, "too many requests"),
}


def gzipped_response(request: web.Request, body: bytes, headers: Mapping[str, str]) -> web.Response:
    """Return a response of JSON, gzipped unless the client refuses gzip, as the retriever does."""
    sent = {hdrs.VARY: hdrs.ACCEPT_ENCODING, **headers}
    accepted = request.headers.get(hdrs.ACCEPT_ENCODING)
    if accepted is None or accepts_gzip(accepted):
        sent[hdrs.CONTENT_ENCODING] = "gzip"
        body = gzipped(body)
    return web.Response(body=body, content_type="application/json", headers=sent)


def account_headers(outcome: MatchAnswer | RequestError) -> dict[str, str]:
    """Return headers with the account that asked the GC and its IP address; none for a known match."""
    by = {RETRIEVER_STEAM_ID: outcome.steam_id, RETRIEVER_IP: outcome.ip}
    return {name: str(value) for name, value in by.items() if value is not None}


def match_headers(answer: MatchAnswer) -> dict[str, str]:
    """Return the headers of a match; a match of the old format never has a replay salt."""
    headers = account_headers(answer)
    if answer.replay.is_old_format:
        headers |= {RETRIEVER_NO_RETRY: str(OK), RETRIEVER_REASON: OLD_FORMAT}
    return headers


def match_refusal(request: web.Request, error: RequestError) -> web.Response:
    """Return the response if there is no match, finally or for now."""
    if (result := FINAL.get(type(error))) is not None:
        headers = {
            RETRIEVER_NO_RETRY: str(result),
            RETRIEVER_REASON: TABLE[type(error)][1],
            **account_headers(error),
        }
        if result == BLOCKED:
            return web.Response(status=204, headers=headers)
        return gzipped_response(request, NO_MATCH, headers)
    if isinstance(error, TimedOut):  # the GC did not answer
        return web.Response(status=204, headers=account_headers(error))
    return refusal(error)


def refusal(error: RequestError) -> web.Response:
    """Return an error as plain text, never as 204, which clients take for an empty profile."""
    answer = error_response(error)  # for its status and Retry-After
    status, text = TEXTS.get(type(error), (answer.status, str(error)))
    retry_after = answer.headers.get(hdrs.RETRY_AFTER)
    headers = {} if retry_after is None else {hdrs.RETRY_AFTER: retry_after}
    response = web.Response(status=status, text=text, headers=headers)
    response[ERROR] = answer[ERROR]
    return response


# Clients wait 3, 4 or 5 s for a match, 2 or 5 s for a profile: answer before that.
MATCH_S: Final = 2.8
PROFILE_S: Final = 1.8
ALIASES_S: Final = 4.8
GRACE_S: Final = 0.1  # beyond the deadline, for the actor's answer


class RetrieverRoutes:
    """Answers requests for matches, profile cards and former names."""

    def __init__(
        self,
        fetcher: MatchFetcher,
        players: Address[PlayersMessage],
        decoder: RetrieverDecoder,
        *,
        clock: Clock,
    ) -> None:
        self._fetcher = fetcher
        self._players = players
        self._decoder = decoder
        self._clock = clock

    def routes(self) -> Iterable[tuple[Operation, Handler]]:
        """Return the operations and their handlers."""
        return (
            (GET_RETRIEVER_MATCH, self.match),
            (GET_PROFILE, self.profile),
            (GET_ALIASES, self.aliases),
        )

    async def match(self, request: web.Request) -> web.Response:
        """Return the GC's response about a match."""
        text, options = request.match_info["match_id"], self._fetcher.options(request)
        NUMBER.parse(text)
        try:
            match_id = parse_match_id(text)
            # A running attempt continues: its result is known at the next request.
            answer = await self._fetcher.fetch(match_id, options, patience_s=MATCH_S)
        except TimedOut as late:
            # Tell the client which account is asked.
            if late.steam_id is None and (bot := await self._fetcher.asked_last(match_id)):
                late.steam_id, late.ip = bot.steam_id, bot.ip
            return match_refusal(request, late)
        except RequestError as error:
            return match_refusal(request, error)
        body = self._decoder.json(answer.protobuf)
        return with_source(gzipped_response(request, body, match_headers(answer)), answer.source)

    async def profile(self, request: web.Request) -> web.Response:
        """Return a player's profile card."""
        account_id = ACCOUNT_ID.parse(request.match_info["account_id"])
        deadline = self._clock.now() + PROFILE_S
        fetch = FetchProfile(account_id, deadline, request_id_of(request))
        card = await ask_in_time(self._players, fetch, until=deadline + GRACE_S)
        return web.Response(body=card, content_type="application/json")

    async def aliases(self, request: web.Request) -> web.Response:
        """Return the former names of players."""
        steam_ids = tuple(dict.fromkeys(STEAM_IDS.parse(request.match_info["steam_ids"])))
        deadline = self._clock.now() + ALIASES_S
        fetch = FetchAliases(steam_ids, deadline, request_id_of(request))
        names = await ask_in_time(self._players, fetch, until=deadline + GRACE_S)
        return gzipped_response(request, names, {})
