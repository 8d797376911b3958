"""Our answers in the manner of OpenDota's retriever (odota/core `svc/retriever.ts`).

Its callers look at little (odota/core `svc/fetcher/GcdataFetcher.ts`): a status other than 2xx is tried
again, a header `x-match-noretry` is final, whatever its value, and its reason must not be empty; of the
rest only an answer with a `match.replay_salt` is taken. Older callers read `match.game_mode` before
`result`, so `match` is always there.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from typing import Final

from aiohttp import hdrs, web

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
from actors.http.accept import accepts_gzip
from actors.http.errors import TABLE, error_response
from actors.http.json_response import LEVEL
from actors.http.notes import ERROR
from actors.matches.answer import MatchAnswer

STEAM_ID: Final = "x-match-request-steamid"  # of the account that asked the GC, not its name
IP: Final = "x-match-request-ip"
NO_RETRY: Final = "x-match-noretry"
REASON: Final = "x-noretry-reason"
OK, NOT_FOUND, BLOCKED = 1, 2, 15  # CMsgGCMatchDetailsResponse.result
OLD_FORMAT: Final = "old-format"  # the reason, as GET /replays has it
NO_MATCH: Final = b'{"result":2,"match":{}}'

# What asking again does not change. A number that is no match's is a match that does not exist.
FINAL: Final[Mapping[type[RequestError], int]] = {
    MatchNotFound: NOT_FOUND,
    InvalidMatchId: NOT_FOUND,
    MatchBlocked: BLOCKED,
}
# What the retriever says itself; the rest is its own table's status, with our sentence.
SAID: Final[Mapping[type[RequestError], tuple[int, str]]] = {
    Unauthorized: (403, "invalid key"),
    RateLimited: (429, "too many requests"),
    NotReady: (500, "not ready"),
    Busy: (429, "too many requests"),
    QuotaExhausted: (429, "too many requests"),
}


def packed(request: web.Request, body: bytes, headers: Mapping[str, str]) -> web.Response:
    """Answer with JSON, gzipped as ever; plain only for those who say that they want no gzip."""
    sent = {hdrs.VARY: hdrs.ACCEPT_ENCODING, **headers}
    accepted = request.headers.get(hdrs.ACCEPT_ENCODING)
    if accepted is None or accepts_gzip(accepted):
        sent[hdrs.CONTENT_ENCODING] = "gzip"
        body = gzip.compress(body, LEVEL, mtime=0)
    return web.Response(body=body, content_type="application/json", headers=sent)


def asked(outcome: MatchAnswer | RequestError) -> dict[str, str]:
    """Return headers with the account that asked the GC and its IP; empty for a known match."""
    by = {STEAM_ID: outcome.steam_id, IP: outcome.ip}
    return {name: str(value) for name, value in by.items() if value is not None}


def match_headers(answer: MatchAnswer) -> dict[str, str]:
    """Say which account asked, and that no salt ever comes for a match of the old format."""
    final = {NO_RETRY: str(OK), REASON: OLD_FORMAT} if answer.replay.is_old_format else {}
    return {**asked(answer), **final}


def match_refusal(request: web.Request, error: RequestError) -> web.Response:
    """Say that there is no match: for ever, or for now."""
    if (result := FINAL.get(type(error))) is not None:
        headers = {NO_RETRY: str(result), REASON: TABLE[type(error)][1], **asked(error)}
        if result == BLOCKED:
            return web.Response(status=204, headers=headers)
        return packed(request, NO_MATCH, headers)
    if isinstance(error, TimedOut):  # the GC is silent
        return web.Response(status=204, headers=asked(error))
    return refusal(error)


def refusal(error: RequestError) -> web.Response:
    """Say what is wrong as plain text; never by a 204, which callers take for an empty profile."""
    answer = error_response(error)  # for its status and Retry-After
    status, text = SAID.get(type(error), (answer.status, str(error)))
    retry_after = answer.headers.get(hdrs.RETRY_AFTER)
    headers = {} if retry_after is None else {hdrs.RETRY_AFTER: retry_after}
    said = web.Response(status=status, text=text, headers=headers)
    said[ERROR] = answer[ERROR]
    return said
