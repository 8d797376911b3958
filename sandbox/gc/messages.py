"""Message types of the Game Coordinator.

Numbers and names: odota/core `proto/gcsdk_gcmessages.proto`, `dota_gcmessages_client.proto` and
`dota_gcmessages_common.proto` (Nov 2025).
"""

from __future__ import annotations

from typing import Final

from sandbox.protocol.wire import MessageType, field

GC_CLIENT: Final = MessageType(
    "CMsgGCClient",
    field(1, "appid", "uint32"),
    field(2, "msgtype", "uint32"),
    field(3, "payload", "bytes"),
    field(4, "steamid", "fixed64"),
    field(5, "gcname", "string"),
)
GC_HEADER: Final = MessageType(
    "CMsgProtoBufHeader",
    field(1, "client_steam_id", "fixed64"),
    field(2, "client_session_id", "int32"),
    field(3, "source_app_id", "uint32"),
    field(10, "job_id_source", "fixed64"),
    field(11, "job_id_target", "fixed64"),
    field(12, "target_job_name", "string"),
)
CONNECTION_STATUS: Final = MessageType(
    "CMsgConnectionStatus",
    field(1, "status", "enum"),
    field(2, "client_session_need", "uint32"),
    field(3, "queue_position", "int32"),
    field(4, "queue_size", "int32"),
    field(5, "wait_seconds", "int32"),
    field(6, "estimated_wait_seconds_remaining", "int32"),
)
COMPRESSED: Final = MessageType(
    "CMsgGCToClientCompressedMsg",
    field(1, "msg_id", "uint32"),
    field(2, "compressed_msg", "bytes"),
)
ITEM: Final = MessageType(
    "CSOEconItem",
    field(1, "id", "uint64"),
    field(2, "account_id", "uint32"),
    field(3, "inventory", "uint32"),
    field(4, "def_index", "uint32"),
    field(5, "quantity", "uint32"),
    field(6, "level", "uint32"),
    field(7, "quality", "uint32"),
    field(8, "flags", "uint32"),
    field(9, "origin", "uint32"),
    field(16, "original_id", "uint64"),
)
SUBSCRIBED_TYPE: Final = MessageType(
    "SubscribedType", field(1, "type_id", "int32"), field(2, "object_data", "bytes", repeated=True)
)
OWNER: Final = MessageType("CMsgSOIDOwner", field(1, "type", "uint32"), field(2, "id", "uint64"))
CACHE: Final = MessageType(
    "CMsgSOCacheSubscribed",
    field(2, "objects", SUBSCRIBED_TYPE, repeated=True),
    field(3, "version", "fixed64"),
    field(4, "owner_soid", OWNER),
)
DOTA_WELCOME: Final = MessageType(
    "CMsgDOTAWelcome",
    field(5, "store_item_hash", "uint32"),
    field(12, "last_time_played", "uint32"),
    field(18, "currency", "uint32"),
    field(22, "gc_socache_file_version", "uint32"),
    field(35, "active_event_for_display", "enum"),
)
WELCOME: Final = MessageType(
    "CMsgClientWelcome",
    field(1, "version", "uint32"),
    field(2, "game_data", "bytes"),
    field(3, "outofdate_subscribed_caches", CACHE, repeated=True),
    field(9, "gc_socache_file_version", "uint32"),
    field(10, "txn_country_code", "string"),
    field(12, "rtime32_gc_welcome_timestamp", "uint32"),
)
MATCH_REQUEST: Final = MessageType("CMsgGCMatchDetailsRequest", field(1, "match_id", "uint64"))
PROFILE_REQUEST: Final = MessageType(
    "CMsgClientToGCGetProfileCard", field(1, "account_id", "uint32")
)
CARD_SLOT: Final = MessageType(
    "CMsgDOTAProfileCard.Slot",
    field(1, "slot_id", "uint32"),
    field(
        2,
        "trophy",
        MessageType("Trophy", field(1, "trophy_id", "uint32"), field(2, "trophy_score", "uint32")),
    ),
    field(
        3,
        "stat",
        MessageType("Stat", field(1, "stat_id", "enum"), field(2, "stat_score", "uint32")),
    ),
    field(
        4,
        "item",
        MessageType("Item", field(1, "serialized_item", "bytes"), field(2, "item_id", "uint64")),
    ),
    field(
        5,
        "hero",
        MessageType("Hero", field(1, "hero_id", "int32"), field(2, "hero_wins", "uint32")),
    ),
    field(6, "emoticon", MessageType("Emoticon", field(1, "emoticon_id", "uint32"))),
    field(7, "team", MessageType("Team", field(1, "team_id", "uint32"))),
)
PROFILE_CARD: Final = MessageType(
    "CMsgDOTAProfileCard",
    field(1, "account_id", "uint32"),
    field(3, "slots", CARD_SLOT, repeated=True),
    field(4, "badge_points", "uint32"),
    field(6, "event_id", "uint32"),
    field(8, "rank_tier", "uint32"),
    field(9, "leaderboard_rank", "uint32"),
    field(10, "is_plus_subscriber", "bool"),
    field(11, "plus_original_start_date", "uint32"),
    field(23, "title", "uint32"),
    field(24, "favorite_team_packed", "uint64"),
    field(25, "lifetime_games", "uint32"),
    field(26, "event_level", "uint32"),
)

