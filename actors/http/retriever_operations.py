"""What is compatible with OpenDota's retriever in words, as `operations` has the rest.

Nothing here has an error in the API's own form: its callers look at statuses and headers, and people
read a line of text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from actors.http.inputs import MatchHeaders
from actors.http.match_schema import CARD, GC_ANSWER
from actors.http.operation import Answer, Needs, Operation
from actors.http.outputs import Aliases
from actors.http.representation import JSON
from actors.http.retriever_answers import IP, NO_RETRY, REASON, STEAM_ID
from actors.http.retriever_inputs import OnePlayer, RetrieverMatch, SomePlayers

_TEXT: Final = "text/plain"
_ASKED: Final = (STEAM_ID, IP)
_FINAL: Final = (*_ASKED, NO_RETRY, REASON)


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
            f"What the Game Coordinator says; with `{NO_RETRY}`: there is no such match, or the match "
            "is of the old format and has no replay.",
            {JSON: GC_ANSWER},
            headers=_FINAL,
        ),
        204: Answer(
            f"With `{NO_RETRY}`: the match is blocked. Without: the Game Coordinator is silent.",
            headers=_FINAL,
        ),
        **_REFUSALS,
        429: _said("`too many requests`, or every account's budget is spent.", "Retry-After"),
        502: _said("The Game Coordinator's answers for this match are of no use.", "Retry-After"),
        503: _said("Redis does not answer, so that no budget can be counted.", "Retry-After"),
    },
    errors={},
    tag="retriever",
    in_path=RetrieverMatch,
    in_headers=MatchHeaders,
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
    in_path=OnePlayer,
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
    in_path=SomePlayers,
    needs=Needs.ANY_KEY,
)
