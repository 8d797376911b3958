"""Message schemas of `dota2`, and the patch that brings them up to date.

Sources: odota/core's protos (November 2025) and SteamKit's (June 2026, `disable_duration`). Names are
without the package, which Valve's own files do not have. Only the two modules of `dota2` that have the
match messages are imported (8 MB of memory). CMsgGCMatchDetailsResponse is in a third one (20 MB more),
so its three fields are written out here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from dota2.protobufs import dota_gcmessages_common_pb2 as common
from dota2.protobufs import dota_shared_enums_pb2 as enums
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.descriptor import FieldDescriptor as F

RESPONSE: Final = "CMsgGCMatchDetailsResponse"
MATCH: Final = "CMsgDOTAMatch"
CARD: Final = "CMsgDOTAProfileCard"
_PLAYER: Final = "CMsgDOTAMatch.Player"
_DAMAGE: Final = "CMsgDOTAMatch.Player.HeroDamageReceived"


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One field of a message; `refers_to`: the name of its enum or message."""

    number: int
    name: str
    type: int  # FieldDescriptor.TYPE_*
    refers_to: str = ""
    repeated: bool = False


# (message, old name) -> new name.
RENAMED: Final[Mapping[tuple[str, str], str]] = {
    (MATCH, "startTime"): "starttime",
    (_PLAYER, "XP_per_min"): "xp_per_min",
}

# Fields that were removed.
GONE: Final = frozenset(
    {
        (MATCH, "positive_votes"),
        (MATCH, "negative_votes"),
        (MATCH, "mvp_account_id"),
        (_PLAYER, "rank_tier_updated"),
        (CARD, "event_points"),
        (CARD, "previous_rank_tier"),
        (CARD, "rank_tier_mmr_type"),
        (CARD, "rank_tier_peak"),
    }
)

# uint32 in 2021, int32 now.
NOW_SIGNED: Final = frozenset(
    {
        (_PLAYER, "hero_id"),
        *((_PLAYER, f"item_{n}") for n in range(10)),
        (f"{CARD}.Slot.Hero", "hero_id"),
        ("CMatchHeroSelectEvent", "hero_id"),
        ("CMatchPlayerAbilityUpgrade", "ability"),
        ("CMatchAdditionalUnitInventory", "items"),
    }
)

NEW_FIELDS: Final[Mapping[str, tuple[FieldSpec, ...]]] = {
    RESPONSE: (
        FieldSpec(1, "result", F.TYPE_UINT32),
        FieldSpec(2, "match", F.TYPE_MESSAGE, MATCH),
        FieldSpec(3, "vote", F.TYPE_ENUM, "DOTAMatchVote"),
    ),
    _PLAYER: (
        FieldSpec(79, "hero_damage_dealt", F.TYPE_MESSAGE, _DAMAGE, repeated=True),
        FieldSpec(80, "team_number", F.TYPE_ENUM, "DOTA_GC_TEAM"),
        FieldSpec(81, "team_slot", F.TYPE_UINT32),
        FieldSpec(82, "selected_facet", F.TYPE_UINT32),
        FieldSpec(83, "item_10", F.TYPE_INT32),
        FieldSpec(84, "item_10_lvl", F.TYPE_INT32),
        FieldSpec(85, "disable_duration", F.TYPE_UINT32),
    ),
    CARD: (
        FieldSpec(24, "favorite_team_packed", F.TYPE_UINT64),
        FieldSpec(25, "lifetime_games", F.TYPE_UINT32),
        FieldSpec(26, "event_level", F.TYPE_UINT32),
    ),
}

NEW_ENUM_VALUES: Final[Mapping[str, Mapping[int, str]]] = {
    "DOTA_GameMode": {26: "DOTA_GAMEMODE_BOT_CHALLENGE"},
    "EMatchOutcome": {
        4: "k_EMatchOutcome_NeutralVictory",
        5: "k_EMatchOutcome_NoTeamWinner",
        **{5 + n: f"k_EMatchOutcome_Custom{n}Victory" for n in range(1, 9)},
    },
    "DOTA_GC_TEAM": {
        **{5 + n: f"DOTA_GC_TEAM_CUSTOM_{n}" for n in range(1, 9)},
        14: "DOTA_GC_TEAM_NEUTRALS",
    },
}


@dataclass(frozen=True, slots=True)
class Schema:
    """Messages and enums by name, without the package."""

    messages: dict[str, tuple[FieldSpec, ...]] = field(default_factory=dict)
    enums: dict[str, Mapping[int, str]] = field(default_factory=dict)


def match_schema() -> Schema:
    """Return the schema of CMsgGCMatchDetailsResponse."""
    schema = Schema()
    schema.messages[RESPONSE] = NEW_FIELDS[RESPONSE]
    _add_message(schema, common.DESCRIPTOR.message_types_by_name[MATCH])
    for name in ("DOTAMatchVote", "DOTA_GC_TEAM"):  # only new fields refer to them
        _add_enum(schema, enums.DESCRIPTOR.enum_types_by_name[name])
    return schema


def card_schema() -> Schema:
    """Return the schema of CMsgDOTAProfileCard."""
    schema = Schema()
    _add_message(schema, common.DESCRIPTOR.message_types_by_name[CARD])
    return schema


def _add_message(schema: Schema, descriptor: Descriptor) -> None:
    name = _plain(descriptor.full_name)
    if name in schema.messages:
        return
    schema.messages[name] = (
        *(_spec(name, old) for old in descriptor.fields if (name, old.name) not in GONE),
        *NEW_FIELDS.get(name, ()),
    )
    for old in descriptor.fields:
        if old.message_type is not None:
            _add_message(schema, old.message_type)
        if old.enum_type is not None:
            _add_enum(schema, old.enum_type)


def _add_enum(schema: Schema, descriptor: EnumDescriptor) -> None:
    name = _plain(descriptor.full_name)
    # Of two names for one number the first counts, as in protobuf.
    names = {value.number: value.name for value in reversed(descriptor.values)}
    schema.enums[name] = {**names, **NEW_ENUM_VALUES.get(name, {})}


def _spec(message: str, old: FieldDescriptor) -> FieldSpec:
    type_of_old = old.message_type if old.message_type is not None else old.enum_type
    return FieldSpec(
        number=old.number,
        name=RENAMED.get((message, old.name), old.name),
        type=FieldDescriptor.TYPE_INT32 if (message, old.name) in NOW_SIGNED else old.type,
        refers_to="" if type_of_old is None else _plain(type_of_old.full_name),
        repeated=old.label == FieldDescriptor.LABEL_REPEATED,
    )


def _plain(full_name: str) -> str:
    return full_name.removeprefix("dota.")
