"""What a message looks like to the decoder: a table from raw tag to field. Knows no bytes.

The key is the tag as it stands in the bytes (one byte, or two read as a little-endian number), so that
the decoder need not put it together. Tags of three bytes and more (field numbers above 2047) have no key;
neither has a tag written longer than it must be, which no encoder does.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from actors.matches.wire import ONE_BYTE

Convert: TypeAlias = Callable[[Any], Any]  # raw value -> JSON value
# (data, pos, end of the message, the message's dict) -> position behind the field
Read: TypeAlias = Callable[[bytes, int, int, dict[str, Any]], int]

_TWO_BYTES: Final = 1 << 14  # the first tag that needs a third byte


class Kind(enum.Enum):
    """How the decoder deals with a field; says what the third part of an entry is."""

    INT = enum.auto()  # int32 or uint32, singular: Convert, for more than two bytes
    MESSAGE = enum.auto()  # Shape
    MESSAGES = enum.auto()  # Shape, repeated
    OTHER = enum.auto()  # Read


# Kind, JSON name and Convert, Shape or Read. A plain tuple, because Python unpacks that fastest.
Entry: TypeAlias = tuple[Kind, str, Any]


class Shape:
    """One message type."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tags: dict[int, Entry] = {}

    def add(self, number: int, wire_type: int, entry: Entry) -> None:
        """Take in a field as it travels with `wire_type`."""
        tag = number << 3 | wire_type
        if tag >= _TWO_BYTES:
            raise ValueError(f"{self.name}: field {number} has a tag of three bytes")
        self.tags[tag if tag <= ONE_BYTE else tag & ONE_BYTE | 0x80 | tag >> 7 << 8] = entry
