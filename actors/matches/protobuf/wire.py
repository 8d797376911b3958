"""Protobuf wire format: numbers, packed numbers, skipped fields.

Every function takes the bytes and a position, and returns the position after what it read. Reading beyond
the last byte is an IndexError, which the decoder turns into a DecodeError.
"""

from __future__ import annotations

from typing import Final

VARINT, FIXED64, BYTES, START_GROUP, END_GROUP, FIXED32 = range(6)  # the wire types
ONE_BYTE: Final = 0x7F  # the largest number in one byte
MAX_TAG: Final = (1 << 32) - 1  # a field number has 29 bits
TOO_LONG: Final = "a field is longer than its message"
MAX_GROUPS: Final = 32  # nested
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
    size = data[pos]
    pos += 1
    if size > ONE_BYTE:
        size, pos = varint(data, pos - 1)
    return pos, within(pos + size, end)


def within(stop: int, end: int) -> int:
    """Return `stop`, the end of a field. Raises DecodeError when it is after `end`."""
    if stop > end:
        raise DecodeError(TOO_LONG)
    return stop


def packed_varints(data: bytes, pos: int, stop: int) -> list[int]:
    """Return the numbers of a packed field."""
    numbers = []
    while pos < stop:
        number, pos = varint(data, pos)
        numbers.append(number)
    within(pos, stop)
    return numbers


def packed_fixed(data: bytes, pos: int, stop: int, size: int) -> list[bytes]:
    """Return the items of a packed field of items of `size` bytes."""
    if (stop - pos) % size:
        raise DecodeError("a packed field of a broken length")
    return [data[at : at + size] for at in range(pos, stop, size)]


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
