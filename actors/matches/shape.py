"""What a message looks like to the decoder: a table from wire tag to field. Knows no bytes."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple


class Kind(enum.IntEnum):
    """How a value travels; the numbers are protobuf's wire types, but for MESSAGE and PACKED."""

    VARINT = 0
    FIXED64 = 1
    BYTES = 2
    FIXED32 = 5
    MESSAGE = 8
    PACKED = 9


_WIRE_TYPE = {Kind.MESSAGE: 2, Kind.PACKED: 2}


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `convert` makes the JSON value of the raw one; None leaves it as it is."""

    number: int
    name: str
    kind: Kind
    repeated: bool
    convert: Callable[[Any], Any] | None = None
    shape: Shape | None = None


class Entry(NamedTuple):
    """A field as the decoder looks it up; a tuple, because it is unpacked for every value."""

    kind: Kind
    name: str
    repeated: bool
    convert: Callable[[Any], Any] | None
    shape: Shape | None
    item: Kind  # of a PACKED field: how its items travel


class Shape:
    """One message type: `tags` maps (field number << 3 | wire type) to the entry."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tags: dict[int, Entry] = {}

    def add(self, field: Field) -> None:
        """Take in a field; repeated scalars are understood packed and unpacked, as protobuf demands."""
        entry = Entry(
            field.kind, field.name, field.repeated, field.convert, field.shape, field.kind
        )
        self.tags[_tag(field.number, field.kind)] = entry
        if field.repeated and field.kind in (Kind.VARINT, Kind.FIXED32, Kind.FIXED64):
            self.tags[_tag(field.number, Kind.PACKED)] = entry._replace(kind=Kind.PACKED)


def _tag(number: int, kind: Kind) -> int:
    return number << 3 | _WIRE_TYPE.get(kind, int(kind))
