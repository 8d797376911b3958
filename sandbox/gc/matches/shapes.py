"""Tables of the current CMsgDOTAMatch: names and numbers as of odota/core's protos (Nov 2025).

Fields 79 to 85 of a player, `starttime`, `xp_per_min` and the signed items are newer than the `dota2`
package's schema.
"""

from __future__ import annotations

from typing import Final

from sandbox.protocol.wire import Shape, field

PICK_BAN: Final = Shape(
    "CMatchHeroSelectEvent",
    field(1, "is_pick", "bool"),
    field(2, "team", "uint32"),
    field(3, "hero_id", "int32"),
)
ABILITY: Final = Shape(
    "CMatchPlayerAbilityUpgrade", field(1, "ability", "int32"), field(2, "time", "uint32")
)
BUFF: Final = Shape(
    "CMatchPlayerPermanentBuff",
    field(1, "permanent_buff", "uint32"),
    field(2, "stack_count", "uint32"),
    field(3, "grant_time", "uint32"),
)
UNIT: Final = Shape(
    "CMatchAdditionalUnitInventory",
    field(1, "unit_name", "string"),
    field(2, "items", "int32", many=True),
)
DAMAGE: Final = Shape(
    "HeroDamageReceived",
    field(1, "pre_reduction", "uint32"),
    field(2, "post_reduction", "uint32"),
    field(3, "damage_type", "enum"),
)
_ITEMS: Final = (4, 5, 6, 7, 8, 9, 59, 60, 61, 76)

# A player without what depends on the match: account_id 1, player_slot 2, team_number 80, team_slot 81.
PLAYER: Final = Shape(
    "CMsgDOTAMatch.Player",
    field(3, "hero_id", "int32"),
    *(field(number, f"item_{n}", "int32") for n, number in enumerate(_ITEMS)),
    field(10, "expected_team_contribution", "float"),
    field(11, "scaled_metric", "float"),
    field(12, "previous_rank", "uint32"),
    field(13, "rank_change", "sint32"),
    field(14, "kills", "uint32"),
    field(15, "deaths", "uint32"),
    field(16, "assists", "uint32"),
    field(17, "leaver_status", "uint32"),
    field(18, "gold", "uint32"),
    field(19, "last_hits", "uint32"),
    field(20, "denies", "uint32"),
    field(21, "gold_per_min", "uint32"),
    field(22, "xp_per_min", "uint32"),
    field(23, "gold_spent", "uint32"),
    field(24, "hero_damage", "uint32"),
    field(25, "tower_damage", "uint32"),
    field(26, "hero_healing", "uint32"),
    field(27, "level", "uint32"),
    field(29, "player_name", "string"),
    field(38, "party_id", "fixed64"),
    field(42, "claimed_farm_gold", "uint32"),
    field(43, "support_gold", "uint32"),
    field(47, "ability_upgrades", ABILITY, many=True),
    field(48, "additional_units_inventory", UNIT, many=True),
    field(51, "active_plus_subscription", "bool"),
    field(52, "net_worth", "uint32"),
    field(54, "scaled_hero_damage", "uint32"),
    field(55, "scaled_tower_damage", "uint32"),
    field(56, "scaled_hero_healing", "uint32"),
    field(57, "permanent_buffs", BUFF, many=True),
    field(63, "hero_pick_order", "uint32"),
    field(64, "hero_was_randomed", "bool"),
    field(67, "hero_damage_received", DAMAGE, many=True),
    field(69, "hero_was_dota_plus_suggestion", "bool"),
    field(70, "seconds_dead", "uint32"),
    field(71, "gold_lost_to_death", "uint32"),
    field(74, "mmr_type", "uint32"),
    field(75, "lane_selection_flags", "uint32"),
    field(77, "bounty_runes", "uint32"),
    field(78, "outposts_captured", "uint32"),
    field(79, "hero_damage_dealt", DAMAGE, many=True),
)
PLAYER_TAIL: Final = Shape(
    "CMsgDOTAMatch.Player",
    field(82, "selected_facet", "uint32"),
    field(83, "item_10", "int32"),
    field(84, "item_10_lvl", "int32"),
)
# What comes before and behind the players (field 5).
MATCH_HEAD: Final = Shape(
    "CMsgDOTAMatch", field(3, "duration", "uint32"), field(4, "starttime", "fixed32")
)
MATCH_TAIL: Final = Shape(
    "CMsgDOTAMatch",
    field(6, "match_id", "uint64"),
    field(8, "tower_status", "uint32", many=True),
    field(9, "barracks_status", "uint32", many=True),
    field(10, "cluster", "uint32"),
    field(12, "first_blood_time", "uint32"),
    field(13, "replay_salt", "fixed32"),
    field(16, "lobby_type", "uint32"),
    field(17, "human_players", "uint32"),
    field(18, "average_skill", "uint32"),
    field(19, "game_balance", "float"),
    field(20, "radiant_team_id", "uint32"),
    field(21, "dire_team_id", "uint32"),
    field(22, "leagueid", "uint32"),
    field(23, "radiant_team_name", "string"),
    field(24, "dire_team_name", "string"),
    field(25, "radiant_team_logo", "uint64"),
    field(26, "dire_team_logo", "uint64"),
    field(31, "game_mode", "enum"),
    field(32, "picks_bans", PICK_BAN, many=True),
    field(33, "match_seq_num", "uint64"),
    field(34, "replay_state", "enum"),
    field(39, "series_id", "uint32"),
    field(40, "series_type", "uint32"),
    field(44, "engine", "uint32"),
    field(46, "match_flags", "uint32"),
    field(48, "radiant_team_score", "uint32"),
    field(49, "dire_team_score", "uint32"),
    field(50, "match_outcome", "enum"),
    field(53, "pre_game_duration", "uint32"),
)
RESPONSE: Final = Shape(
    "CMsgGCMatchDetailsResponse",
    field(1, "result", "uint32"),
    field(2, "match", "bytes"),
    field(3, "vote", "enum"),
)