# --- CMsgDOTAMatch ----------------------------------------------------------------------------
# Fields 79 to 85 of a player, `starttime`, `xp_per_min` and the signed items are newer than the schema
# of the `dota2` package.
PICK_BAN: Final = MessageType(
    "CMatchHeroSelectEvent",
    field(1, "is_pick", "bool"),
    field(2, "team", "uint32"),
    field(3, "hero_id", "int32"),
)
ABILITY: Final = MessageType(
    "CMatchPlayerAbilityUpgrade", field(1, "ability", "int32"), field(2, "time", "uint32")
)
BUFF: Final = MessageType(
    "CMatchPlayerPermanentBuff",
    field(1, "permanent_buff", "uint32"),
    field(2, "stack_count", "uint32"),
    field(3, "grant_time", "uint32"),
)
UNIT: Final = MessageType(
    "CMatchAdditionalUnitInventory",
    field(1, "unit_name", "string"),
    field(2, "items", "int32", repeated=True),
)
DAMAGE: Final = MessageType(
    "HeroDamageReceived",
    field(1, "pre_reduction", "uint32"),
    field(2, "post_reduction", "uint32"),
    field(3, "damage_type", "enum"),
)
_ITEMS: Final = (4, 5, 6, 7, 8, 9, 59, 60, 61, 76)

# Without the fields of one match: account_id 1, player_slot 2, team_number 80, team_slot 81.
PLAYER: Final = MessageType(
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
    field(47, "ability_upgrades", ABILITY, repeated=True),
    field(48, "additional_units_inventory", UNIT, repeated=True),
    field(51, "active_plus_subscription", "bool"),
    field(52, "net_worth", "uint32"),
    field(54, "scaled_hero_damage", "uint32"),
    field(55, "scaled_tower_damage", "uint32"),
    field(56, "scaled_hero_healing", "uint32"),
    field(57, "permanent_buffs", BUFF, repeated=True),
    field(63, "hero_pick_order", "uint32"),
    field(64, "hero_was_randomed", "bool"),
    field(67, "hero_damage_received", DAMAGE, repeated=True),
    field(69, "hero_was_dota_plus_suggestion", "bool"),
    field(70, "seconds_dead", "uint32"),
    field(71, "gold_lost_to_death", "uint32"),
    field(74, "mmr_type", "uint32"),
    field(75, "lane_selection_flags", "uint32"),
    field(77, "bounty_runes", "uint32"),
    field(78, "outposts_captured", "uint32"),
    field(79, "hero_damage_dealt", DAMAGE, repeated=True),
)
PLAYER_TAIL: Final = MessageType(
    "CMsgDOTAMatch.Player",
    field(82, "selected_facet", "uint32"),
    field(83, "item_10", "int32"),
    field(84, "item_10_lvl", "int32"),
)
# The fields before and after the players (field 5).
MATCH_HEAD: Final = MessageType(
    "CMsgDOTAMatch", field(3, "duration", "uint32"), field(4, "starttime", "fixed32")
)
MATCH_TAIL: Final = MessageType(
    "CMsgDOTAMatch",
    field(6, "match_id", "uint64"),
    field(8, "tower_status", "uint32", repeated=True),
    field(9, "barracks_status", "uint32", repeated=True),
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
    field(32, "picks_bans", PICK_BAN, repeated=True),
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
RESPONSE: Final = MessageType(
    "CMsgGCMatchDetailsResponse",
    field(1, "result", "uint32"),
    field(2, "match", "bytes"),
    field(3, "vote", "enum"),
)
