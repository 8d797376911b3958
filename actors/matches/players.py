"""JSON of OpenDota's retriever: profile cards, former names, matches."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from google.protobuf.descriptor import FieldDescriptor as F

from actors.matches.protobuf.decoder import Decoder
from actors.matches.protobuf.schema import (
    CARD,
    RESPONSE,
    FieldSpec,
    Schema,
    card_schema,
    match_schema,
)
from actors.matches.protobuf.wire import DecodeError, widened

OK: Final = 1  # EResult
_NAMES: Final = "CMsgClientAMGetPersonaNameHistoryResponse"
_TABLE: Final = f"{_NAMES}.NameTableInstance"
_NAME: Final = f"{_TABLE}.NameInstance"
# A message of Steam, not of Dota 2 (node-steam-user).
_NAMES_SCHEMA: Final = Schema(
    messages={
        _NAMES: (FieldSpec(2, "responses", F.TYPE_MESSAGE, _TABLE, repeated=True),),
        _TABLE: (
            FieldSpec(1, "eresult", F.TYPE_INT32),
            FieldSpec(2, "steamid", F.TYPE_FIXED64),
            FieldSpec(3, "names", F.TYPE_MESSAGE, _NAME, repeated=True),
        ),
        _NAME: (
            FieldSpec(1, "name_since", F.TYPE_FIXED32),
            FieldSpec(2, "name", F.TYPE_STRING),
        ),
    }
)


class PlayerDecoder:
    """Decodes answers about players."""

    def __init__(self) -> None:
        self._cards = Decoder(card_schema(), CARD)
        self._names = Decoder(_NAMES_SCHEMA, _NAMES)

    def card(self, account_id: int, body: bytes) -> bytes:
        """Return the profile card of a player as JSON.

        Raises:
            DecodeError: `body` is not a card, or is the card of another player.
        """
        card = self._cards.fields(body)
        if card.get("account_id", account_id) != account_id:
            raise DecodeError(f"the answer was about player {card['account_id']}")
        return orjson.dumps(card)

    def aliases(self, steam_ids: Collection[int], body: bytes) -> bytes:
        """Return the former names of players as JSON: SteamID to names, in Steam's order.

        Players without an answer are left out, and so are other players.

        Raises:
            DecodeError: `body` is not such an answer.
        """
        wanted = {str(steam_id) for steam_id in steam_ids}
        tables = self._names.fields(body).get("responses", ())
        return orjson.dumps(
            {
                table["steamid"]: [_name(one) for one in table.get("names", ())]
                for table in tables
                if table.get("eresult") == OK and table.get("steamid") in wanted
            }
        )


def _name(one: dict[str, Any]) -> dict[str, str]:
    since = datetime.fromtimestamp(one.get("name_since", 0), UTC)
    return {"name_since": f"{since:%Y-%m-%dT%H:%M:%S}.000Z", "name": one.get("name", "")}


class RetrieverDecoder:
    """Decodes CMsgGCMatchDetailsResponse as protobufjs does.

    That is protobuf's JSON mapping, except that 32-bit floats are printed with 64 bits, as in JavaScript.
    """

    def __init__(self) -> None:
        self._decoder = Decoder(match_schema(), RESPONSE, float_of=widened)

    def json(self, body: bytes) -> bytes:
        """Return the GC's answer as JSON. Raises DecodeError."""
        return orjson.dumps(self._decoder.fields(body))
