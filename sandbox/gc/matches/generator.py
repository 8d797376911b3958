"""Generates matches from their ids: the same id always gives the same bytes.

A match has ten players from a pool plus the fields of the match. A pool entry is the encoded fields of
one player, generated at its first use, so a match costs about ten joins instead of a thousand fields.
"""

from __future__ import annotations

import random
from typing import Any, Final

from sandbox.gc.matches import facts
from sandbox.gc.messages import MATCH_HEAD, MATCH_TAIL, PLAYER, PLAYER_TAIL
from sandbox.protocol.wire import varint

HEROES: Final = 126
_STYLES: Final = 6  # pool entries per hero
_CLUSTERS: Final = (
    *(111, 112, 113, 121, 122, 123, 124, 131, 132, 133, 135, 136, 137, 138, 151, 152, 153, 154),
    *(155, 156, 161, 171, 172, 181, 182, 183, 184, 187, 188, 191, 192, 204, 211, 213, 223, 224),
    *(225, 227, 231, 236, 251, 261, 271, 273, 274, 413, 415, 417),
)
_MODES: Final = (22, 22, 22, 22, 22, 23, 23, 2, 3, 4, 1, 18, 26)  # 26 is newer than the package
_TEAM_SIZE: Final = 5
_DIRE: Final = 128  # player_slot of the first dire player
_PLAYERS_TAG: Final = varint(5 << 3 | 2)
_ACCOUNT_TAG: Final = varint(1 << 3)
_SLOT_TAG: Final = varint(2 << 3)
_TEAM_TAG: Final = varint(80 << 3)
_TEAM_SLOT_TAG: Final = varint(81 << 3)
_MASK64: Final = (1 << 64) - 1


def _mix(number: int) -> int:
    """Mix a number to 64 bits (splitmix64); cheaper than seeding a generator per match."""
    number = (number + 0x9E3779B97F4A7C15) & _MASK64
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & _MASK64
    number = (number ^ number >> 27) * 0x94D049BB133111EB & _MASK64
    return number ^ number >> 31


class Generator:
    """Generates matches; each `seed` gives other matches."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._pool: dict[tuple[int, int], tuple[bytes, bytes]] = {}

    def match(self, match_id: int) -> bytes:
        """Return an encoded CMsgDOTAMatch for an id below `facts.FIRST_FUTURE_ID`."""
        number = _mix(match_id ^ self._seed << 40)
        values = self._facts(match_id, number)
        heroes = self._heroes(number)
        parts = [
            MATCH_HEAD.encode({key: values.pop(key) for key in ("duration", "starttime")}),
        ]
        for index, hero in enumerate(heroes):
            player = self._player(index, hero, number)
            parts += (_PLAYERS_TAG, varint(len(player)), player)
        values["picks_bans"] = [
            {"is_pick": True, "team": index // _TEAM_SIZE, "hero_id": hero}
            for index, hero in enumerate(heroes)
        ]
        parts.append(MATCH_TAIL.encode(values))
        return b"".join(parts)

    def replay_salt(self, match_id: int) -> int | None:
        """Return the salt in the name of a match's replay file; None if there is no file."""
        return facts.replay_salt(self._facts(match_id, _mix(match_id ^ self._seed << 40)))

    def _facts(self, match_id: int, number: int) -> dict[str, Any]:
        radiant_won = number & 1
        values: dict[str, Any] = {
            "duration": 900 + number % 3000,
            "starttime": facts.played_at(match_id),
            "match_id": match_id,
            "tower_status": [1983 if radiant_won else 4, 4 if radiant_won else 1983],
            "barracks_status": [63 if radiant_won else 3, 3 if radiant_won else 63],
            "cluster": _CLUSTERS[number % len(_CLUSTERS)],
            "first_blood_time": 20 + (number >> 8) % 300,
            "replay_salt": (number >> 16) % 0x7FFFFFFE + 1,
            "lobby_type": 7,
            "human_players": 10,
            "average_skill": (number >> 3) % 4,
            "game_balance": 0.5,
            "leagueid": 0,
            "game_mode": _MODES[(number >> 5) % len(_MODES)],
            "match_seq_num": match_id * 83 // 100,
            "replay_state": facts.REPLAY_AVAILABLE,
            "series_id": 0,
            "series_type": 0,
            "engine": 1,
            "match_flags": 0,
            "radiant_team_score": 10 + (number >> 20) % 50,
            "dire_team_score": 10 + (number >> 26) % 50,
            "match_outcome": 2 if radiant_won else 3,
            "pre_game_duration": 90,
        }
        values |= _replay_rule(match_id)
        values |= facts.PINNED.get(match_id, {})
        return values

    def _heroes(self, number: int) -> list[int]:
        """Return ten different heroes."""
        start, step = number % HEROES, 1 + (number >> 12) % 11
        heroes: list[int] = []
        while len(heroes) < 2 * _TEAM_SIZE:
            hero = start % HEROES + 1
            start += step
            if hero in heroes:  # the step has come full circle: use the neighbour from here on
                start += 1
                continue
            heroes.append(hero)
        return heroes

    def _player(self, index: int, hero: int, number: int) -> bytes:
        mixed = _mix(number + index)
        key = (hero, mixed % _STYLES)
        template = self._pool.get(key)
        if template is None:
            template = self._pool[key] = _template(self._seed, *key)
        team, slot = divmod(index, _TEAM_SIZE)
        account = 20_000_000 + mixed % 1_500_000_000
        return b"".join(
            (
                _ACCOUNT_TAG,
                varint(account),
                _SLOT_TAG,
                varint(team * _DIRE + slot),
                template[0],
                _TEAM_TAG,
                varint(team),
                _TEAM_SLOT_TAG,
                varint(slot),
                template[1],
            )
        )


