"""Generated profile cards and former names."""

from __future__ import annotations

import random
from typing import Any, Final

FIRST_STEAM_ID: Final = 76_561_197_960_265_728  # of the individual with account id 0
_NEWEST: Final = 1_750_000_000  # unix seconds of the latest change of a name
_MOST_NAMES: Final = 10  # Steam keeps no more
_LONGEST_PERIOD_S: Final = 400 * 86_400
_RANKS: Final = (
    *range(11, 16),
    *range(41, 46),
    *range(71, 76),
    80,
)  # ten times the medal, and stars
_FIRST_WORDS: Final = ("Quiet", "Late", "Golden", "Lost", "Brave", "Río", "Zoë's", "雪")
_LAST_WORDS: Final = ("courier", "ward", "creep", "roshan", "<gg>", "mid", "сапог", "🐢")

# Cards that replace generated ones: numbers of real players.
PINNED: Final[dict[int, dict[str, Any]]] = {
    120_269_134: {
        "badge_points": 4325,
        "rank_tier": 80,
        "leaderboard_rank": 1476,
        "is_plus_subscriber": True,
        "plus_original_start_date": 0,
        "favorite_team_packed": 0,
        "lifetime_games": 1137,
    },
}


def card(seed: int, account_id: int) -> dict[str, Any]:
    """Return the values of a player's CMsgDOTAProfileCard, the same ones every time."""
    return {"account_id": account_id, **(PINNED.get(account_id) or _generated(seed, account_id))}


def _generated(seed: int, account_id: int) -> dict[str, Any]:
    rng = random.Random(f"card {seed} {account_id}")
    rank = rng.choice(_RANKS)
    values: dict[str, Any] = {
        "slots": [_slot(rng, number) for number in range(rng.randrange(4))],
        "badge_points": rng.randrange(50_000),
        "event_id": rng.randrange(40),
        "rank_tier": rank,
        "is_plus_subscriber": rng.random() < 0.3,  # noqa: PLR2004 - one in three or so
        "plus_original_start_date": rng.choice((0, rng.randrange(1_520_000_000, _NEWEST))),
        "title": rng.randrange(100),
        "favorite_team_packed": rng.choice((0, rng.getrandbits(64))),
        "lifetime_games": rng.randrange(12_000),
        "event_level": rng.randrange(500),
    }
    if rank == _RANKS[-1]:
        values["leaderboard_rank"] = rng.randrange(1, 5000)
    return values


def _slot(rng: random.Random, number: int) -> dict[str, Any]:
    content = rng.choice(
        (
            {"trophy": {"trophy_id": rng.randrange(200), "trophy_score": rng.randrange(5000)}},
            {"stat": {"stat_id": rng.choice((3, 4, 5, 8, 99)), "stat_score": rng.randrange(9000)}},
            {"item": {"serialized_item": rng.randbytes(12), "item_id": rng.getrandbits(64)}},
            {"hero": {"hero_id": rng.choice((-1, rng.randrange(1, 150))), "hero_wins": 5}},
            {"emoticon": {"emoticon_id": rng.randrange(900)}},
            {"team": {"team_id": rng.randrange(10_000_000)}},
        )
    )
    return {"slot_id": number, **content}


def former_names(seed: int, steam_id: int) -> list[dict[str, Any]]:
    """Return the values of the NameInstances of an individual, the newest first."""
    rng = random.Random(f"names {seed} {steam_id}")
    since, names = _NEWEST, []
    for _ in range(rng.randrange(1, _MOST_NAMES + 1)):
        since -= rng.randrange(60, _LONGEST_PERIOD_S)
        name = f"{rng.choice(_FIRST_WORDS)} {rng.choice(_LAST_WORDS)}"
        names.append({"name_since": since, "name": name})
    return names
