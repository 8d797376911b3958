"""Compiles a schema into decoding tables (`Shape`) and field readers (`Read`).

A table's key is the tag as it is encoded: one byte, or two as a little-endian number. Tags of three bytes
(field numbers above 2047) and overlong tags, which no encoder writes, have no key.

Plain numbers and messages have no reader: the decoder reads them itself, as most fields are such. The
last value of a singular field counts. Repeated numbers may be packed or not, as protobuf demands.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from google.protobuf.descriptor import FieldDescriptor as F

from actors.matches.protobuf.schema import FieldSpec, Schema
from actors.matches.protobuf.wire import (
    BYTES,
    FIXED32,
    FIXED64,
    ONE_BYTE,
    VARINT,
    base64_text,
    enum_name,
    fixed32,
    fixed64,
    int32,
    sint32,
    stretch,
    text,
    uint32,
    uint64,
    varint,
    within,
)

_THREE_BYTES: Final = 1 << 14  # the first tag that needs a third byte

Convert: TypeAlias = Callable[[Any], Any]  # raw value -> JSON value
# (data, pos, end of the message, its dict) -> position after the field
Read: TypeAlias = Callable[[bytes, int, int, dict[str, Any]], int]


class Kind(enum.Enum):
    """How the decoder reads a field; the comment is the type of an entry's third part."""

    INT = enum.auto()  # Convert; singular int32 or uint32; used for more than two bytes
    MESSAGE = enum.auto()  # Shape
    MESSAGES = enum.auto()  # Shape, repeated
    OTHER = enum.auto()  # Read


# Kind, JSON name, and Convert, Shape or Read. Python unpacks a plain tuple fastest.
Entry: TypeAlias = tuple[Kind, str, Any]


class Shape:
    """Decoding table of one message type."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tags: dict[int, Entry] = {}

    def add(self, number: int, wire_type: int, entry: Entry) -> None:
        """Add a field that is encoded with `wire_type`."""
        tag = number << 3 | wire_type
        if tag >= _THREE_BYTES:
            raise ValueError(f"{self.name}: field {number} has a tag of three bytes")
        self.tags[tag if tag <= ONE_BYTE else tag & ONE_BYTE | 0x80 | tag >> 7 << 8] = entry


def number(name: str, convert: Convert) -> Read:
    """Return a reader of one varint."""

    def read(data: bytes, pos: int, _end: int, out: dict[str, Any]) -> int:
        raw, pos = varint(data, pos)
        out[name] = convert(raw)
        return pos

    return read


def fixed(name: str, convert: Convert, size: int) -> Read:
    """Return a reader of `size` bytes."""

    def read(data: bytes, pos: int, end: int, out: dict[str, Any]) -> int:
        stop = within(pos + size, end)
        out[name] = convert(data[pos:stop])
        return stop

    return read


def delimited(name: str, convert: Convert) -> Read:
    """Return a reader of text or bytes."""

    def read(data: bytes, pos: int, end: int, out: dict[str, Any]) -> int:
        start, stop = stretch(data, pos, end)
        out[name] = convert(data[start:stop])
        return stop

    return read


def packed_numbers(name: str, convert: Convert) -> Read:
    """Return a reader that appends packed varints; an empty field is ignored."""

    def read(data: bytes, pos: int, end: int, out: dict[str, Any]) -> int:
        pos, stop = stretch(data, pos, end)
        while pos < stop:
            raw, pos = varint(data, pos)
            out.setdefault(name, []).append(convert(raw))
        return within(pos, stop)

    return read


def repeated_number(name: str, convert: Convert) -> Read:
    """Return a reader that appends one varint."""

    def read(data: bytes, pos: int, _end: int, out: dict[str, Any]) -> int:
        raw, pos = varint(data, pos)
        out.setdefault(name, []).append(convert(raw))
        return pos

    return read


# The types that the schemas have.
_NUMBERS: Final[Mapping[int, Convert]] = {
    F.TYPE_UINT32: uint32,
    F.TYPE_INT32: int32,
    F.TYPE_SINT32: sint32,
    F.TYPE_UINT64: uint64,
    F.TYPE_BOOL: bool,
}
_FIXED: Final[Mapping[int, tuple[int, int, Convert]]] = {  # wire type, bytes
    F.TYPE_FIXED32: (FIXED32, 4, fixed32),
    F.TYPE_FIXED64: (FIXED64, 8, fixed64),
}
_DELIMITED: Final[Mapping[int, Convert]] = {F.TYPE_STRING: text, F.TYPE_BYTES: base64_text}
_PLAIN: Final = frozenset({F.TYPE_UINT32, F.TYPE_INT32})  # small ones need no conversion


class Compiler:
    """Compiles the messages of one schema. `float_of`: the JSON form of a 32-bit float."""

    def __init__(self, schema: Schema, float_of: Convert) -> None:
        self._schema = schema
        self._fixed = {**_FIXED, F.TYPE_FLOAT: (FIXED32, 4, float_of)}
        self._shapes: dict[str, Shape] = {}
        self._open: list[str] = []

    def shape(self, name: str) -> Shape:
        """Return the shape of the message `name`.

        Raises:
            ValueError: the message contains itself, which would make the decoder's recursion endless.
            KeyError: a field has a type that is not supported.
        """
        if name in self._open:
            raise ValueError(f"{' > '.join(self._open)} > {name} has no end")
        if name not in self._shapes:
            self._open.append(name)
            shape = Shape(name)
            for spec in self._schema.messages[name]:
                for wire_type, entry in self._entries(spec):
                    shape.add(spec.number, wire_type, entry)
            self._shapes[self._open.pop()] = shape
        return self._shapes[name]

    def _entries(self, spec: FieldSpec) -> Iterator[tuple[int, Entry]]:
        """Yield the entries of one field, each with its wire type."""
        name = spec.name
        if spec.type == F.TYPE_MESSAGE:
            kind = Kind.MESSAGES if spec.repeated else Kind.MESSAGE
            yield BYTES, (kind, name, self.shape(spec.refers_to))
        elif spec.repeated:
            convert = self._number(spec)
            yield VARINT, (Kind.OTHER, name, repeated_number(name, convert))
            yield BYTES, (Kind.OTHER, name, packed_numbers(name, convert))
        elif spec.type in _PLAIN:
            yield VARINT, (Kind.INT, name, _NUMBERS[spec.type])
        elif spec.type in _DELIMITED:
            yield BYTES, (Kind.OTHER, name, delimited(name, _DELIMITED[spec.type]))
        elif spec.type in self._fixed:
            wire_type, size, convert = self._fixed[spec.type]
            yield wire_type, (Kind.OTHER, name, fixed(name, convert, size))
        else:
            yield VARINT, (Kind.OTHER, name, number(name, self._number(spec)))

    def _number(self, spec: FieldSpec) -> Convert:
        if spec.type == F.TYPE_ENUM:
            return enum_name(self._schema.enums[spec.refers_to])
        return _NUMBERS[spec.type]
