"""What clients may send, as types: requests are validated by them, and the API is described by them."""

from __future__ import annotations

import functools
import re
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from actors.errors import InvalidMatchId, InvalidRequest, MatchIdRequired

MATCH_ID_LIMIT: Final = 1_024_000_000_000  # exclusive; as the seed has it
MOST_IDS: Final = 1000  # of one bulk request; ten times what one account is good for in a day
SHORTEST_S: Final = 0.1  # that a client may wait; no deadline of ours is shorter either
# Possessive, so that a long text that is no number is refused in linear time.
_NUMBER: Final = re.compile(
    r"\+?(?:[0-9]++(?:\.[0-9]++)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?", re.ASCII
)


def without_point(value: object) -> object:
    """JSON knows one kind of number: 7.0 is as whole as 7."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def whole_number(most_digits: int) -> BeforeValidator:
    """Have a text taken for the number it is. Pydantic would take " 7", "7.0" and "7_0" too."""
    digits = re.compile(rf"[0-9]{{1,{most_digits}}}", re.ASCII)

    def read(text: object) -> object:
        return int(text) if isinstance(text, str) and digits.fullmatch(text) else text

    return BeforeValidator(read)


def _number(text: object) -> object:
    if isinstance(text, str) and _NUMBER.fullmatch(text):
        return float(text)
    return text


MatchId = Annotated[
    int,
    Field(
        strict=True, ge=1, lt=MATCH_ID_LIMIT, description="A match's id.", examples=[7_490_235_544]
    ),
    BeforeValidator(without_point),
]
MatchIdText = Annotated[MatchId, whole_number(13)]
SecondsText = Annotated[
    float, Field(strict=True, ge=SHORTEST_S, allow_inf_nan=False), BeforeValidator(_number)
]


class Input(BaseModel):
    """Some part of a request; its fields are optional where they have a default."""

    model_config = ConfigDict(frozen=True)


class OneMatch(Input):
    """The match that is asked for."""

    match_id: MatchIdText


class MatchHeaders(Input):
    """How a match is asked for."""

    x_request_timeout: SecondsText | None = Field(
        None,
        alias="X-Request-Timeout",
        description="Seconds after which you stop waiting; `http.deadline` where that is less.",
        examples=[5],
    )
    cache_control: str | None = Field(
        None,
        alias="Cache-Control",
        description="`no-cache` requests the match from the Game Coordinator even if it is known. Only "
        "for API keys with the right to refresh; ignored for other clients.",
        examples=["no-cache"],
    )


class MatchConditions(MatchHeaders):
    """How a match is asked for by those who have had it before."""

    if_none_match: str | None = Field(
        None,
        alias="If-None-Match",
        description="The ETag of the answer you have: 304 when it is still that one.",
    )


class ReplayQuery(Input):
    """How a replay is asked for."""

    redirect: Literal["0", "1"] = Field(
        "1", description="`1` leads to the file; `0` gives what is known of it as JSON."
    )


class ManyMatches(Input):
    """Some matches."""

    model_config = ConfigDict(extra="forbid")

    match_ids: list[MatchId] = Field(
        min_length=1,
        max_length=MOST_IDS,
        description="Each is answered once, also where it is named twice.",
        examples=[[7_490_235_544, 1_781_962_623]],
    )


_MATCH_ID: Final = TypeAdapter[int](MatchIdText)
_SECONDS: Final = TypeAdapter[float](SecondsText)
_REDIRECT: Final = TypeAdapter[str](Literal["0", "1"])


@functools.lru_cache(maxsize=4096)  # texts of 13 digits at most; what is refused is not kept
def parse_match_id(text: str | None) -> int:
    """Return the match id in `text`.

    Raises:
        MatchIdRequired: `text` is missing or empty.
        InvalidMatchId: not a whole number within 1 .. 1024000000000 (exclusive).
    """
    if not text:
        raise MatchIdRequired("match_id is missing: ask for /match-details?match_id=7490235544")
    try:
        return _MATCH_ID.validate_python(text)
    except ValidationError:
        raise InvalidMatchId(
            f"match_id must be a whole number from 1 to {MATCH_ID_LIMIT - 1}"
        ) from None


def parse_timeout(text: str) -> float:
    """Return the seconds in `text`.

    Raises:
        InvalidRequest: not a number, or less than `SHORTEST_S`.
    """
    try:
        return _SECONDS.validate_python(text)
    except ValidationError:
        raise InvalidRequest(
            f"X-Request-Timeout must be a number of seconds, {SHORTEST_S} or more"
        ) from None


def parse_redirect(text: str) -> bool:
    """Tell whether to redirect.

    Raises:
        InvalidRequest: neither 0 nor 1.
    """
    try:
        return _REDIRECT.validate_python(text) == "1"
    except ValidationError:
        raise InvalidRequest("redirect must be 0 or 1") from None


def parse_match_ids(body: bytes) -> tuple[int, ...]:
    """Return the ids in a request's body, each once, in their order.

    Raises:
        InvalidRequest: not JSON, or not what `ManyMatches` says.
    """
    try:
        many = ManyMatches.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the body"
        raise InvalidRequest(
            f'the body must be {{"match_ids": [...]}}, 1 to {MOST_IDS} ids from 1 to '
            f"{MATCH_ID_LIMIT - 1}; {where}: {first['msg']}"
        ) from None
    return tuple(dict.fromkeys(many.match_ids))
