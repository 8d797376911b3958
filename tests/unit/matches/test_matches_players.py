"""Answers about players in the form of OpenDota's retriever."""

from __future__ import annotations

import base64
import contextlib
import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from steam.protobufs.steammessages_clientserver_pb2 import (
    CMsgClientAMGetPersonaNameHistoryResponse,
)

from actors.matches.players import PlayerDecoder
from actors.matches.protobuf.wire import DecodeError
from sandbox.gc import player_queries as players
from sandbox.gc.messages import PROFILE_CARD

REAL = Path(
    os.environ.get("BOTAPI_REAL_MATCHES")
    or Path(__file__).resolve().parents[3].parent / "shared" / "data"
)
DECODER = PlayerDecoder()
STATS = {3: "k_eStat_Wins", 4: "k_eStat_Commends", 5: "k_eStat_GamesPlayed", 8: "k_eStat_GamesMVP"}
SIXTY_FOUR_BITS = {"favorite_team_packed", "item_id"}
PLAYER = 76_561_197_960_265_728 + 7


def real(name: str) -> Any:
    source = REAL / name
    if not source.exists():
        pytest.skip(f"no real answer at {source}: set BOTAPI_REAL_MATCHES to where one is")
    return json.loads(source.read_text())


def names_of(*tables: tuple[int, int, list[tuple[int, str]]]) -> bytes:
    answer = CMsgClientAMGetPersonaNameHistoryResponse()
    for steam_id, eresult, names in tables:
        table = answer.responses.add(steamid=steam_id, eresult=eresult)
        for since, name in names:
            table.names.add(name_since=since, name=name)
    return bytes(answer.SerializeToString())


def test_a_real_card_comes_out_as_it_was() -> None:
    card = real("retriever_player.json")
    sent = {**card, "favorite_team_packed": int(card["favorite_team_packed"])}
    body = PROFILE_CARD.encode(sent)
    assert json.loads(DECODER.card(card["account_id"], body)) == card


def test_real_names_come_out_as_they_were() -> None:
    answer = real("retriever_aliases.json")
    tables = [
        (
            int(steam_id),
            1,
            [(int(datetime.fromisoformat(n["name_since"]).timestamp()), n["name"]) for n in names],
        )
        for steam_id, names in answer.items()
    ]
    assert json.loads(DECODER.aliases([int(one) for one in answer], names_of(*tables))) == answer


@given(st.integers(1, 2**32 - 1), st.integers(0, 5))
def test_all_of_a_card_is_shown(account_id: int, seed: int) -> None:
    card = players.card(seed, account_id)
    shown = json.loads(DECODER.card(account_id, PROFILE_CARD.encode(card)))
    assert shown == as_json(card)
    assert not DECODER._cards.unknown


def as_json(value: Any, name: str = "") -> Any:
    """Protobuf's JSON mapping, by hand; an empty list is no field."""
    if isinstance(value, dict):
        return {key: as_json(one, key) for key, one in value.items() if one != []}
    if isinstance(value, list):
        return [as_json(one) for one in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if name == "stat_id":
        return STATS.get(value, value)
    return str(value) if name in SIXTY_FOUR_BITS else value


def test_the_card_of_another_player_is_none() -> None:
    body = PROFILE_CARD.encode(players.card(0, 8))
    with pytest.raises(DecodeError, match="player 8"):
        DECODER.card(7, body)


def test_other_players_and_those_without_an_answer_are_left_out() -> None:
    body = names_of(
        (PLAYER, 1, [(0, "first")]), (PLAYER + 1, 2, []), (PLAYER + 2, 1, []), (PLAYER + 3, 1, [])
    )
    assert json.loads(DECODER.aliases({PLAYER, PLAYER + 1, PLAYER + 2}, body)) == {
        str(PLAYER): [{"name_since": "1970-01-01T00:00:00.000Z", "name": "first"}],
        str(PLAYER + 2): [],
    }


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_a_decode_error(body: bytes) -> None:
    with contextlib.suppress(DecodeError):
        json.loads(DECODER.card(7, body))
    with contextlib.suppress(DecodeError):
        json.loads(DECODER.aliases({7}, body))
