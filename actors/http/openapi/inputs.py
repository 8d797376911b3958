"""Request types and parsers."""

from __future__ import annotations

import functools
import re
from typing import Annotated, Final, Literal, TypeVar

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


MOST_ALIASES: Final = 100
ACCOUNT_ID_LIMIT: Final = 1 << 32  # exclusive
LAST_STEAM_ID: Final = (1 << 64) - 1
MOST_DIGITS: Final = 19
MOST_STEAM_ID_DIGITS: Final = 20

T = TypeVar("T")


def _parts(text: object) -> object:
    return text.split(",", MOST_ALIASES) if isinstance(text, str) else text


NumberText = Annotated[
    int,
    Field(
        strict=True,
        ge=0,
        lt=10**MOST_DIGITS,
        description="A match's id. A number that is no match's is a match that does not exist.",
        examples=[7_490_235_544],
    ),
    whole_number(MOST_DIGITS),
]
AccountIdText = Annotated[
    int,
    Field(
        strict=True,
        ge=0,
        lt=ACCOUNT_ID_LIMIT,
        description="A player's account id: the lower half of the SteamID64.",
        examples=[120_269_134],
    ),
    whole_number(MOST_DIGITS),
]
# Any 64-bit number: one id that is no player's must not cost a batch of a hundred its answer.
SteamIdText = Annotated[
    int, Field(strict=True, ge=0, le=LAST_STEAM_ID), whole_number(MOST_STEAM_ID_DIGITS)
]
SteamIdsText = Annotated[
    list[SteamIdText],
    Field(
        min_length=1,
        max_length=MOST_ALIASES,
        description="SteamID64 of players, with commas between.",
        # Such as JavaScript can hold, for the page: its numbers have 53 bits.
        examples=[[76_561_198_048_632_960, 76_561_197_960_266_000]],
    ),
    BeforeValidator(_parts),
]


class RetrieverMatch(Input):
    """The match that is asked for."""

    match_id: NumberText


class OnePlayer(Input):
    """The player who is asked for."""

    account_id: AccountIdText


class SomePlayers(Input):
    """The players who are asked for."""

    steam_ids: SteamIdsText


_ACCOUNT_NUMBER: Final = TypeAdapter[int](NumberText)
_ACCOUNT_ID: Final = TypeAdapter[int](AccountIdText)
_STEAM_IDS: Final = TypeAdapter[list[int]](SteamIdsText)


def parse_number(text: str) -> int:
    """Return the number in `text`, a match's id or not.

    Raises:
        InvalidRequest: it is none.
    """
    return _parsed(_ACCOUNT_NUMBER, text, "match_id must be a number")


def parse_account_id(text: str) -> int:
    """Return the account id in `text`.

    Raises:
        InvalidRequest: it is none.
    """
    wanted = f"account_id must be a number from 0 to {ACCOUNT_ID_LIMIT - 1}"
    return _parsed(_ACCOUNT_ID, text, wanted)


def parse_steam_ids(text: str) -> tuple[int, ...]:
    """Return the ids in `text`, each once.

    Raises:
        InvalidRequest: one is no 64-bit number, or there are too many.
    """
    wanted = f"steam_ids must be 1 to {MOST_ALIASES} numbers of 64 bits, with commas between"
    steam_ids = _parsed(_STEAM_IDS, text, wanted)
    return tuple(dict.fromkeys(steam_ids))


def _parsed(adapter: TypeAdapter[T], text: str, wanted: str) -> T:
    try:
        return adapter.validate_python(text)
    except ValidationError:
        raise InvalidRequest(wanted) from None
