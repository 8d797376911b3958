"""Compiles a schema into decoding tables (`Shape`) and field readers (`Read`).

A table's key is the tag as it is encoded: one byte, or two as a little-endian number. Tags of three bytes
(field numbers above 2047) and overlong tags, which no encoder writes, have no key.

Plain numbers and messages have no reader: the decoder reads them itself, as most fields are such. The
last value of a singular field counts. Repeated numbers may be packed or not, as protobuf demands.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from google.protobuf.descriptor import FieldDescriptor as F

from actors.matches.protobuf import values
from actors.matches.protobuf.schema import FieldSpec, Schema
from actors.matches.protobuf.wire import (
    BYTES,
    FIXED32,
    FIXED64,
    ONE_BYTE,
    VARINT,
    packed_fixed,
    packed_varints,
    stretch,
    varint,
    within,
)

Convert: TypeAlias = Callable[[Any], Any]  # raw value -> JSON value
# (data, pos, end of the message, its dict) -> position after the field
Read: TypeAlias = Callable[[bytes, int, int, dict[str, Any]], int]

_TWO_BYTES: Final = 1 << 14  # the first tag that needs a third byte


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
        if tag >= _TWO_BYTES:
            raise ValueError(f"{self.name}: field {number} has a tag of three bytes")
        self.tags[tag if tag <= ONE_BYTE else tag & ONE_BYTE | 0x80 | tag >> 7 << 8] = entry


def number(name: str, convert: Convert) -> Read:
    """Return a reader of one varint."""

    def read(data: bytes, pos: int, _end: int, out: dict[str, Any]) -> int:
        raw = data[pos]
        pos += 1
        if raw > ONE_BYTE:
            raw, pos = varint(data, pos - 1)
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
    """Return a reader of packed varints; an empty field is ignored."""

    def read(data: bytes, pos: int, end: int, out: dict[str, Any]) -> int:
        start, stop = stretch(data, pos, end)
        if items := packed_varints(data, start, stop):
            out.setdefault(name, []).extend(map(convert, items))
        return stop

    return read


def packed_items(name: str, convert: Convert, size: int) -> Read:
    """Return a reader of packed items of `size` bytes; an empty field is ignored."""

    def read(data: bytes, pos: int, end: int, out: dict[str, Any]) -> int:
        start, stop = stretch(data, pos, end)
        if items := packed_fixed(data, start, stop, size):
            out.setdefault(name, []).extend(map(convert, items))
        return stop

    return read


def repeated(name: str, read_one: Read) -> Read:
    """Return a reader that appends one item; `read_one`: a reader for the same name."""

    def read(data: bytes, pos: int, end: int, out: dict[str, Any]) -> int:
        one: dict[str, Any] = {}
        pos = read_one(data, pos, end, one)
        out.setdefault(name, []).append(one[name])
        return pos

    return read


_VARINTS: Final[Mapping[int, Convert]] = {
    F.TYPE_UINT32: values.uint32,
    F.TYPE_INT32: values.int32,
    F.TYPE_SINT32: values.sint32,
    F.TYPE_UINT64: values.uint64,
    F.TYPE_INT64: values.int64,
    F.TYPE_SINT64: values.sint64,
    F.TYPE_BOOL: bool,
}
_FIXED32: Final[Mapping[int, Convert]] = {
    F.TYPE_FIXED32: values.fixed32,
    F.TYPE_SFIXED32: values.sfixed32,
}
_FIXED64: Final[Mapping[int, Convert]] = {
    F.TYPE_FIXED64: values.fixed64,
    F.TYPE_SFIXED64: values.sfixed64,
    F.TYPE_DOUBLE: values.float64,
}
_DELIMITED: Final[Mapping[int, Convert]] = {
    F.TYPE_STRING: values.text,
    F.TYPE_BYTES: values.base64_text,
}
_PLAIN: Final = frozenset({F.TYPE_UINT32, F.TYPE_INT32})  # small ones need no conversion


class Compiler:
    """Compiles the messages of one schema. `float32`: the JSON form of 32-bit floats."""

    def __init__(self, schema: Schema, *, float32: Convert = values.float32) -> None:
        self._schema = schema
        self._fixed32 = {**_FIXED32, F.TYPE_FLOAT: float32}
        self._shapes: dict[str, Shape] = {}
        self._open: list[str] = []

    def shape(self, name: str) -> Shape:
        """Return the shape of the message `name`.

        Raises:
            ValueError: the message contains itself, which would make the decoder's recursion endless.
        """
        if name in self._open:
            raise ValueError(f"{' > '.join(self._open)} > {name} has no end")
        if name not in self._shapes:
            self._open.append(name)
            shape = Shape(name)
            for spec in self._schema.messages[name]:
                self._add(shape, spec)
            self._shapes[self._open.pop()] = shape
        return self._shapes[name]

    def _add(self, shape: Shape, spec: FieldSpec) -> None:
        if spec.type == F.TYPE_MESSAGE:
            kind = Kind.MESSAGES if spec.repeated else Kind.MESSAGE
            shape.add(spec.number, BYTES, (kind, spec.name, self.shape(spec.refers_to)))
        elif spec.type in _PLAIN and not spec.repeated:
            shape.add(spec.number, VARINT, (Kind.INT, spec.name, _VARINTS[spec.type]))
        else:
            self._add_other(shape, spec)

    def _add_other(self, shape: Shape, spec: FieldSpec) -> None:
        wire_type, read, read_packed = self._readers(spec)
        if spec.repeated:
            read = repeated(spec.name, read)
            if read_packed is not None:
                shape.add(spec.number, BYTES, (Kind.OTHER, spec.name, read_packed))
        shape.add(spec.number, wire_type, (Kind.OTHER, spec.name, read))

    def _readers(self, spec: FieldSpec) -> tuple[int, Read, Read | None]:
        """Return the wire type, the reader of one value, and that of packed values."""
        name = spec.name
        if spec.type in _DELIMITED:
            return BYTES, delimited(name, _DELIMITED[spec.type]), None
        for wire_type, size, converts in ((FIXED32, 4, self._fixed32), (FIXED64, 8, _FIXED64)):
            if (convert := converts.get(spec.type)) is not None:
                one = fixed(name, convert, size)
                return wire_type, one, packed_items(name, convert, size)
        convert = self._number(spec)
        return VARINT, number(name, convert), packed_numbers(name, convert)

    def _number(self, spec: FieldSpec) -> Callable[[int], object]:
        if spec.type == F.TYPE_ENUM:
            return values.enum(self._schema.enums[spec.refers_to])
        return _VARINTS[spec.type]
