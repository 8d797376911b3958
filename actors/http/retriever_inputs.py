"""What may be asked as OpenDota's retriever is asked, as types; see `inputs`."""

from __future__ import annotations

from typing import Annotated, Final, TypeVar

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from actors.errors import InvalidRequest
from actors.http.inputs import Input, whole_number

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


_NUMBER: Final = TypeAdapter[int](NumberText)
_ACCOUNT_ID: Final = TypeAdapter[int](AccountIdText)
_STEAM_IDS: Final = TypeAdapter[list[int]](SteamIdsText)


def parse_number(text: str) -> int:
    """Return the number in `text`, a match's id or not.

    Raises:
        InvalidRequest: it is none.
    """
    return _parsed(_NUMBER, text, "match_id must be a number")


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
