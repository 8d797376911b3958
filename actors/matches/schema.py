"""Today's schema of matches and profile cards as plain data: `dota2`'s descriptors, then the patch.

The only file that imports `dota2` on this side, and of it only the two modules that the match messages
are in (8 MB of memory; the module with CMsgGCMatchDetailsResponse would be 20 MB more).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dota2.protobufs import dota_gcmessages_common_pb2 as common
from dota2.protobufs import dota_shared_enums_pb2 as enums
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from actors.matches import patch
from actors.matches.patch import FieldSpec


@dataclass(frozen=True, slots=True)
class Schema:
    """Messages and enums by name, without the package."""

    messages: dict[str, tuple[FieldSpec, ...]] = field(default_factory=dict)
    enums: dict[str, Mapping[int, str]] = field(default_factory=dict)


def match_schema() -> Schema:
    """Return all that CMsgGCMatchDetailsResponse can hold."""
    schema = Schema()
    schema.messages[patch.RESPONSE] = patch.NEW_FIELDS[patch.RESPONSE]
    _add_message(schema, common.DESCRIPTOR.message_types_by_name[patch.MATCH])
    for name in ("DOTAMatchVote", "DOTA_GC_TEAM"):  # which only fields of the patch refer to
        _add_enum(schema, enums.DESCRIPTOR.enum_types_by_name[name])
    return schema


def card_schema() -> Schema:
    """Return all that CMsgDOTAProfileCard can hold."""
    schema = Schema()
    _add_message(schema, common.DESCRIPTOR.message_types_by_name[patch.CARD])
    return schema


def _add_message(schema: Schema, descriptor: Descriptor) -> None:
    name = _plain(descriptor.full_name)
    if name in schema.messages:
        return
    schema.messages[name] = (
        *(_spec(name, old) for old in descriptor.fields if (name, old.name) not in patch.GONE),
        *patch.NEW_FIELDS.get(name, ()),
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
    schema.enums[name] = {**names, **patch.NEW_ENUM_VALUES.get(name, {})}


def _spec(message: str, old: FieldDescriptor) -> FieldSpec:
    type_of_old = old.message_type if old.message_type is not None else old.enum_type
    return FieldSpec(
        number=old.number,
        name=patch.RENAMED.get((message, old.name), old.name),
        type=FieldDescriptor.TYPE_INT32 if (message, old.name) in patch.NOW_SIGNED else old.type,
        refers_to="" if type_of_old is None else _plain(type_of_old.full_name),
        repeated=old.label == FieldDescriptor.LABEL_REPEATED,
    )


def _plain(full_name: str) -> str:
    return full_name.removeprefix("dota.")
