"""JSON Schema of matches and profile cards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor as F

from actors.matches.protobuf import schema
from actors.matches.protobuf.schema import FieldSpec, Schema, card_schema, match_schema

Json = dict[str, Any]

MATCH: Final = "MatchDetails"
GC_ANSWER: Final = schema.RESPONSE
CARD: Final = schema.CARD
_INTEGER: Final[Json] = {"type": "integer"}
_LONG: Final[Json] = {"type": "string", "pattern": "^-?[0-9]+$"}
_FLOAT: Final[Json] = {"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]}
# By protobuf's JSON mapping.
_PLAIN: Final[Mapping[int, Json]] = {
    F.TYPE_INT32: _INTEGER,
    F.TYPE_UINT32: _INTEGER,
    F.TYPE_SINT32: _INTEGER,
    F.TYPE_FIXED32: _INTEGER,
    F.TYPE_SFIXED32: _INTEGER,
    F.TYPE_INT64: _LONG,
    F.TYPE_UINT64: _LONG,
    F.TYPE_SINT64: _LONG,
    F.TYPE_FIXED64: _LONG,
    F.TYPE_SFIXED64: _LONG,
    F.TYPE_FLOAT: _FLOAT,
    F.TYPE_DOUBLE: _FLOAT,
    F.TYPE_BOOL: {"type": "boolean"},
    F.TYPE_STRING: {"type": "string"},
    F.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
}


def valve_components(ref: str) -> dict[str, Json]:
    """Return every message as a component; `ref` is the prefix of a reference."""
    messages = {
        name: _message(schema, fields, ref)
        for schema in (match_schema(), card_schema())
        for name, fields in schema.messages.items()
    }
    answer = messages[GC_ANSWER]
    answer["required"] = ["result", "match"]
    ours = {
        "id": {"type": "integer", "description": "The match ID."},
        "replay_url": {
            "type": ["string", "null"],
            "description": "URL of the replay file; null if there is none.",
        },
    }
    match = {
        **answer,
        "properties": {**ours, **answer["properties"]},
        "required": [*ours, *answer["required"]],
    }
    return {MATCH: match, **messages}


def _message(schema: Schema, fields: tuple[FieldSpec, ...], ref: str) -> Json:
    """Return a message's schema; all fields are optional, because the Game Coordinator may omit any."""
    return {"type": "object", "properties": {one.name: _field(schema, one, ref) for one in fields}}


def _field(schema: Schema, spec: FieldSpec, ref: str) -> Json:
    if spec.type == F.TYPE_MESSAGE:
        one: Json = {"$ref": ref + spec.refers_to}
    elif spec.type == F.TYPE_ENUM:  # a number if the schema has no name for it
        names = list(dict.fromkeys(schema.enums[spec.refers_to].values()))
        one = {"anyOf": [{"enum": names}, {"type": "integer"}]}
    else:
        one = _PLAIN[spec.type]
    return {"type": "array", "items": one} if spec.repeated else one
