"""Table-driven decoder: bytes of one message type to protobuf's JSON mapping.

Several times faster than the pure Python protobuf that the Steam packages pin. Unknown fields are skipped
and counted.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from actors.matches.match import MatchDetails
from actors.matches.protobuf.compiler import Compiler, Convert, Kind, Shape
from actors.matches.protobuf.schema import RESPONSE, Schema, match_schema
from actors.matches.protobuf.wire import (
    ONE_BYTE,
    TOO_LONG,
    DecodeError,
    float32,
    read_tag,
    skip,
    varint,
)

MAX_BODY: Final = 1 << 20  # bytes; an answer has about 5 KB, and decoding blocks the event loop
MAX_COUNTED: Final = 256  # distinct unknown fields; a corrupt answer must not grow the table

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
