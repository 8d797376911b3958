"""What has changed in Valve's schema since the `dota2` package was made (May 2021). Data only.

Sources: odota/core's protos (November 2025) and SteamKit's (June 2026, `disable_duration`). Names are
without the package, which Valve's own files do not have. CMsgGCMatchDetailsResponse is written out here:
its three fields have not changed, and the generated module that has it takes 20 MB of memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from google.protobuf.descriptor import FieldDescriptor as F

RESPONSE: Final = "CMsgGCMatchDetailsResponse"
MATCH: Final = "CMsgDOTAMatch"
CARD: Final = "CMsgDOTAProfileCard"
_PLAYER: Final = "CMsgDOTAMatch.Player"
_DAMAGE: Final = "CMsgDOTAMatch.Player.HeroDamageReceived"


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One field of a message; `refers_to` is the enum or the message, by name."""

    number: int
    name: str
    type: int  # FieldDescriptor.TYPE_*
    refers_to: str = ""
    repeated: bool = False


RENAMED: Final[Mapping[tuple[str, str], str]] = {
    (MATCH, "startTime"): "starttime",
    (_PLAYER, "XP_per_min"): "xp_per_min",
}

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

# uint32 in 2021, int32 today.
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
