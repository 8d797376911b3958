"""Fixed facts of matches: pinned values, documented rules, and the time of a match id."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import Any, Final

FIRST_FUTURE_ID: Final = 9_000_000_000  # not played yet: result 2
BLOCKED_ID: Final = 4_000_000_015  # always result 15
# UTC seconds of about 27 July 2026: replays of matches since then are compressed with zstd
# (odota/core#2971).
ZSTD_SINCE: Final = 1_785_110_400
OLD_FORMAT: Final = range(50_000_000, 50_001_000)  # game_mode 0 and replay_salt 0, no replay

REPLAY_AVAILABLE, REPLAY_NOT_RECORDED, REPLAY_EXPIRED = 0, 1, 2

# (match id, unix time) of real matches, the last one extrapolated.
_ANCHORS: Final = (
    (1, 1_303_000_000),
    (50_000_000, 1_350_000_000),
    (271_601_114, 1_376_500_000),
    (1_781_962_623, 1_441_835_947),
    (2_417_912_704, 1_465_600_000),
    (3_254_426_673, 1_497_678_766),
    (7_490_235_544, 1_702_703_340),
    (8_800_000_000, 1_776_000_000),
    (9_000_000_000, 1_787_170_000),
)
_IDS: Final = tuple(match_id for match_id, _ in _ANCHORS)

# Values that replace generated ones.
PINNED: Final[dict[int, dict[str, Any]]] = {
    7_490_235_544: {
        "cluster": 153,
        "replay_salt": 447_089_001,
        "replay_state": REPLAY_AVAILABLE,
        "starttime": 1_702_703_340,
        "duration": 2846,
        "match_seq_num": 6_303_575_074,
        "lobby_type": 1,
        "game_mode": 2,
        "leagueid": 15_910,
        "series_id": 834_995,
        "series_type": 1,
        "radiant_team_id": 8_255_888,
        "dire_team_id": 5,
        "radiant_team_name": "BetBoom Team",
        "dire_team_name": "G2 x iG",
        "radiant_team_logo": 2_037_351_993_974_889_200,
        "dire_team_logo": 2_263_685_075_959_812_600,
        "radiant_team_score": 30,
        "dire_team_score": 7,
        "match_outcome": 2,
        "first_blood_time": 103,
    },
    1_781_962_623: {
        "cluster": 132,
        "replay_salt": 1,
        "replay_state": REPLAY_EXPIRED,
        "starttime": 1_441_835_947,
        "duration": 2220,
        "lobby_type": 7,
        "game_mode": 22,
        "first_blood_time": 338,
        "match_outcome": 2,
    },
}


def replay_salt(match: Mapping[str, Any]) -> int | None:
    """Return the salt in the name of a match's replay file; None if there is no file."""
    is_available = match.get("replay_state", 0) in {REPLAY_AVAILABLE, "REPLAY_AVAILABLE"}
    return match.get("replay_salt", 0) or None if is_available else None


def played_at(match_id: int) -> int:
    """Return a plausible start time (unix seconds) for an id below `FIRST_FUTURE_ID`."""
    right = min(max(bisect_right(_IDS, match_id), 1), len(_ANCHORS) - 1)
    (id_0, time_0), (id_1, time_1) = _ANCHORS[right - 1], _ANCHORS[right]
    return time_0 + (match_id - id_0) * (time_1 - time_0) // (id_1 - id_0)
