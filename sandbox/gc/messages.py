"""Tables of the Game Coordinator's messages.

Numbers and names: odota/core `proto/gcsdk_gcmessages.proto`, `dota_gcmessages_client.proto`.
"""

from __future__ import annotations

from typing import Final

from sandbox.protocol.wire import Shape, field

GC_CLIENT: Final = Shape(
    "CMsgGCClient",
    field(1, "appid", "uint32"),
    field(2, "msgtype", "uint32"),
    field(3, "payload", "bytes"),
    field(4, "steamid", "fixed64"),
    field(5, "gcname", "string"),
)
GC_HEADER: Final = Shape(
    "CMsgProtoBufHeader",
    field(1, "client_steam_id", "fixed64"),
    field(2, "client_session_id", "int32"),
    field(3, "source_app_id", "uint32"),
    field(10, "job_id_source", "fixed64"),
    field(11, "job_id_target", "fixed64"),
    field(12, "target_job_name", "string"),
)
CONNECTION_STATUS: Final = Shape(
    "CMsgConnectionStatus",
    field(1, "status", "enum"),
    field(2, "client_session_need", "uint32"),
    field(3, "queue_position", "int32"),
    field(4, "queue_size", "int32"),
    field(5, "wait_seconds", "int32"),
    field(6, "estimated_wait_seconds_remaining", "int32"),
)
COMPRESSED: Final = Shape(
    "CMsgGCToClientCompressedMsg",
    field(1, "msg_id", "uint32"),
    field(2, "compressed_msg", "bytes"),
)
ITEM: Final = Shape(
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
SUBSCRIBED_TYPE: Final = Shape(
    "SubscribedType", field(1, "type_id", "int32"), field(2, "object_data", "bytes", many=True)
)
OWNER: Final = Shape("CMsgSOIDOwner", field(1, "type", "uint32"), field(2, "id", "uint64"))
CACHE: Final = Shape(
    "CMsgSOCacheSubscribed",
    field(2, "objects", SUBSCRIBED_TYPE, many=True),
    field(3, "version", "fixed64"),
    field(4, "owner_soid", OWNER),
)
DOTA_WELCOME: Final = Shape(
    "CMsgDOTAWelcome",
    field(5, "store_item_hash", "uint32"),
    field(12, "last_time_played", "uint32"),
    field(18, "currency", "uint32"),
    field(22, "gc_socache_file_version", "uint32"),
    field(35, "active_event_for_display", "enum"),
)
WELCOME: Final = Shape(
    "CMsgClientWelcome",
    field(1, "version", "uint32"),
    field(2, "game_data", "bytes"),
    field(3, "outofdate_subscribed_caches", CACHE, many=True),
    field(9, "gc_socache_file_version", "uint32"),
    field(10, "txn_country_code", "string"),
    field(12, "rtime32_gc_welcome_timestamp", "uint32"),
)
MATCH_REQUEST: Final = Shape("CMsgGCMatchDetailsRequest", field(1, "match_id", "uint64"))
PROFILE_REQUEST: Final = Shape("CMsgClientToGCGetProfileCard", field(1, "account_id", "uint32"))
CARD_SLOT: Final = Shape(
    "CMsgDOTAProfileCard.Slot",
    field(1, "slot_id", "uint32"),
    field(
        2,
        "trophy",
        Shape("Trophy", field(1, "trophy_id", "uint32"), field(2, "trophy_score", "uint32")),
    ),
    field(3, "stat", Shape("Stat", field(1, "stat_id", "enum"), field(2, "stat_score", "uint32"))),
    field(
        4,
        "item",
        Shape("Item", field(1, "serialized_item", "bytes"), field(2, "item_id", "uint64")),
    ),
    field(5, "hero", Shape("Hero", field(1, "hero_id", "int32"), field(2, "hero_wins", "uint32"))),
    field(6, "emoticon", Shape("Emoticon", field(1, "emoticon_id", "uint32"))),
    field(7, "team", Shape("Team", field(1, "team_id", "uint32"))),
)
PROFILE_CARD: Final = Shape(
    "CMsgDOTAProfileCard",
    field(1, "account_id", "uint32"),
    field(3, "slots", CARD_SLOT, many=True),
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
