"""Generated and stored matches, decoded by protobuf's own parser."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.gc.matches import facts, schema
from sandbox.gc.matches.catalogue import Catalogue, MatchesError, load

REAL = Path(
    os.environ.get("BOTAPI_REAL_MATCHES", Path(__file__).resolve().parents[4] / "shared" / "data")
)
EXISTING = st.integers(1, facts.FIRST_FUTURE_ID - 1).filter(lambda one: one != facts.BLOCKED_ID)


def match_of(catalogue: Catalogue, match_id: int) -> dict[str, Any]:
    outcome, body = catalogue.answer(match_id)
    assert outcome == "answered"
    response = schema.decode_response(body)
    assert response["result"] == 1
    match: dict[str, Any] = response["match"]
    return match


def result_of(catalogue: Catalogue, match_id: int) -> tuple[str, int]:
    outcome, body = catalogue.answer(match_id)
    return outcome, schema.decode_response(body)["result"]


@given(EXISTING)
def test_every_id_has_a_plausible_match_of_realistic_size(match_id: int) -> None:
    catalogue = Catalogue(seed=0)
    match = match_of(catalogue, match_id)
    assert match["match_id"] == str(match_id)
    assert 1_300_000_000 < match["starttime"] < 1_800_000_000
    assert 3000 < len(catalogue.answer(match_id)[1]) < 7000
    players = match["players"]
    assert len(players) == 10
    assert [one["player_slot"] for one in players] == [0, 1, 2, 3, 4, 128, 129, 130, 131, 132]
    assert len({one["hero_id"] for one in players}) == 10
    newest = {"hero_damage_dealt", "team_number", "team_slot", "selected_facet", "item_10"}
    assert all(newest <= one.keys() for one in players)


def test_the_same_id_gives_the_same_bytes_whatever_came_before() -> None:
    one, other = Catalogue(seed=3), Catalogue(seed=3)
    ids = list(range(5_000_000_000, 5_000_000_200))
    answers = {match_id: one.answer(match_id)[1] for match_id in ids}
    random.Random(1).shuffle(ids)
    assert all(other.answer(match_id)[1] == answers[match_id] for match_id in ids)
    assert Catalogue(seed=4).answer(ids[0])[1] != answers[ids[0]]


def test_items_reach_minus_one() -> None:
    catalogue = Catalogue(seed=0)
    items = [
        player[f"item_{n}"]
        for match_id in range(7_000_000_000, 7_000_000_020)
        for player in match_of(catalogue, match_id)["players"]
        for n in range(10)
    ]
    assert {-1, 0} < set(items)
    assert min(items) == -1


def test_start_times_grow_with_ids() -> None:
    ids = range(1, facts.FIRST_FUTURE_ID, 37_000_001)
    times = [facts.played_at(match_id) for match_id in ids]
    assert times == sorted(times)
    assert facts.played_at(1_781_962_623) == 1_441_835_947


def test_known_matches_have_their_real_facts() -> None:
    catalogue = Catalogue(seed=9)
    match = match_of(catalogue, 7_490_235_544)
    wanted = {"cluster": 153, "replay_salt": 447_089_001, "series_id": 834_995, "series_type": 1}
    assert {key: match[key] for key in wanted} == wanted
    assert match["replay_state"] == "REPLAY_AVAILABLE"
    assert match["leagueid"]
    old = match_of(catalogue, 1_781_962_623)
    assert (old["cluster"], old["replay_salt"]) == (132, 1)
    assert old["replay_state"] == "REPLAY_EXPIRED"
    match_of(catalogue, 2_417_912_704)


def test_future_blocked_and_hidden_ids_are_refused() -> None:
    catalogue = Catalogue(seed=0)
    assert result_of(catalogue, 9_000_000_000) == ("not_found", 2)
    assert result_of(catalogue, 0) == ("not_found", 2)
    assert result_of(catalogue, 4_000_000_015) == ("blocked", 15)
    catalogue.not_found.add(5)
    catalogue.blocked.add(6)
    assert result_of(catalogue, 5) == ("not_found", 2)
    assert result_of(catalogue, 6) == ("blocked", 15)
    assert result_of(catalogue, 8) == ("answered", 1)


def test_documented_rules_give_matches_without_replay() -> None:
    catalogue = Catalogue(seed=0)
    assert match_of(catalogue, 6_000_000_007)["replay_state"] == "REPLAY_EXPIRED"
    unrecorded = match_of(catalogue, 6_000_000_013)
    assert (unrecorded["replay_state"], unrecorded["replay_salt"]) == ("REPLAY_NOT_RECORDED", 0)
    ancient = match_of(catalogue, 50_000_001)
    assert (ancient["game_mode"], ancient["replay_salt"]) == ("DOTA_GAMEMODE_NONE", 0)


def test_answers_of_files_come_before_generated_ones(tmp_path: Path) -> None:
    answer = {
        "result": 1,
        "match": {"match_id": "77", "cluster": 111, "players": [{"item_10": -1}]},
    }
    (tmp_path / "one.json").write_text(json.dumps(answer))
    (tmp_path / "else.json").write_text('{"players": []}')
    catalogue = Catalogue(seed=0, stored=load(tmp_path))
    assert match_of(catalogue, 77) == answer["match"]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"result": 1, "match": {"match_id": "x"}}',
        '{"result": 1, "match": {"match_id": "1", "no_such_field": 1}}',
        '{"result": 1, "match": {"match_id": "1", "game_mode": "NO_SUCH_MODE"}}',
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "broken.json").write_text(text)
    with pytest.raises(MatchesError, match=r"broken\.json"):
        load(tmp_path)


def test_newer_enum_values_and_fields_are_known() -> None:
    match = {
        "match_id": "1",
        "game_mode": "DOTA_GAMEMODE_BOT_CHALLENGE",
        "match_outcome": "k_EMatchOutcome_Custom8Victory",
        "players": [{"team_number": "DOTA_GC_TEAM_NEUTRALS", "disable_duration": 3}],
    }
    encoded = schema.encode_response({"result": 1, "match": match})
    assert schema.decode_response(encoded) == {"result": 1, "match": match}


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real matches in {REAL}")
def test_a_real_answer_is_unchanged_by_encoding_and_decoding() -> None:
    answer = json.loads((REAL / "retriever_match.json").read_bytes())
    body = load(REAL)[1_781_962_623].body
    assert schema.decode_response(body) == answer
