"""Bytes of CMsgGCMatchDetailsResponse to a dict in protobuf's JSON mapping; no I/O, no library.

Several times faster than the pure Python protobuf that the Steam packages pin, and it knows today's
schema. What the schema does not know is skipped and counted; what is not protobuf is a DecodeError.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from actors.matches.details import MatchDetails
from actors.matches.schema import match_details_shape
from actors.matches.shape import Kind, Shape

MAX_DEPTH: Final = 32
MAX_VARINT_BYTES: Final = 10
MAX_COUNTED: Final = 256  # distinct unknown fields; a garbled answer must not grow the table

_VARINT, _FIXED64, _BYTES, _FIXED32, _MESSAGE = (
    Kind.VARINT,
    Kind.FIXED64,
    Kind.BYTES,
    Kind.FIXED32,
    Kind.MESSAGE,
)
_START_GROUP, _END_GROUP = 3, 4
_ONE_BYTE: Final = 0x7F  # the largest varint of one byte


class DecodeError(ValueError):
    """The bytes are not a match answer."""


class MatchDecoder:
    """Decodes answers; compiles its tables once. `unknown` counts fields the schema does not know."""

    def __init__(self) -> None:
        self._shape = match_details_shape()
        self.unknown: Counter[str] = Counter()

    def decode(self, body: bytes) -> MatchDetails:
        """Return the answer.

        Raises:
            DecodeError: `body` is not valid protobuf, or a field is cut short.
        """
        fields: dict[str, Any] = {}
        try:
            self._message(body, 0, len(body), self._shape, fields, 0)
        except IndexError:
            raise DecodeError("the answer is cut short") from None
        return MatchDetails.of(fields)

    def _message(  # noqa: C901, PLR0912, PLR0915, PLR0917 - one loop over the wire, kept in one piece for speed
        self, data: bytes, pos: int, end: int, shape: Shape, out: dict[str, Any], depth: int
    ) -> None:
        if depth > MAX_DEPTH:
            raise DecodeError("the answer is nested too deeply")
        tags = shape.tags
        while pos < end:
            tag = data[pos]
            pos += 1
            if tag > _ONE_BYTE:
                tag, pos = _varint(data, pos - 1)
            entry = tags.get(tag)
            if entry is None:
                pos = self._skip(data, pos, end, tag, depth)
                self._count(shape, tag)
                continue
            kind, name, repeated, convert, inner, item = entry
            value: Any
            if kind is _VARINT:
                value = data[pos]
                pos += 1
                if value > _ONE_BYTE:
                    value, pos = _varint(data, pos - 1)
            else:
                if kind is _FIXED32:
                    size = 4
                elif kind is _FIXED64:
                    size = 8
                else:
                    size = data[pos]
                    pos += 1
                    if size > _ONE_BYTE:
                        size, pos = _varint(data, pos - 1)
                start, pos = pos, pos + size
                if pos > end:
                    raise DecodeError("a field is longer than its message")
                if kind is _MESSAGE:
                    # A singular message that comes twice is merged, as protobuf has it.
                    value = {} if repeated else out.get(name, {})
                    self._message(data, start, pos, inner, value, depth + 1)  # type: ignore[arg-type]
                elif kind is Kind.PACKED:
                    if start < pos:
                        items = _unpack(data, start, pos, item)
                        out.setdefault(name, []).extend(map(convert, items) if convert else items)
                    continue
                else:
                    value = data[start:pos]
            if convert is not None:
                value = convert(value)
            if repeated:
                out.setdefault(name, []).append(value)
            else:
                out[name] = value
        if pos > end:
            raise DecodeError("a field is longer than its message")

    def _skip(self, data: bytes, pos: int, end: int, tag: int, depth: int) -> int:
        """Return the position after a field that nobody knows."""
        wire_type = tag & 7
        if tag >> 3 == 0:
            raise DecodeError("a field with number 0")
        if wire_type == _VARINT:
            _, pos = _varint(data, pos)
        elif wire_type == _FIXED64:
            pos += 8
        elif wire_type == _FIXED32:
            pos += 4
        elif wire_type == _BYTES:
            size, pos = _varint(data, pos)
            pos += size
        elif wire_type == _START_GROUP and depth < MAX_DEPTH:
            return self._skip_group(data, pos, end, tag >> 3, depth + 1)
        else:
            raise DecodeError(f"wire type {wire_type} where none may be")
        if pos > end:
            raise DecodeError("a field is longer than its message")
        return pos

    def _skip_group(self, data: bytes, pos: int, end: int, number: int, depth: int) -> int:
        while pos < end:
            tag, pos = _varint(data, pos)
            if tag == number << 3 | _END_GROUP:
                return pos
            pos = self._skip(data, pos, end, tag, depth)
        raise DecodeError("a group without an end")

    def _count(self, shape: Shape, tag: int) -> None:
        key = f"{shape.name}#{tag >> 3}"
        self.unknown[key if key in self.unknown or len(self.unknown) < MAX_COUNTED else "more"] += 1


def _varint(data: bytes, pos: int) -> tuple[int, int]:
    """Return the number at `pos` and the position after it."""
    value = shift = 0
    for _ in range(MAX_VARINT_BYTES):
        byte = data[pos]
        pos += 1
        value |= (byte & _ONE_BYTE) << shift
        if byte <= _ONE_BYTE:
            return value, pos
        shift += 7
    raise DecodeError("a number longer than ten bytes")


def _unpack(data: bytes, pos: int, end: int, item: Kind) -> list[Any]:
    """Return the raw items of a packed field."""
    items: list[Any] = []
    if item is _VARINT:
        while pos < end:
            number, pos = _varint(data, pos)
            items.append(number)
        if pos > end:
            raise DecodeError("a packed number is longer than its field")
        return items
    size = 4 if item is _FIXED32 else 8
    if (end - pos) % size:
        raise DecodeError("a packed field of a broken length")
    return [data[at : at + size] for at in range(pos, end, size)]
