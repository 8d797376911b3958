"""One small function per kind of field: read it, convert it, put it into the message's dict.

For all but plain numbers and messages, which the decoder reads itself because most fields are such.
Of a singular field that comes twice the last one counts.
"""

from __future__ import annotations

from typing import Any

from actors.matches.shape import Convert, Read
from actors.matches.wire import ONE_BYTE, packed_fixed, packed_varints, stretch, varint, within


def number(name: str, convert: Convert) -> Read:
    """One varint."""

    def read(data: bytes, pos: int, _end: int, out: dict[str, Any]) -> int:
        raw = data[pos]
        pos += 1
        if raw > ONE_BYTE:
            raw, pos = varint(data, pos - 1)
        out[name] = convert(raw)
        return pos

    return read


def fixed(name: str, convert: Convert, size: int) -> Read:
    """`size` bytes."""

    def read(data: bytes, pos: int, end: int, out: dict[str, Any]) -> int:
        stop = within(pos + size, end)
        out[name] = convert(data[pos:stop])
        return stop

    return read


def delimited(name: str, convert: Convert) -> Read:
    """Text or bytes."""

    def read(data: bytes, pos: int, end: int, out: dict[str, Any]) -> int:
        start, stop = stretch(data, pos, end)
        out[name] = convert(data[start:stop])
        return stop

    return read


def packed_numbers(name: str, convert: Convert) -> Read:
    """Varints behind one another. None of them is no field at all."""

    def read(data: bytes, pos: int, end: int, out: dict[str, Any]) -> int:
        start, stop = stretch(data, pos, end)
        if items := packed_varints(data, start, stop):
            out.setdefault(name, []).extend(map(convert, items))
        return stop

    return read


def packed_items(name: str, convert: Convert, size: int) -> Read:
    """Items of `size` bytes behind one another. None of them is no field at all."""

    def read(data: bytes, pos: int, end: int, out: dict[str, Any]) -> int:
        start, stop = stretch(data, pos, end)
        if items := packed_fixed(data, start, stop, size):
            out.setdefault(name, []).extend(map(convert, items))
        return stop

    return read


def repeated(name: str, read_one: Read) -> Read:
    """Like `read_one`, one more each time; `read_one` was made for the same name."""

    def read(data: bytes, pos: int, end: int, out: dict[str, Any]) -> int:
        one: dict[str, Any] = {}
        pos = read_one(data, pos, end, one)
        out.setdefault(name, []).append(one[name])
        return pos

    return read
