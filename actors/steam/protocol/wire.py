"""Protobuf wire format for the envelopes around a match request.

The pinned protobuf is pure Python: its classes would take longer for these three envelopes than all other
work per request. Tests compare these functions with the library, which encodes everything else.
"""

from __future__ import annotations

import struct
from typing import Final

MAX_VARINT_SHIFT: Final = 63
MAX_FIELDS: Final = 1024  # of an envelope, which has about twenty; each takes half a microsecond
_ONE_BYTE: Final = 0x7F
_64_BITS: Final = 0xFFFFFFFFFFFFFFFF
_FIXED64 = struct.Struct("<Q")
_FIXED32 = struct.Struct("<I")

Value = int | bytes


class ParseError(ValueError):
    """Malformed bytes."""


def varint(number: int) -> bytes:
    """Encode a non-negative number."""
    out = bytearray()
    while number > _ONE_BYTE:
        out.append(number & _ONE_BYTE | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_varint(data: bytes, pos: int) -> tuple[int, int]:
    """Return the number at `pos`, cut to 64 bits, and the position after it.

    Raises:
        IndexError: past the end.
        ParseError: longer than ten bytes.
    """
    value = shift = 0
    while shift <= MAX_VARINT_SHIFT:
        byte = data[pos]
        pos += 1
        value |= (byte & _ONE_BYTE) << shift
        if byte <= _ONE_BYTE:
            return value & _64_BITS, pos
        shift += 7
    raise ParseError("a number longer than ten bytes")


def fields(data: bytes) -> dict[int, Value]:
    """Return the top-level fields of a message by number; of a repeated one the last.

    Varints and fixed values come as unsigned ints, everything with a length as bytes.

    Raises:
        ParseError: not protobuf, truncated, or with too many fields.
    """
    found: dict[int, Value] = {}
    pos, end, count = 0, len(data), 0
    try:
        while pos < end:
            count += 1
            if count > MAX_FIELDS:
                raise ParseError("an envelope has too many fields")
            tag, pos = read_varint(data, pos)
            number, kind = tag >> 3, tag & 7
            if kind == 0:
                found[number], pos = read_varint(data, pos)
            elif kind == 1:
                (found[number],) = _FIXED64.unpack_from(data, pos)
                pos += 8
            elif kind == 2:  # noqa: PLR2004 - protobuf's wire types
                size, pos = read_varint(data, pos)
                if pos + size > end:
                    raise ParseError("a field is longer than its message")
                found[number] = data[pos : pos + size]
                pos += size
            elif kind == 5:  # noqa: PLR2004 - as above
                (found[number],) = _FIXED32.unpack_from(data, pos)
                pos += 4
            else:
                raise ParseError(f"wire type {kind}")
    except (IndexError, struct.error):
        raise ParseError("a message is truncated") from None
    return found


def number(found: dict[int, Value], key: int, default: int = 0) -> int:
    """Return field `key` as a number; `default` when it is absent or not one."""
    value = found.get(key, default)
    return value if isinstance(value, int) else default


def int32(unsigned: int) -> int:
    """Return the signed number that a varint of an int32 field stands for; cut to 32 bits."""
    low = unsigned & 0xFFFFFFFF
    return low - (1 << 32) if low >> 31 else low


def content(found: dict[int, Value], key: int) -> bytes:
    """Return field `key` as bytes; empty when it is absent or a number."""
    value = found.get(key, b"")
    return value if isinstance(value, bytes) else b""
