"""Public operations.

Data only. Who carries an operation out has it in `routes()`; `/openapi.json` is made of it.

Nothing here has an error in the API's own form: its callers look at statuses and headers, and people
read a line of text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from actors import errors
from actors.http.content import JSON, PROTOBUF
from actors.http.openapi.inputs import (
    ACCOUNT_ID,
    CACHE_CONTROL,
    IF_NONE_MATCH,
    MATCH_ID_IN_PATH,
    MATCH_ID_IN_QUERY,
    NUMBER,
    REDIRECT,
    STEAM_IDS,
    TIMEOUT,
    ManyMatches,
)
from actors.http.openapi.match_schema import CARD, GC_ANSWER, MATCH
from actors.http.openapi.operation import BODY, Answer, Needs, Operation, Words, words
from actors.http.openapi.outputs import (
    RETRIEVER_IP,
    RETRIEVER_NO_RETRY,
    RETRIEVER_REASON,
    RETRIEVER_STEAM_ID,
    Aliases,
    Healthy,
    Ready,
    Replay,
    StatusOutput,
)
from actors.replays.availability import Availability

NDJSON: Final = "application/x-ndjson"
# Why there is no file to lead to, as word and sentence.
NO_REPLAY: Final[Mapping[Availability, tuple[str, str]]] = {
    Availability.NOT_YET: (
        "replay-not-yet-available",
        "the match has just ended; its replay may not be uploaded yet",
    ),
    Availability.EXPIRED: (
        "replay-expired",
        "the replay is deleted; Valve keeps most for about two weeks",
    ),
    Availability.NOT_RECORDED: ("replay-not-recorded", "this match was not recorded"),
    Availability.OLD_FORMAT: (
        "replay-old-format",
        "this match is from before there were replays in today's form",
    ),
}

_BROWSER: Final = words(errors.ForeignPage, errors.ForeignHost)
_WHO: Final = words(errors.Unauthorized, _BROWSER, errors.RateLimited)
_WHICH: Final = words(
    errors.InvalidMatchId, errors.MatchNotFound, errors.MatchBlocked, errors.Unusable
)
_SERVICE: Final = words(
    errors.QuotaExhausted,
    errors.NotReady,
    errors.Busy,
    errors.RequestStoreUnavailable,
    errors.TimedOut,
)
_HOW: Final = (TIMEOUT, CACHE_CONTROL)
_CONDITIONS: Final = (*_HOW, IF_NONE_MATCH)
_BINARY: Final = {"type": "string", "contentMediaType": PROTOBUF}
_FRESHNESS: Final = ("Cache-Control", "Age", "X-Cache")
_MATCH: Final = {
    200: Answer(
        "What the Game Coordinator says about the match.",
        {JSON: MATCH, PROTOBUF: _BINARY},
        headers=("ETag", *_FRESHNESS),
    ),
    304: Answer("It is what you have already.", headers=("ETag", *_FRESHNESS)),
}

GET_MATCH_DETAILS: Final = Operation(
    "GET",
    "/match-details",
    "One match",
    "The Game Coordinator's answer in protobuf's JSON mapping, with `id` and `replay_url` in front. "
    "`Accept: application/x-protobuf` gets its bytes as they are.",
    answers=_MATCH,
    errors=words(errors.MatchIdRequired, _WHICH, _WHO, _SERVICE),
    parameters=(MATCH_ID_IN_QUERY, *_CONDITIONS),
)

GET_MATCH: Final = Operation(
    "GET",
    "/matches/{match_id}",
    "One match, by its own address",
    "The same as `/match-details?match_id=...`, but for an Accept header that allows nothing that there "
    "is, which is an error here.",
    answers=_MATCH,
    errors=words(_WHICH, _WHO, _SERVICE, {406: ("not-acceptable",)}),
    parameters=(MATCH_ID_IN_PATH, *_CONDITIONS),
)

POST_MATCH_DETAILS: Final = Operation(
    "POST",
    "/match-details",
    "Many matches",
    "One line of JSON for each match, as soon as it is there, in any order: what GET answers, or an "
    "error with the `id`. Each has its own time limit and counts as one request of the client: those "
    "beyond its rate are answered with `rate-limited`. Who reads slowly is served slowly; for who goes "
    "away the rest is not asked for.",
    answers={
        200: Answer("One line for each match.", {NDJSON: {"type": "string"}}),
    },
    errors=words(errors.InvalidRequest, _WHO, BODY),
    parameters=_HOW,
    body=ManyMatches,
)

GET_REPLAY: Final = Operation(
    "GET",
    "/replays/{match_id}",
    "The replay of a match",
    "Leads to the replay file, or says why there is none.",
    answers={
        200: Answer(
            "With `redirect=0`: what is known of the replay.", {JSON: Replay}, headers=_FRESHNESS
        ),
        302: Answer("The file is there.", headers=("Location", *_FRESHNESS)),
    },
    errors=words(_WHICH, _WHO, _SERVICE, {404: tuple(word for word, _ in NO_REPLAY.values())}),
    tag="replays",
    parameters=(MATCH_ID_IN_PATH, REDIRECT, *_HOW),
)

_UNHEALTHY: Final[Words] = {503: ("unhealthy",)}

GET_HEALTHZ: Final = Operation(
    "GET",
    "/healthz",
    "Is the process alive?",
    "Says nothing about Steam: a service whose bots are all away is alive.",
    answers={200: Answer("It is.", {JSON: Healthy})},
    errors=words(_BROWSER, _UNHEALTHY),
    tag="service",
    needs=Needs.NOTHING,
)

GET_READYZ: Final = Operation(
    "GET",
    "/readyz",
    "Can it serve?",
    "A service can serve while a new match can be asked for, or while only the budget is spent: then "
    "known matches are answered and new ones refused with 429 and the time, and `budget` is `spent`. "
    "Otherwise the answer is 503, as a request for a new match would get.",
    answers={200: Answer("The service can serve.", {JSON: Ready})},
    errors=words(_BROWSER, errors.NotReady),
    tag="service",
    needs=Needs.NOTHING,
)

_EXPOSITION: Final[dict[str, str]] = {"type": "string"}

GET_METRICS: Final = Operation(
    "GET",
    "/metrics",
    "Metrics",
    "For Prometheus: its text format, or OpenMetrics if the Accept header prefers that. The response is "
    "cached for a second.",
    answers={
        200: Answer(
            "All of it.", {"text/plain": _EXPOSITION, "application/openmetrics-text": _EXPOSITION}
        )
    },
    errors=_BROWSER,
    tag="service",
    needs=Needs.NOTHING,
)

GET_STATUS: Final = Operation(
    "GET",
    "/status",
    "How is the fleet?",
    "Every bot, how busy the router is, and how the settings are.",
    answers={200: Answer("Like this.", {JSON: StatusOutput})},
    errors=words(_WHO, _UNHEALTHY),
    tag="service",
)

_TEXT: Final = "text/plain"
_ASKED: Final = (RETRIEVER_STEAM_ID, RETRIEVER_IP)
_FINAL: Final = (*_ASKED, RETRIEVER_NO_RETRY, RETRIEVER_REASON)


def _said(summary: str, *headers: str) -> Answer:
    return Answer(summary, {_TEXT: {"type": "string"}}, headers=headers)


_REFUSALS: Final[Mapping[int, Answer]] = {
    400: _said("Something in the request is not what it must be."),
    403: _said(
        "`invalid key`: no API key is shown, or one that is not known. Also for web pages of other sites."
    ),
    429: _said("`too many requests`, of one client or of all together.", "Retry-After"),
    500: _said("`not ready`: no bot is.", "Retry-After"),
}
_SILENCE: Final = _said("No answer arrived in time.", "Retry-After")

GET_RETRIEVER_MATCH: Final = Operation(
    "GET",
    "/match/{match_id}",
    "One match, as OpenDota's retriever has it",
    "The Game Coordinator's answer as protobufjs prints it, with nothing in front.",
    answers={
        200: Answer(
            "The Game Coordinator's answer. With `x-match-noretry`: the match does not exist, or it is "
            "of the old format and has no replay.",
            {JSON: GC_ANSWER},
            headers=_FINAL,
        ),
        204: Answer(
            "With `x-match-noretry`: the match is blocked. Without: the GC does not answer.",
            headers=_FINAL,
        ),
        **_REFUSALS,
        429: _said("`too many requests`, or every account's budget is spent.", "Retry-After"),
        502: _said("The Game Coordinator's answers for this match are of no use.", "Retry-After"),
        503: _said("Redis does not answer, so that no budget can be counted.", "Retry-After"),
    },
    errors={},
    tag="retriever",
    parameters=(NUMBER, *_HOW),
    needs=Needs.ANY_KEY,
)

GET_PROFILE: Final = Operation(
    "GET",
    "/profile/{account_id}",
    "A player's profile card, as OpenDota's retriever has it",
    "Touches no match budget.",
    answers={200: Answer("The card.", {JSON: CARD}), **_REFUSALS, 504: _SILENCE},
    errors={},
    tag="retriever",
    parameters=(ACCOUNT_ID,),
    needs=Needs.ANY_KEY,
)

GET_ALIASES: Final = Operation(
    "GET",
    "/aliases/{steam_ids}",
    "Former names of players, as OpenDota's retriever has them",
    "Steam is asked about every id; the answer leaves out those without names. Touches no match "
    "budget.",
    answers={200: Answer("The names.", {JSON: Aliases}), **_REFUSALS, 504: _SILENCE},
    errors={},
    tag="retriever",
    parameters=(STEAM_IDS,),
    needs=Needs.ANY_KEY,
)