def _replay_rule(match_id: int) -> dict[str, Any]:
    if match_id in facts.OLD_FORMAT:
        return {"game_mode": 0, "replay_salt": 0, "replay_state": facts.REPLAY_NOT_RECORDED}
    if match_id % 100 == 13:  # noqa: PLR2004 - the documented rule
        return {"replay_salt": 0, "replay_state": facts.REPLAY_NOT_RECORDED}
    if match_id % 10 == 7:  # noqa: PLR2004 - the documented rule
        return {"replay_state": facts.REPLAY_EXPIRED}
    return {}


def _template(seed: int, hero: int, style: int) -> tuple[bytes, bytes]:
    """Return one pool entry: the fields before team_number, and those after team_slot."""
    rng = random.Random(f"player {seed} {hero} {style}")
    level = rng.randint(11, 30)
    values = _stats(rng, level) | _items(rng) | _damage(rng)
    values["hero_id"] = hero
    values["player_name"] = rng.choice(("Miracle", "Käse", "玩家", "N0tail", "Дота")) + str(hero)
    values["ability_upgrades"] = [
        {"ability": 5000 + hero * 8 + rng.randrange(4), "time": 60 * n + rng.randrange(50)}
        for n in range(level)
    ]
    tail = {
        "selected_facet": rng.randrange(1, 4),
        "item_10": rng.choice((-1, 0, 1570 + rng.randrange(60))),
        "item_10_lvl": rng.randrange(5),
    }
    return PLAYER.encode(values), PLAYER_TAIL.encode(tail)


def _stats(rng: random.Random, level: int) -> dict[str, Any]:
    minute = rng.randint(250, 800)
    return {
        "expected_team_contribution": 0.5,
        "scaled_metric": rng.random() * 10,
        "previous_rank": rng.randrange(8000),
        "rank_change": rng.randint(-30, 30),
        "kills": rng.randrange(20),
        "deaths": rng.randrange(15),
        "assists": rng.randrange(30),
        "leaver_status": 0,
        "gold": rng.randrange(6000),
        "last_hits": rng.randrange(500),
        "denies": rng.randrange(30),
        "gold_per_min": minute,
        "xp_per_min": minute + rng.randrange(200),
        "gold_spent": minute * 35,
        "hero_damage": rng.randrange(5000, 60_000),
        "tower_damage": rng.randrange(20_000),
        "hero_healing": rng.randrange(8000),
        "level": level,
        "claimed_farm_gold": 0,
        "support_gold": rng.randrange(2000),
        "active_plus_subscription": rng.random() < 0.3,  # noqa: PLR2004 - three of ten
        "net_worth": minute * 40,
        "scaled_hero_damage": rng.randrange(5000, 60_000),
        "scaled_tower_damage": rng.randrange(20_000),
        "scaled_hero_healing": rng.randrange(8000),
        "hero_pick_order": rng.randrange(10),
        "hero_was_randomed": False,
        "hero_was_dota_plus_suggestion": False,
        "seconds_dead": rng.randrange(600),
        "gold_lost_to_death": rng.randrange(3000),
        "mmr_type": 3,
        "lane_selection_flags": rng.randrange(32),
        "bounty_runes": rng.randrange(10),
        "outposts_captured": rng.randrange(4),
    }


def _items(rng: random.Random) -> dict[str, Any]:
    values: dict[str, Any] = {
        f"item_{n}": rng.choice((-1, 0, rng.randrange(1, 300), rng.randrange(1, 2000)))
        for n in range(10)
    }
    values["party_id"] = rng.choice((0, rng.getrandbits(63)))
    values["permanent_buffs"] = [
        {
            "permanent_buff": buff,
            "stack_count": rng.randrange(20),
            "grant_time": rng.randrange(3000),
        }
        for buff in rng.sample(range(1, 20), rng.randrange(3))
    ]
    if rng.random() < 0.1:  # noqa: PLR2004 - one in ten
        items = [rng.randrange(1, 300), -1, 0]
        values["additional_units_inventory"] = [{"unit_name": "spirit_bear", "items": items}]
    return values


def _damage(rng: random.Random) -> dict[str, Any]:
    def rows() -> list[dict[str, int]]:
        return [
            {
                "pre_reduction": rng.randrange(20_000),
                "post_reduction": rng.randrange(15_000),
                "damage_type": kind,
            }
            for kind in range(3)
        ]

    return {"hero_damage_received": rows(), "hero_damage_dealt": rows()}
