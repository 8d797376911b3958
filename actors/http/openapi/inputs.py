"""Inputs of public operations: parameters and bodies, which validate requests and describe them."""

from __future__ import annotations

import functools
import re
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from actors.errors import InvalidMatchId, InvalidRequest, MatchIdRequired
from actors.http.openapi.operation import Parameter

# Possessive: a long text that is no number is refused in linear time.
_NUMBER: Final = re.compile(
    r"\+?(?:[0-9]++(?:\.[0-9]++)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?", re.ASCII
)


def without_point(value: object) -> object:
    """Return 7 for 7.0: JSON has one kind of number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _whole(max_digits: int) -> BeforeValidator:
    """Return a validator that reads digits. Pydantic would accept " 7", "7.0" and "7_0" too."""
    digits = re.compile(rf"[0-9]{{1,{max_digits}}}", re.ASCII)

    def read(text: object) -> object:
        return int(text) if isinstance(text, str) and digits.fullmatch(text) else text

    return BeforeValidator(read)


def _decimal(text: object) -> object:
    return float(text) if isinstance(text, str) and _NUMBER.fullmatch(text) else text


MATCH_ID_LIMIT: Final = 1_024_000_000_000  # exclusive
MOST_IDS: Final = 1000  # in one bulk request
MIN_TIMEOUT_S: Final = 0.1
_ID_RANGE: Final = f"from 1 to {MATCH_ID_LIMIT - 1}"

_ID: Final = 7_490_235_544  # an example

_MatchId = Annotated[
    int, Field(strict=True, ge=1, lt=MATCH_ID_LIMIT), BeforeValidator(without_point)
]
MatchId = Annotated[_MatchId, Field(description="A match's id.", examples=[_ID])]
_MATCH_ID: Final = TypeAdapter[int](Annotated[_MatchId, _whole(13)])
_MATCH_ID_PROBLEM: Final = f"match_id must be a whole number {_ID_RANGE}"


def _match_id(place: Literal["path", "query"]) -> Parameter[int]:
    return Parameter(
        "match_id", place, _MATCH_ID, "A match's id.", _MATCH_ID_PROBLEM, examples=[_ID]
    )


MATCH_ID_IN_PATH: Final = _match_id("path")
MATCH_ID_IN_QUERY: Final = _match_id("query")
TIMEOUT: Final = Parameter(
    "X-Request-Timeout",
    "header",
    TypeAdapter[float](
        Annotated[
            float,
            Field(strict=True, ge=MIN_TIMEOUT_S, allow_inf_nan=False),
            BeforeValidator(_decimal),
        ]
    ),
    "Seconds after which you stop waiting; `http.deadline` where that is less.",
    f"X-Request-Timeout must be a number of seconds, {MIN_TIMEOUT_S} or more",
    examples=[5],
    is_required=False,
)
CACHE_CONTROL: Final = Parameter(
    "Cache-Control",
    "header",
    TypeAdapter(str),
    "`no-cache` requests the match from the Game Coordinator even if it is known. Only for API keys with "
    "the right to refresh; ignored for other clients.",
    examples=["no-cache"],
    is_required=False,
)
IF_NONE_MATCH: Final = Parameter(
    "If-None-Match",
    "header",
    TypeAdapter(str),
    "The ETag of the response you have: 304 if it is still current.",
    is_required=False,
)
REDIRECT: Final = Parameter(
    "redirect",
    "query",
    TypeAdapter[str](Literal["0", "1"]),
    "`1` redirects to the file; `0` returns its facts as JSON.",
    "redirect must be 0 or 1",
    default="1",
)


class ManyMatches(BaseModel):
    """Match IDs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    match_ids: list[MatchId] = Field(
        min_length=1,
        max_length=MOST_IDS,
        description="Each is answered once, also if it is listed twice.",
        examples=[[_ID, 1_781_962_623]],
    )


@functools.lru_cache(maxsize=4096)  # of texts of at most 13 digits: errors are not cached
def parse_match_id(text: str | None) -> int:
    """Return the match ID in `text`.

    Raises:
        MatchIdRequired: `text` is missing or empty.
        InvalidMatchId: not a whole number within 1 .. 1024000000000 (exclusive).
    """
    if not text:
        raise MatchIdRequired("match_id is missing: ask for /match-details?match_id=7490235544")
    try:
        return _MATCH_ID.validate_python(text)
    except ValidationError:
        raise InvalidMatchId(_MATCH_ID_PROBLEM) from None


def parse_match_ids(body: bytes) -> tuple[int, ...]:
    """Return the IDs in the body of a request, each once, in their order.

    Raises:
        InvalidRequest: not JSON, or not as `ManyMatches`.
    """
    try:
        many = ManyMatches.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the body"
        raise InvalidRequest(
            f'the body must be {{"match_ids": [...]}}, 1 to {MOST_IDS} ids {_ID_RANGE}; '
            f"{where}: {first['msg']}"
        ) from None
    return tuple(dict.fromkeys(many.match_ids))


# -- the routes of OpenDota's retriever --------------------------------------------------------------

MAX_ALIASES: Final = 100
ACCOUNT_ID_LIMIT: Final = 1 << 32  # exclusive
MAX_STEAM_ID: Final = (1 << 64) - 1
MAX_DIGITS: Final = 19

NUMBER: Final = Parameter(
    "match_id",
    "path",
    TypeAdapter[int](
        Annotated[int, Field(strict=True, ge=0, lt=10**MAX_DIGITS), _whole(MAX_DIGITS)]
    ),
    "A match's id. A number that is no match's is a match that does not exist.",
    "match_id must be a number",
    examples=[_ID],
)
ACCOUNT_ID: Final = Parameter(
    "account_id",
    "path",
    TypeAdapter[int](
        Annotated[int, Field(strict=True, ge=0, lt=ACCOUNT_ID_LIMIT), _whole(MAX_DIGITS)]
    ),
    "A player's account id: the lower half of the SteamID64.",
    f"account_id must be a number from 0 to {ACCOUNT_ID_LIMIT - 1}",
    examples=[120_269_134],
)


def _split(text: object) -> object:
    return text.split(",", MAX_ALIASES) if isinstance(text, str) else text


# Any 64-bit number: one ID that is no player's must not cost the others their answer.
SteamId = Annotated[int, Field(strict=True, ge=0, le=MAX_STEAM_ID), _whole(MAX_DIGITS + 1)]
STEAM_IDS: Final = Parameter(
    "steam_ids",
    "path",
    TypeAdapter[list[int]](
        Annotated[
            list[SteamId], Field(min_length=1, max_length=MAX_ALIASES), BeforeValidator(_split)
        ]
    ),
    "SteamID64 of players, separated by commas.",
    f"steam_ids must be 1 to {MAX_ALIASES} numbers of 64 bits, with commas between",
    # JavaScript's numbers hold these exactly: they have 53 bits.
    examples=[[76_561_198_048_632_960, 76_561_197_960_266_000]],
)
