"""Protobuf wire format, and the JSON form of each type's values.

Functions that read take the bytes and a position, and return the position after what they read. Reading
beyond the last byte is an IndexError, which the decoder turns into a DecodeError.

In JSON 64-bit integers become strings, enums names (or numbers without a name), bytes base64, NaN and
infinities strings; 32-bit floats get the fewest digits (at least six) that read back as the same float.
"""

from __future__ import annotations

import base64
import ctypes
import math
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

VARINT, FIXED64, BYTES, START_GROUP, END_GROUP, FIXED32 = range(6)  # the wire types
ONE_BYTE: Final = 0x7F  # the largest number in one byte
MAX_TAG: Final = (1 << 32) - 1  # a field number has 29 bits
TOO_LONG: Final = "a field is longer than its message"
MAX_GROUPS: Final = 32  # nested
_MASK32: Final = (1 << 32) - 1
_MASK64: Final = (1 << 64) - 1
_MAX_SHIFT: Final = 63  # ten bytes
_SIZES: Final = {FIXED32: 4, FIXED64: 8}


class DecodeError(ValueError):
    """The bytes are not a valid message."""


def varint(data: bytes, pos: int) -> tuple[int, int]:
    """Return the number at `pos`, cut to 64 bits, and the position after it."""
    value = shift = 0
    while shift <= _MAX_SHIFT:
        byte = data[pos]
        pos += 1
        if byte <= ONE_BYTE:
            return (value | byte << shift) & _MASK64, pos
        value |= (byte & ONE_BYTE) << shift
        shift += 7
    raise DecodeError("a number longer than ten bytes")


def stretch(data: bytes, pos: int, end: int) -> tuple[int, int]:
    """Return start and stop of a length-delimited field."""
    size, pos = varint(data, pos)
    return pos, within(pos + size, end)


def within(stop: int, end: int) -> int:
    """Return `stop`, the end of a field. Raises DecodeError when it is after `end`."""
    if stop > end:
        raise DecodeError(TOO_LONG)
    return stop


def read_tag(data: bytes, pos: int) -> tuple[int, int, int]:
    """Return the field number, the wire type and the position after the tag."""
    tag, pos = varint(data, pos)
    if not ONE_BYTE >> 4 < tag <= MAX_TAG:
        raise DecodeError("a field with an impossible number")
    return tag >> 3, tag & 7, pos


def skip(data: bytes, pos: int, end: int, number: int, wire_type: int, *, groups: int = 0) -> int:
    """Return the position after a field's content; `groups`: the number of open groups."""
    if wire_type == VARINT:
        return within(varint(data, pos)[1], end)
    if wire_type == BYTES:
        return stretch(data, pos, end)[1]
    if wire_type in _SIZES:
        return within(pos + _SIZES[wire_type], end)
    if wire_type == START_GROUP and groups < MAX_GROUPS:
        return _skip_group(data, pos, end, number, groups=groups + 1)
    raise DecodeError(f"wire type {wire_type} where none may be")


def _skip_group(data: bytes, pos: int, end: int, group: int, *, groups: int) -> int:
    while pos < end:
        number, wire_type, pos = read_tag(data, pos)
        if wire_type == END_GROUP and number == group:
            return within(pos, end)
        pos = skip(data, pos, end, number, wire_type, groups=groups)
    raise DecodeError("a group without an end")


# -- values --------------------------------------------------------------------------------------


def uint32(raw: int) -> int:
    """Keep 32 bits, as every protobuf parser does with a longer varint."""
    return raw & _MASK32


def int32(raw: int) -> int:
    """Two's complement; negative values travel as ten bytes."""
    raw &= _MASK32
    return raw - (1 << 32) if raw >> 31 else raw


def sint32(raw: int) -> int:
    """Zigzag."""
    raw &= _MASK32
    return (raw >> 1) ^ -(raw & 1)


def uint64(raw: int) -> str:
    """A string, because JSON numbers lose bits beyond 2^53."""
    return str(raw & _MASK64)


def fixed32(raw: bytes) -> int:
    """Little endian, unsigned."""
    return int.from_bytes(raw, "little")


def fixed64(raw: bytes) -> str:
    """Little endian, unsigned, as a string."""
    return str(int.from_bytes(raw, "little"))


def float32(raw: bytes) -> float | str:
    """The shortest decimal of six to nine digits that is the same 32-bit float, as in protobuf."""
    value = widened(raw)
    if isinstance(value, str):
        return value
    for digits in range(6, 9):
        short = float(f"{value:.{digits}g}")
        # struct.pack would raise for a value that rounds to infinity.
        if ctypes.c_float(short).value == value:
            return short
    return float(f"{value:.9g}")  # nine digits always suffice


def widened(raw: bytes) -> float | str:
    """A 32-bit float with the digits of the same 64-bit float, as JavaScript prints it."""
    value: float = struct.unpack("<f", raw)[0]
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def text(raw: bytes) -> str:
    """UTF-8; other bytes become U+FFFD (players choose their names, and proto2 does not check)."""
    return raw.decode("utf-8", "replace")


def base64_text(raw: bytes) -> str:
    """Standard alphabet, padded."""
    return base64.b64encode(raw).decode("ascii")


def enum_name(names: Mapping[int, str]) -> Callable[[int], Any]:
    """Return a function from number to name; a number without a name stays a number."""

    def name_of(raw: int) -> str | int:
        number = int32(raw)
        return names.get(number, number)

    return name_of
