"""Table-driven decoder: bytes of one message type to protobuf's JSON mapping.

Several times faster than the pure Python protobuf that the Steam packages pin. Unknown fields are skipped
and counted. A schema is compiled into decoding tables (`Shape`) and field readers (`Read`).

A table's key is the tag as it is encoded: one byte, or two as a little-endian number. Tags of three bytes
(field numbers above 2047) and overlong tags, which no encoder writes, have no key.

Plain numbers and messages have no reader: the decoder reads them itself, as most fields are such. The
last value of a singular field counts. Repeated numbers may be packed or not, as protobuf demands.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from google.protobuf.descriptor import FieldDescriptor as F

from actors.matches.match import MatchDetails
from actors.matches.protobuf.schema import RESPONSE, FieldSpec, Schema, match_schema
from actors.matches.protobuf.wire import (
    BYTES,
    FIXED32,
    FIXED64,
    ONE_BYTE,
    TOO_LONG,
    VARINT,
    DecodeError,
    base64_text,
    enum_name,
    fixed32,
    fixed64,
    float32,
    int32,
    read_tag,
    sint32,
    skip,
    stretch,
    text,
    uint32,
    uint64,
    varint,
    within,
)

MAX_BODY: Final = 1 << 20  # bytes; an answer has about 5 KB, and decoding blocks the event loop
_THREE_BYTES: Final = 1 << 14  # the first tag that needs a third byte
MAX_COUNTED: Final = 256  # distinct unknown fields; a corrupt answer must not grow the table

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


_INT, _OTHER, _MESSAGES = Kind.INT, Kind.OTHER, Kind.MESSAGES


class Decoder:
    """Decodes messages of the type `root`; compiles its tables once.

    Attributes:
        unknown: the number of fields that the schema does not have, e.g. ``CMsgDOTAMatch.Player#86``;
            beyond `MAX_COUNTED` distinct fields they are counted together as ``more``.
    """

    def __init__(self, schema: Schema, root: str, *, float_of: Convert = float32) -> None:
        """`float_of`: the JSON form of a 32-bit float."""
        self._shape = Compiler(schema, float_of).shape(root)
        self.unknown: Counter[str] = Counter()

    def fields(self, body: bytes) -> dict[str, Any]:
        """Return the message.

        Raises:
            DecodeError: `body` is not valid protobuf, is cut short, or is larger than `MAX_BODY`.
        """
        if len(body) > MAX_BODY:
            raise DecodeError(f"an answer of {len(body)} bytes")
        fields: dict[str, Any] = {}
        try:
            self._message(body, 0, len(body), self._shape, fields)
        except IndexError:
            raise DecodeError("the answer is cut short") from None
        return fields

    def _message(  # noqa: C901, PLR0912 - see below
        self, data: bytes, pos: int, end: int, shape: Shape, out: dict[str, Any]
    ) -> int:
        """Read the message up to `end` into `out`; return `end`.

        One long function: nearly all of the time is spent here, and a call costs as much as a field.
        """
        tags = shape.tags
        while pos < end:
            key = data[pos]
            pos += 1
            if key > ONE_BYTE:
                key |= data[pos] << 8
                pos += 1
            try:
                kind, name, what = tags[key]
            except KeyError:
                pos = self._unknown(data, pos - (1 if key <= ONE_BYTE else 2), end, shape)
                continue
            if kind is _INT:
                value = data[pos]
                pos += 1
                if value > ONE_BYTE:
                    high = data[pos]
                    if high <= ONE_BYTE:
                        value += (high << 7) - 128
                        pos += 1
                    else:
                        value, pos = varint(data, pos - 1)
                        value = what(value)
                out[name] = value
            elif kind is _OTHER:
                pos = what(data, pos, end, out)
            else:
                size = data[pos]
                pos += 1
                if size > ONE_BYTE:
                    size, pos = varint(data, pos - 1)
                stop = pos + size
                if stop > end:
                    raise DecodeError(TOO_LONG)
                inner: dict[str, Any]
                if kind is _MESSAGES:
                    inner = {}
                    if name in out:
                        out[name].append(inner)
                    else:
                        out[name] = [inner]
                else:  # a repeated occurrence is merged, as in protobuf
                    inner = out.setdefault(name, {})
                pos = self._message(data, pos, stop, what, inner)
        if pos > end:
            raise DecodeError(TOO_LONG)
        return end

    def _unknown(self, data: bytes, pos: int, end: int, shape: Shape) -> int:
        number, wire_type, pos = read_tag(data, pos)
        pos = skip(data, pos, end, number, wire_type)
        key = f"{shape.name}#{number}"
        is_counted = key in self.unknown or len(self.unknown) < MAX_COUNTED
        self.unknown[key if is_counted else "more"] += 1
        return pos


class MatchDecoder(Decoder):
    """Decodes CMsgGCMatchDetailsResponse."""

    def __init__(self) -> None:
        super().__init__(match_schema(), RESPONSE)

    def decode(self, body: bytes) -> MatchDetails:
        """Return the answer. Raises DecodeError, as `fields` does."""
        return MatchDetails.of(self.fields(body))
