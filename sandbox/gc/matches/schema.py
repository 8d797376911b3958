"""Current schema of match answers: the `dota2` package's descriptors plus newer fields.

A separate descriptor pool avoids conflicts with the package's own messages. The newer fields are those
of odota/core's protos (Nov 2025) and SteamKit's (June 2026, `disable_duration`).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final

from dota2.protobufs import dota_gcmessages_common_pb2 as common
from dota2.protobufs import dota_shared_enums_pb2 as enums
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto
from google.protobuf.message import Message

_PACKAGE: Final = "sandbox"
_MESSAGES: Final = (
    "CMsgDOTAMatch",
    "CMatchHeroSelectEvent",
    "CMatchPlayerAbilityUpgrade",
    "CMatchAdditionalUnitInventory",
    "CMatchPlayerPermanentBuff",
)
_ENUMS: Final = ("DOTA_GameMode", "DOTA_GC_TEAM", "EMatchOutcome", "DOTAMatchVote")
_F = FieldDescriptorProto

_NEW_ENUM_VALUES: Final[Mapping[str, Mapping[str, int]]] = {
    "DOTA_GameMode": {"DOTA_GAMEMODE_BOT_CHALLENGE": 26},
    "EMatchOutcome": {
        "k_EMatchOutcome_NeutralVictory": 4,
        "k_EMatchOutcome_NoTeamWinner": 5,
        **{f"k_EMatchOutcome_Custom{n}Victory": n + 5 for n in range(1, 9)},
    },
    "DOTA_GC_TEAM": {
        **{f"DOTA_GC_TEAM_CUSTOM_{n}": n + 5 for n in range(1, 9)},
        "DOTA_GC_TEAM_NEUTRALS": 14,
    },
}
# Fields that are signed now: message -> fields. Items also have the default -1 ("unknown").
_SIGNED: Final[Mapping[str, frozenset[str]]] = {
    "Player": frozenset({"hero_id", *(f"item_{n}" for n in range(10))}),
    "CMatchHeroSelectEvent": frozenset({"hero_id"}),
    "CMatchPlayerAbilityUpgrade": frozenset({"ability"}),
    "CMatchAdditionalUnitInventory": frozenset({"items"}),
}
_RENAMED: Final = {"startTime": "starttime", "XP_per_min": "xp_per_min"}
_GONE: Final = {
    "CMsgDOTAMatch": frozenset({"positive_votes", "negative_votes", "mvp_account_id"}),
    "Player": frozenset({"rank_tier_updated"}),
}


def encode_response(answer: Mapping[str, Any]) -> bytes:
    """Encode a CMsgGCMatchDetailsResponse from protobuf's JSON mapping.

    Raises:
        ValueError: a field or enum value is unknown or of the wrong type.
    """
    response = _response_class()()
    try:
        json_format.ParseDict(dict(answer), response)
    except json_format.ParseError as error:
        raise ValueError(str(error)) from error
    encoded: bytes = response.SerializeToString()
    return encoded


def decode_response(data: bytes) -> dict[str, Any]:
    """Decode a response to protobuf's JSON mapping, for tests."""
    response = _response_class()()
    response.ParseFromString(data)
    decoded: dict[str, Any] = json_format.MessageToDict(response, preserving_proto_field_name=True)
    return decoded


@functools.cache
def _response_class() -> type[Message]:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_file())  # type: ignore[no-untyped-call]  # protobuf 3.20 ships no type for it
    descriptor = pool.FindMessageTypeByName(  # type: ignore[no-untyped-call]  # as above
        f"{_PACKAGE}.CMsgGCMatchDetailsResponse"
    )
    return message_factory.MessageFactory(pool).GetPrototype(descriptor)


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="sandbox_match.proto", package=_PACKAGE)
    for name in _ENUMS:
        enum = file.enum_type.add()
        enums.DESCRIPTOR.enum_types_by_name[name].CopyToProto(enum)
        for value, number in _NEW_ENUM_VALUES.get(name, {}).items():
            enum.value.add(name=value, number=number)
    for name in _MESSAGES:
        message = file.message_type.add()
        common.DESCRIPTOR.message_types_by_name[name].CopyToProto(message)
        _patch(message)
    file.message_type.append(_response())
    return file


def _response() -> DescriptorProto:
    message = DescriptorProto(name="CMsgGCMatchDetailsResponse")
    _add(message, 1, "result", _F.TYPE_UINT32)
    _add(message, 2, "match", _F.TYPE_MESSAGE, of="CMsgDOTAMatch")
    _add(message, 3, "vote", _F.TYPE_ENUM, of="DOTAMatchVote")
    return message


def _patch(message: DescriptorProto) -> None:
    for nested in message.nested_type:
        _patch(nested)
    gone = _GONE.get(message.name, frozenset())
    kept = [row for row in message.field if row.name not in gone]
    del message.field[:]
    message.field.extend(kept)
    for row in message.field:
        row.type_name = row.type_name.replace(".dota.", f".{_PACKAGE}.")
        row.name = _RENAMED.get(row.name, row.name)
        row.ClearField("json_name")
        if row.name in _SIGNED.get(message.name, frozenset()):
            row.type = _F.TYPE_INT32
            if row.name.startswith("item_"):
                row.default_value = "-1"
    if message.name == "Player":
        _add_player_fields(message)


def _add_player_fields(player: DescriptorProto) -> None:
    damage = "CMsgDOTAMatch.Player.HeroDamageReceived"
    _add(player, 79, "hero_damage_dealt", _F.TYPE_MESSAGE, of=damage, repeated=True)
    _add(player, 80, "team_number", _F.TYPE_ENUM, of="DOTA_GC_TEAM")
    _add(player, 81, "team_slot", _F.TYPE_UINT32)
    _add(player, 82, "selected_facet", _F.TYPE_UINT32)
    _add(player, 83, "item_10", _F.TYPE_INT32, default="-1")
    _add(player, 84, "item_10_lvl", _F.TYPE_INT32)
    _add(player, 85, "disable_duration", _F.TYPE_UINT32)


def _add(
    message: DescriptorProto,
    number: int,
    name: str,
    kind: FieldDescriptorProto.Type.ValueType,
    *,
    of: str | None = None,
    repeated: bool = False,
    default: str | None = None,
) -> None:
    label = _F.LABEL_REPEATED if repeated else _F.LABEL_OPTIONAL
    row = message.field.add(number=number, name=name, type=kind, label=label)
    if of is not None:
        row.type_name = f".{_PACKAGE}.{of}"
    if default is not None:
        row.default_value = default
