"""Public operations, as data for routes and for the OpenAPI document.

The operations of OpenDota's retriever have no errors in the API's own form: their clients read the status
and the headers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from actors import errors
from actors.http.content import JSON, PROTOBUF
from actors.http.openapi import inputs, outputs
from actors.http.openapi.operation import BODY, Answer, Needs, Operation, Words, in_json, words
from actors.matches.match import Availability

NDJSON: Final = "application/x-ndjson"
# Error word and message if there is no file.
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
        "this match is older than today's form of replays",
    ),
}

_BROWSER: Final = words(errors.ForeignPage, errors.ForeignHost)
_CLIENT: Final = words(errors.Unauthorized, _BROWSER, errors.RateLimited)
_MATCH_ERRORS: Final = words(
    errors.InvalidMatchId, errors.MatchNotFound, errors.MatchBlocked, errors.Unusable
)
_SERVICE: Final = words(
    errors.QuotaExhausted,
    errors.NotReady,
    errors.Busy,
    errors.RequestStoreUnavailable,
    errors.TimedOut,
)
_FETCH: Final = (inputs.TIMEOUT, inputs.CACHE_CONTROL)
_CONDITIONS: Final = (*_FETCH, inputs.IF_NONE_MATCH)
_TEXT: Final = "text/plain"
_STRING: Final = {"type": "string"}
_BINARY: Final = {"type": "string", "contentMediaType": PROTOBUF}
_FRESHNESS: Final = ("Cache-Control", "Age", "X-Cache")
_MATCH: Final = {
    200: Answer(
        "The Game Coordinator's response about the match.",
        {JSON: outputs.MATCH, PROTOBUF: _BINARY},
        headers=("ETag", *_FRESHNESS),
    ),
    304: Answer("The client already has the current response.", headers=("ETag", *_FRESHNESS)),
}

GET_MATCH_DETAILS: Final = Operation(
    "GET",
    "/match-details",
    "One match",
    "The Game Coordinator's response in protobuf's JSON mapping, preceded by `id` and `replay_url`. "
    "`Accept: application/x-protobuf` returns its bytes unchanged.",
    answers=_MATCH,
    errors=words(errors.MatchIdRequired, _MATCH_ERRORS, _CLIENT, _SERVICE),
    parameters=(inputs.MATCH_ID_IN_QUERY, *_CONDITIONS),
)

GET_MATCH: Final = Operation(
    "GET",
    "/matches/{match_id}",
    "One match, by its own URL",
    "The same as `/match-details?match_id=...`, except that an Accept header without an available media "
    "type is an error.",
    answers=_MATCH,
    errors=words(_MATCH_ERRORS, _CLIENT, _SERVICE, {406: ("not-acceptable",)}),
    parameters=(inputs.MATCH_ID_IN_PATH, *_CONDITIONS),
)

POST_MATCH_DETAILS: Final = Operation(
    "POST",
    "/match-details",
    "Many matches",
    "One line of JSON for each match, as soon as it is available, in any order: the response of GET, or "
    "an error with the `id`. Each match has its own time limit and counts as one request of the client: "
    "matches beyond its rate are answered with `rate-limited`. A slow reader is served slowly; after a "
    "disconnect, the remaining matches are not requested.",
    answers={200: Answer("One line for each match.", {NDJSON: _STRING})},
    errors=words(errors.InvalidRequest, _CLIENT, BODY),
    parameters=_FETCH,
    body={JSON: inputs.ManyMatches},
)

GET_REPLAY: Final = Operation(
    "GET",
    "/replays/{match_id}",
    "The replay of a match",
    "Redirects to the replay file, or returns the reason why there is none.",
    answers={
        200: Answer(
            "With `redirect=0`: the facts about the replay.",
            {JSON: outputs.Replay},
            headers=_FRESHNESS,
        ),
        302: Answer("The location of the file.", headers=("Location", *_FRESHNESS)),
    },
    errors=words(
        _MATCH_ERRORS, _CLIENT, _SERVICE, {404: tuple(word for word, _ in NO_REPLAY.values())}
    ),
    tag="replays",
    parameters=(inputs.MATCH_ID_IN_PATH, inputs.REDIRECT, *_FETCH),
)

_UNHEALTHY: Final[Words] = {503: ("unhealthy",)}

GET_HEALTHZ: Final = Operation(
    "GET",
    "/healthz",
    "Liveness",
    "Independent of Steam: a service without a ready bot is alive.",
    answers=in_json(200, "The process is alive.", outputs.Healthy),
    errors=words(_BROWSER, _UNHEALTHY),
    tag="service",
    needs=Needs.NOTHING,
)

GET_READYZ: Final = Operation(
    "GET",
    "/readyz",
    "Readiness",
    "The service is ready if it can request a new match, or if only the budget is spent: then known "
    "matches are answered, new ones are refused with 429 and the time, and `budget` is `spent`. "
    "Otherwise the response is 503, as for a new match.",
    answers=in_json(200, "At least one bot is ready, or only the budget is spent.", outputs.Ready),
    errors=words(_BROWSER, errors.NotReady),
    tag="service",
    needs=Needs.NOTHING,
)

GET_METRICS: Final = Operation(
    "GET",
    "/metrics",
    "Metrics",
    "For Prometheus: its text format, or OpenMetrics if the Accept header prefers it. The response is "
    "cached for a second.",
    answers={
        200: Answer("All metrics.", {_TEXT: _STRING, "application/openmetrics-text": _STRING})
    },
    errors=_BROWSER,
    tag="service",
    needs=Needs.NOTHING,
)

GET_STATUS: Final = Operation(
    "GET",
    "/status",
    "Fleet status",
    "Bots, router, alerts and the state of the settings.",
    answers=in_json(200, "Fleet status.", outputs.StatusOutput),
    errors=words(_CLIENT, _UNHEALTHY),
    tag="service",
)

_ACCOUNT: Final = (outputs.RETRIEVER_STEAM_ID, outputs.RETRIEVER_IP)
_FINAL: Final = (*_ACCOUNT, outputs.RETRIEVER_NO_RETRY, outputs.RETRIEVER_REASON)


def _text(summary: str, *headers: str) -> Answer:
    return Answer(summary, {_TEXT: _STRING}, headers=headers)


_REFUSALS: Final[Mapping[int, Answer]] = {
    400: _text("The request is invalid."),
    403: _text("`invalid key`: no API key, or an unknown one. Also for web pages of other sites."),
    429: _text("`too many requests`, of one client or of all clients.", "Retry-After"),
    500: _text("`not ready`: no bot is ready.", "Retry-After"),
}
_NO_ANSWER: Final = _text("No answer arrived in time.", "Retry-After")

GET_RETRIEVER_MATCH: Final = Operation(
    "GET",
    "/match/{match_id}",
    "One match, as OpenDota's retriever returns it",
    "The Game Coordinator's response as protobufjs prints it.",
    answers={
        200: Answer(
            "The Game Coordinator's response. With `x-match-noretry`: the match does not exist, or it is "
            "of the old format and has no replay.",
            {JSON: outputs.GC_ANSWER},
            headers=_FINAL,
        ),
        204: Answer(
            "With `x-match-noretry`: the match is blocked. Without: the Game Coordinator does not "
            "answer.",
            headers=_FINAL,
        ),
        **_REFUSALS,
        429: _text("`too many requests`, or every account's budget is spent.", "Retry-After"),
        502: _text("The Game Coordinator's responses for this match are unusable.", "Retry-After"),
        503: _text("Redis is unreachable, so the budget cannot be counted.", "Retry-After"),
    },
    errors={},
    tag="retriever",
    parameters=(inputs.NUMBER, *_FETCH),
    needs=Needs.ANY_KEY,
)

GET_PROFILE: Final = Operation(
    "GET",
    "/profile/{account_id}",
    "A player's profile card, as OpenDota's retriever returns it",
    "Uses no match budget.",
    answers={**in_json(200, "The card.", outputs.CARD), **_REFUSALS, 504: _NO_ANSWER},
    errors={},
    tag="retriever",
    parameters=(inputs.ACCOUNT_ID,),
    needs=Needs.ANY_KEY,
)

GET_ALIASES: Final = Operation(
    "GET",
    "/aliases/{steam_ids}",
    "Former names of players, as OpenDota's retriever returns them",
    "The response omits IDs without names. Uses no match budget.",
    answers={**in_json(200, "The names.", outputs.Aliases), **_REFUSALS, 504: _NO_ANSWER},
    errors={},
    tag="retriever",
    parameters=(inputs.STEAM_IDS,),
    needs=Needs.ANY_KEY,
)
