"""The current schema of a match answer, as decoding tables compiled once.

The tables come from the descriptors that the `dota2` package carries (May 2021) plus what has changed in
Valve's protos since (odota/core's of November 2025, SteamKit's of June 2026). The only file that imports
`dota2` on this side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dota2.protobufs.dota_gcmessages_client_pb2 import CMsgGCMatchDetailsResponse
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from actors.matches import values
from actors.matches.shape import Field, Kind, Shape

# protobuf type -> (how it travels, how it becomes JSON)
_SCALARS: Final[Mapping[int, tuple[Kind, Callable[[Any], Any] | None]]] = {
    FieldDescriptor.TYPE_UINT32: (Kind.VARINT, values.uint32),
    FieldDescriptor.TYPE_INT32: (Kind.VARINT, values.int32),
    FieldDescriptor.TYPE_SINT32: (Kind.VARINT, values.sint32),
    FieldDescriptor.TYPE_UINT64: (Kind.VARINT, values.uint64),
    FieldDescriptor.TYPE_INT64: (Kind.VARINT, values.int64),
    FieldDescriptor.TYPE_SINT64: (Kind.VARINT, values.sint64),
    FieldDescriptor.TYPE_BOOL: (Kind.VARINT, bool),
    FieldDescriptor.TYPE_FIXED32: (Kind.FIXED32, values.fixed32),
    FieldDescriptor.TYPE_SFIXED32: (Kind.FIXED32, values.sfixed32),
    FieldDescriptor.TYPE_FLOAT: (Kind.FIXED32, values.float32),
    FieldDescriptor.TYPE_FIXED64: (Kind.FIXED64, values.fixed64),
    FieldDescriptor.TYPE_SFIXED64: (Kind.FIXED64, values.sfixed64),
    FieldDescriptor.TYPE_DOUBLE: (Kind.FIXED64, values.float64),
    FieldDescriptor.TYPE_STRING: (Kind.BYTES, values.text),
    FieldDescriptor.TYPE_BYTES: (Kind.BYTES, values.base64_text),
}

_RENAMED: Final = {
    ("CMsgDOTAMatch", "startTime"): "starttime",
    ("CMsgDOTAMatch.Player", "XP_per_min"): "xp_per_min",
}
_GONE: Final = {
    ("CMsgDOTAMatch", 29),  # positive_votes
    ("CMsgDOTAMatch", 30),  # negative_votes
    ("CMsgDOTAMatch", 56),  # mvp_account_id
    ("CMsgDOTAMatch.Player", 66),  # rank_tier_updated
}
_NOW_SIGNED: Final = {  # uint32 in 2021, int32 today
    *(("CMsgDOTAMatch.Player", number) for number in (3, 4, 5, 6, 7, 8, 9, 59, 60, 61, 76)),
    ("CMatchHeroSelectEvent", 3),
    ("CMatchPlayerAbilityUpgrade", 1),
    ("CMatchAdditionalUnitInventory", 2),
}
_NEW_ENUM_VALUES: Final[Mapping[str, Mapping[int, str]]] = {
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
class _NewField:
    number: int
    name: str
    type: int
    refers_to: str = ""  # enum or message by name
    repeated: bool = False


_NEW_FIELDS: Final[Mapping[str, tuple[_NewField, ...]]] = {
    "CMsgDOTAMatch.Player": (
        _NewField(
            79,
            "hero_damage_dealt",
            FieldDescriptor.TYPE_MESSAGE,
            "CMsgDOTAMatch.Player.HeroDamageReceived",
            repeated=True,
        ),
        _NewField(80, "team_number", FieldDescriptor.TYPE_ENUM, "DOTA_GC_TEAM"),
        _NewField(81, "team_slot", FieldDescriptor.TYPE_UINT32),
        _NewField(82, "selected_facet", FieldDescriptor.TYPE_UINT32),
        _NewField(83, "item_10", FieldDescriptor.TYPE_INT32),
        _NewField(84, "item_10_lvl", FieldDescriptor.TYPE_INT32),
        _NewField(85, "disable_duration", FieldDescriptor.TYPE_UINT32),
    ),
}


class _Compiler:
    """Turns descriptors into shapes; one per compilation, so that shapes may refer to each other."""

    def __init__(self) -> None:
        self._shapes: dict[str, Shape] = {}
        self._enums: dict[str, Mapping[int, str]] = {}

    def compile(self, descriptor: Descriptor) -> Shape:
        name = _plain(descriptor.full_name)
        if (known := self._shapes.get(name)) is not None:
            return known
        shape = self._shapes[name] = Shape(name)
        for field in descriptor.fields:
            if (name, field.number) not in _GONE:
                shape.add(self._old_field(name, field))
        for new in _NEW_FIELDS.get(name, ()):
            shape.add(self._new_field(new, descriptor))
        return shape

    def _old_field(self, message: str, field: FieldDescriptor) -> Field:
        wanted = _RENAMED.get((message, field.name), field.name)
        repeated = field.label == FieldDescriptor.LABEL_REPEATED
        if field.message_type is not None:
            return Field(
                field.number, wanted, Kind.MESSAGE, repeated, shape=self.compile(field.message_type)
            )
        if field.enum_type is not None:
            convert: Callable[[Any], Any] | None = values.enum(self._enum(field.enum_type))
            return Field(field.number, wanted, Kind.VARINT, repeated, convert)
        signed = (message, field.number) in _NOW_SIGNED
        kind, convert = _SCALARS[FieldDescriptor.TYPE_INT32 if signed else field.type]
        return Field(field.number, wanted, kind, repeated, convert)

    def _new_field(self, new: _NewField, message: Descriptor) -> Field:
        if new.type == FieldDescriptor.TYPE_MESSAGE:
            return Field(
                new.number, new.name, Kind.MESSAGE, new.repeated, shape=self._shapes[new.refers_to]
            )
        if new.type == FieldDescriptor.TYPE_ENUM:
            package = message.file.package
            enum = message.file.pool.FindEnumTypeByName(f"{package}.{new.refers_to}".lstrip("."))
            return Field(
                new.number, new.name, Kind.VARINT, new.repeated, values.enum(self._enum(enum))
            )
        kind, convert = _SCALARS[new.type]
        return Field(new.number, new.name, kind, new.repeated, convert)

    def _enum(self, descriptor: EnumDescriptor) -> Mapping[int, str]:
        name = _plain(descriptor.full_name)
        if name not in self._enums:
            names = {value.number: value.name for value in reversed(descriptor.values)}
            self._enums[name] = {**names, **_NEW_ENUM_VALUES.get(name, {})}
        return self._enums[name]


def _plain(full_name: str) -> str:
    """Without the package, which Valve's own files do not have."""
    return full_name.removeprefix("dota.")


def match_details_shape() -> Shape:
    """Compile the shape of CMsgGCMatchDetailsResponse."""
    return _Compiler().compile(CMsgGCMatchDetailsResponse.DESCRIPTOR)
