"""Protobuf wire format, driven by tables of message types.

Decoding returns a dict with the fields on the wire and ignores unknown ones; encoding writes fields in
the order of their numbers. Encoding rules: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

VARINT, I64, LEN, I32 = 0, 1, 2, 5  # wire types; 3 and 4 (groups) are obsolete
_MASK64: Final = (1 << 64) - 1
_SIGN32: Final = 1 << 31
_SIGN64: Final = 1 << 63
_MAX_SHIFT: Final = 63
_ONE_BYTE: Final = tuple(bytes([n]) for n in range(0x80))
_U32: Final = struct.Struct("<I")
_U64: Final = struct.Struct("<Q")


class WireError(ValueError):
    """The bytes are not a protobuf message, or not of this message type."""


def varint(number: int) -> bytes:
    """Encode a varint; a negative number as its 64-bit two's complement."""
    if 0 <= number < 0x80:  # noqa: PLR2004 - fits into seven bits
        return _ONE_BYTE[number]
    number &= _MASK64
    out = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - as above
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at offset `at`, and the offset after it."""
    result = shift = 0
    while True:
        if at >= len(data) or shift > _MAX_SHIFT:
            raise WireError("varint runs past the end")
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - no continuation bit
            return result & _MASK64, at
        shift += 7


def _int32(raw: int) -> int:
    raw &= 0xFFFFFFFF
    return raw - (1 << 32) if raw & _SIGN32 else raw


def _int64(raw: int) -> int:
    return raw - (1 << 64) if raw & _SIGN64 else raw


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise WireError("a string field is not UTF-8") from error


def _float(raw: int) -> float:
    return float(struct.unpack("<f", _U32.pack(raw))[0])


def _double(raw: int) -> float:
    return float(struct.unpack("<d", _U64.pack(raw))[0])


@dataclass(frozen=True, slots=True)
class Kind:
    """Encoding of one field type: `read` converts a raw value to Python's, `write` the reverse."""

    wire_type: int
    read: Callable[[Any], Any]
    write: Callable[[Any], bytes]


def _delimited(raw: bytes) -> bytes:
    return varint(len(raw)) + raw


KINDS: Final[Mapping[str, Kind]] = {
    "uint32": Kind(VARINT, lambda raw: raw & 0xFFFFFFFF, varint),
    "uint64": Kind(VARINT, int, varint),
    "int32": Kind(VARINT, _int32, varint),
    "int64": Kind(VARINT, _int64, varint),
    "enum": Kind(VARINT, _int32, varint),
    "bool": Kind(VARINT, bool, lambda value: b"\1" if value else b"\0"),
    "fixed32": Kind(I32, int, lambda value: _U32.pack(value & 0xFFFFFFFF)),
    "fixed64": Kind(I64, int, lambda value: _U64.pack(value & _MASK64)),
    "sint32": Kind(
        VARINT,
        lambda raw: _int32((raw >> 1) ^ -(raw & 1)),
        lambda value: varint((value << 1) ^ (value >> 31)),
    ),
    "float": Kind(I32, _float, lambda value: struct.pack("<f", value)),
    "double": Kind(I64, _double, lambda value: struct.pack("<d", value)),
    "string": Kind(LEN, _text, lambda value: _delimited(value.encode())),
    "bytes": Kind(LEN, bytes, _delimited),
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message type."""

    number: int
    name: str
    kind: Kind
    repeated: bool

    @property
    def tag(self) -> int:
        """Number and wire type, as written before each value."""
        return self.number << 3 | self.kind.wire_type


def field(number: int, name: str, kind: str | MessageType, *, repeated: bool = False) -> Field:
    """Return a field; `kind` is the name of a scalar type or a nested message type."""
    if isinstance(kind, MessageType):
        nested = kind
        made = Kind(LEN, nested.decode, lambda values: _delimited(nested.encode(values)))
    else:
        made = KINDS[kind]
    return Field(number, name, made, repeated)


class MessageType:
    """One message type.

    Args:
        name: Valve's name of the message, for error texts.
        fields: its fields, in any order.
    """

    def __init__(self, name: str, *fields: Field) -> None:
        self.name = name
        self.fields = tuple(sorted(fields, key=lambda row: row.number))
        self._by_tag = {row.tag: row for row in self.fields}
        # A repeated scalar may be packed; readers accept both forms.
        self._packed = {
            row.number << 3 | LEN: row
            for row in self.fields
            if row.repeated and row.kind.wire_type != LEN
        }
        self._writers = tuple(
            (row.name, varint(row.tag), row.kind.write, row.repeated) for row in self.fields
        )

    def decode(self, data: bytes) -> dict[str, Any]:
        """Return the known fields in `data`; the last value of a field that is not repeated counts.

        Raises:
            WireError: truncated or malformed.
        """
        found: dict[str, Any] = {}
        at, end = 0, len(data)
        while at < end:
            tag, at = read_varint(data, at)
            raw, at = _read_raw(data, at, tag & 7)
            row = self._by_tag.get(tag)
            if row is not None:
                value = row.kind.read(raw)
                if row.repeated:
                    found.setdefault(row.name, []).append(value)
                else:
                    found[row.name] = value
            elif (row := self._packed.get(tag)) is not None:
                found.setdefault(row.name, []).extend(_unpack(raw, row.kind))
        return found

    def encode(self, values: Mapping[str, Any]) -> bytes:
        """Encode `values`; None values are omitted.

        Raises:
            KeyError: a name that the message type does not have.
        """
        parts: list[bytes] = []
        used = 0
        for name, tag, write, repeated in self._writers:
            if name not in values:
                continue
            used += 1
            value = values[name]
            if value is None:
                continue
            items: Iterable[Any] = value if repeated else (value,)
            for item in items:
                parts.append(tag)
                parts.append(write(item))
        if used != len(values):
            unknown = sorted(set(values) - {row.name for row in self.fields})
            raise KeyError(f"{self.name} has no field {unknown}")
        return b"".join(parts)


def _read_raw(data: bytes, at: int, wire_type: int) -> tuple[Any, int]:
    if wire_type == VARINT:
        return read_varint(data, at)
    if wire_type == LEN:
        size, at = read_varint(data, at)
        end = at + size
        if end > len(data):
            raise WireError("field runs past the end")
        return data[at:end], end
    try:
        if wire_type == I64:
            return _U64.unpack_from(data, at)[0], at + 8
        if wire_type == I32:
            return _U32.unpack_from(data, at)[0], at + 4
    except struct.error as error:
        raise WireError("fixed field runs past the end") from error
    raise WireError(f"wire type {wire_type}")


def _unpack(raw: bytes, kind: Kind) -> list[Any]:
    values = []
    at = 0
    while at < len(raw):
        item, at = _read_raw(raw, at, kind.wire_type)
        values.append(kind.read(item))
    return values
