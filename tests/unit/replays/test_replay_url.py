"""Replay URLs, and the API's JSON of an answer."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from actors.matches.match import Availability, MatchDetails, ReplayFacts, to_json

GOOD = {"match_id": "7490235544", "cluster": 153, "replay_salt": 447089001}
URL = "http://replay153.valve.net/570/7490235544_447089001.dem.bz2"


def details(**match: Any) -> MatchDetails:
    return MatchDetails.of({"result": 1, "match": {**GOOD, **match}})


@pytest.mark.parametrize(
    ("match", "url"),
    [
        ({}, URL),
        ({"replay_state": "REPLAY_AVAILABLE"}, URL),
        ({"cluster": 413}, "http://replay413.dota2.com.cn/570/7490235544_447089001.dem.bz2"),
        ({"cluster": 415}, "http://replay415.dota2.com.cn/570/7490235544_447089001.dem.bz2"),
        ({"cluster": 417}, "http://replay417.dota2.com.cn/570/7490235544_447089001.dem.bz2"),
        ({"cluster": 416}, "http://replay416.valve.net/570/7490235544_447089001.dem.bz2"),
        ({"replay_salt": 0}, None),
        ({"replay_state": "REPLAY_EXPIRED", "replay_salt": 1}, None),
        ({"replay_state": "REPLAY_NOT_RECORDED"}, None),
        ({"replay_state": 17}, None),
        ({"cluster": 0}, None),
        ({"game_mode": "DOTA_GAMEMODE_NONE", "replay_salt": 0}, None),
    ],
)
def test_a_replay_has_a_url_exactly_when_it_is_there(
    match: dict[str, Any], url: str | None
) -> None:
    assert details(**match).replay.url == url


def test_an_absent_match_has_no_replay() -> None:
    assert MatchDetails.of({"result": 2}).replay.url is None


def test_an_answer_without_a_result_is_a_failure() -> None:
    assert MatchDetails.of({}).result == 2


def test_json_is_the_answer_with_id_and_url_in_front() -> None:
    answer = orjson.loads(to_json(7490235544, details()))
    assert answer == {"id": 7490235544, "replay_url": URL, "result": 1, "match": GOOD}
    assert list(answer)[:2] == ["id", "replay_url"]


@pytest.mark.parametrize(
    ("match", "ended_at"),
    [
        ({}, None),
        ({"duration": 2846}, None),
        ({"starttime": 0, "duration": 2846}, None),
        ({"starttime": 1702703340}, 1702703340),
        ({"starttime": 1702703340, "duration": 2846}, 1702706186),
        ({"starttime": 1702703340, "duration": 2846, "pre_game_duration": 90}, 1702706276),
    ],
)
def test_a_match_ends_after_its_start_by_all_its_parts(
    match: dict[str, Any], ended_at: int | None
) -> None:
    assert details(**match).replay.ended_at == ended_at


@pytest.mark.parametrize(
    ("match", "is_old"),
    [
        ({}, False),
        ({"game_mode": "DOTA_GAMEMODE_NONE"}, False),
        ({"replay_salt": 0}, True),  # the schema's default of the mode is NONE
        ({"game_mode": "DOTA_GAMEMODE_AP", "replay_salt": 0}, False),
        ({"game_mode": 26, "replay_salt": 0}, False),
        ({"game_mode": "DOTA_GAMEMODE_NONE", "replay_salt": 0}, True),
    ],
)
def test_the_old_format_is_no_mode_and_no_salt(match: dict[str, Any], *, is_old: bool) -> None:
    assert details(**match).replay.is_old_format is is_old


def test_an_absent_salt_is_none_and_an_absent_match_is_not_old() -> None:
    assert MatchDetails.of({"result": 1, "match": {"match_id": "5"}}).replay.is_old_format
    assert not MatchDetails.of({"result": 1}).replay.is_old_format
    assert not MatchDetails.of({"result": 2, "match": {}}).replay.is_old_format


@pytest.mark.parametrize(
    ("ended_ago_s", "left_s"),
    [(0, 600), (599, 1), (600, 0), (3600, 0), (-60, 660), (-86_400, 0), (-2_500_000_000, 0)],
)
def test_a_replay_is_waited_for_only_just_after_its_match(
    ended_ago_s: float, left_s: float
) -> None:
    """A match that claims to end in a hundred years has ended."""
    now = 1_800_000_000.0
    facts = ReplayFacts("REPLAY_AVAILABLE", 1, 2, "http://x", ended_at=int(now - ended_ago_s))
    assert facts.upload_left_s(now) == left_s
    expected = Availability.NOT_YET if left_s else Availability.AVAILABLE
    assert facts.availability(now) is expected
