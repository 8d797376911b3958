"""Framing of Steam and GC messages: protobuf wire format, headers, Multi messages, GC payloads.

The pinned protobuf is pure Python: for the three envelopes around a match request its classes would take
longer than all other work per request. Tests compare these functions with the library, which encodes
everything else.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from steam.protobufs.steammessages_base_pb2 import CMsgProtoBufHeader

from actors.steam.protocol.emsg import CLIENT_TO_GC, DOTA, MULTI, PROTO_BIT

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


# -- Steam messages; layouts as in SteamKit's `header.steamd`

# Bytes, also of the inner messages of a Multi; the welcome of an account with many items has < 1 MiB.
MAX_MESSAGE: Final = 16 * 1024 * 1024
# Messages inside one, nested Multis included; Steam sends some tens. Without a limit a few
# well-compressed bytes would block the hub for seconds.
MAX_PARTS: Final = 10_000
MAX_DECODED: Final = 64 * 1024  # bytes of a body for the pure Python parser; typical: some hundreds
MAX_NESTING: Final = 3  # Multis in Multis; Steam sends none
NO_JOB: Final = 0xFFFFFFFFFFFFFFFF
_PROTO_HEAD = struct.Struct("<II")  # emsg with proto bit, header length
_EXTENDED_HEAD = struct.Struct("<IBHQQBQi")  # emsg, 36, 2, target, source, 239, steamid, session
_GZIP: Final = zlib.MAX_WBITS | 16


@dataclass(frozen=True, slots=True)
class Message:
    """One message; `body` is protobuf if `is_proto`, else a struct."""

    emsg: int
    is_proto: bool
    steam_id: int
    session_id: int
    job_target: int  # NO_JOB for none
    eresult: int  # of a service method; 2 (Fail) when absent
    body: bytes


def parse(data: bytes) -> Iterator[Message]:
    """Yield the message in `data`, or the inner messages of a Multi in order.

    An inner message that cannot be parsed is skipped.

    Raises:
        ParseError: the outermost message, or a Multi's frame, is broken, or there are too many inside.
    """
    return _Parser().open(data)


def build(emsg: int, header: CMsgProtoBufHeader, body: bytes = b"") -> bytes:
    """Build a protobuf message."""
    head: bytes = header.SerializeToString()
    return _PROTO_HEAD.pack(emsg | PROTO_BIT, len(head)) + head + body


def decode(kind: Any, body: bytes) -> Any:
    """Return `body` as a message of the protobuf class `kind`.

    Raises:
        ParseError: `body` is invalid or too large; the pure Python parser raises many error types.
    """
    if len(body) > MAX_DECODED:
        raise ParseError(f"a {kind.__name__} is too large")
    try:
        return kind.FromString(body)
    except Exception as error:
        raise ParseError(f"no {kind.__name__}: {type(error).__name__}") from error


class _TooMany(ParseError):
    """One message holds too many; the rest of it is not read."""


class _Parser:
    """Parses one message; its nested Multis share the limits of size and count."""

    def __init__(self) -> None:
        self._bytes_left = MAX_MESSAGE
        self._parts_left = MAX_PARTS

    def open(self, data: bytes, depth: int = 0) -> Iterator[Message]:
        message = _parse_one(data)
        if message.emsg != MULTI:
            yield message
            return
        if depth >= MAX_NESTING:
            raise ParseError("Multis are nested too deeply")
        for part in _split(self._unzip(message.body)):
            if self._parts_left == 0:
                raise _TooMany("too many messages in one")
            self._parts_left -= 1
            try:
                yield from self.open(part, depth + 1)
            except _TooMany:
                raise
            except ParseError:
                continue

    def _unzip(self, body: bytes) -> bytes:
        multi = fields(body)
        size, packed = number(multi, 1), content(multi, 2)
        if size == 0:
            return packed
        if size > self._bytes_left:
            raise ParseError("a Multi is too large")
        self._bytes_left -= size
        unpacker = zlib.decompressobj(_GZIP)
        try:
            plain = unpacker.decompress(
                packed, size + 1
            )  # bounded: a decompression bomb stops here
        except zlib.error as error:
            raise ParseError("a Multi is not gzip") from error
        if len(plain) != size or not unpacker.eof:
            raise ParseError("a Multi does not have the size that it states")
        return plain


def _parse_one(data: bytes) -> Message:
    try:
        emsg, size = _PROTO_HEAD.unpack_from(data)
        if emsg & PROTO_BIT:
            return _parse_proto(data, emsg & ~PROTO_BIT, size)
        _, _, _, target, _, _, steam_id, session_id = _EXTENDED_HEAD.unpack_from(data)
    except struct.error:
        raise ParseError("a message is truncated") from None
    return Message(
        emsg=emsg,
        is_proto=False,
        steam_id=steam_id,
        session_id=session_id,
        job_target=target,
        eresult=2,
        body=data[_EXTENDED_HEAD.size :],
    )


def _parse_proto(data: bytes, emsg: int, size: int) -> Message:
    body_at = _PROTO_HEAD.size + size
    if body_at > len(data):
        raise ParseError("a header is longer than its message")
    header = fields(data[_PROTO_HEAD.size : body_at])
    return Message(
        emsg=emsg,
        is_proto=True,
        steam_id=number(header, 1),
        session_id=int32(number(header, 2)),
        job_target=number(header, 11, NO_JOB),
        eresult=int32(number(header, 13, 2)),
        body=data[body_at:],
    )


def _split(data: bytes) -> Iterator[bytes]:
    pos = 0
    while pos < len(data):
        if pos + 4 > len(data):
            raise ParseError("a Multi ends in the middle of a length")
        size = int.from_bytes(data[pos : pos + 4], "little")
        pos += 4
        if pos + size > len(data):
            raise ParseError("a Multi ends in the middle of a message")
        yield data[pos : pos + size]
        pos += size


# -- GC messages: Steam header (constant for a session) + CMsgGCClient { appid, msgtype, payload }, where
# the payload is u32 msgtype with bit 31, i32 header length, GC header { 10 source job / 11 target job },
# body.

_GC_HEAD = struct.Struct("<Ii")  # msgtype with proto bit, header length
_SOURCE_JOB = struct.Struct("<BQ")  # tag of field 10, fixed64
_SOURCE_JOB_TAG: Final = 10 << 3 | 1
_ZLIB_OR_GZIP: Final = zlib.MAX_WBITS | 32  # detected by the header
LARGEST_BODY: Final = 16 * 1024 * 1024  # bytes, decompressed
_APP = b"\x08" + varint(DOTA)  # field 1, varint
_TYPE_TAG, _PAYLOAD_TAG, _NUMBER_TAG = b"\x10", b"\x1a", b"\x08"


@dataclass(frozen=True, slots=True)
class GcMessage:
    """One message from the GC; `body` is encoded."""

    type: int
    job: int  # of the request that it answers; NO_JOB for none
    body: bytes


def gc_head(header: CMsgProtoBufHeader) -> bytes:
    """Return the prefix of every message to the GC; `header` holds the session and routing_appid."""
    return build(CLIENT_TO_GC, header) + _APP


def gc_message(head: bytes, message_type: int, body: bytes = b"", job: int | None = None) -> bytes:
    """Return a complete message to the GC; `head` is from `gc_head`."""
    header = b"" if job is None else _SOURCE_JOB.pack(_SOURCE_JOB_TAG, job)
    kind = message_type | PROTO_BIT
    payload = _GC_HEAD.pack(kind, len(header)) + header + body
    return head + _TYPE_TAG + varint(kind) + _PAYLOAD_TAG + varint(len(payload)) + payload


def gc_request(head: bytes, message_type: int, number: int, job: int) -> bytes:
    """Return a complete request with one field, { 1 match_id } or { 1 account_id }."""
    return gc_message(head, message_type, _NUMBER_TAG + varint(number), job)


def parse_gc(body: bytes) -> GcMessage | None:
    """Return the message inside a ClientFromGC; None when it is from another app.

    Raises:
        ParseError: `body` is malformed.
    """
    outer = fields(body)
    if number(outer, 1) != DOTA:
        return None
    return parse_payload(number(outer, 2), content(outer, 3))


def parse_payload(kind: int, payload: bytes) -> GcMessage:
    """Return the message in a payload; bit 31 of `kind` marks the protobuf form.

    Raises:
        ParseError: `payload` is malformed.
    """
    if not kind & PROTO_BIT:
        return GcMessage(kind, NO_JOB, payload)  # no message used here has the struct form
    try:
        _, size = _GC_HEAD.unpack_from(payload)
    except struct.error:
        raise ParseError("a GC message is truncated") from None
    body_at = _GC_HEAD.size + size
    if size < 0 or body_at > len(payload):
        raise ParseError("a GC header is longer than its message")
    header = fields(payload[_GC_HEAD.size : body_at])
    return GcMessage(kind & ~PROTO_BIT, number(header, 11, NO_JOB), payload[body_at:])


def decompressed(message: GcMessage) -> GcMessage | None:
    """Return the message inside a CompressedMsgToClient { 1 msg_id, 2 compressed_msg }, or None.

    The compression is not documented (ValvePython, SteamKit and odota/core do not read it): zlib and
    gzip are tried, None means neither. The content is either a whole payload with its own job, or only
    a body, which belongs to the job of the outer message.

    Raises:
        ParseError: the message is malformed.
    """
    outer = fields(message.body)
    kind, data = number(outer, 1), content(outer, 2)
    opener = zlib.decompressobj(_ZLIB_OR_GZIP)
    try:
        inner = opener.decompress(data, LARGEST_BODY)
    except zlib.error:
        return None
    if not opener.eof:  # truncated, or larger than any message
        return None
    whole = kind | PROTO_BIT
    if inner[:4] == whole.to_bytes(4, "little"):
        return parse_payload(whole, inner)
    return GcMessage(kind & ~PROTO_BIT, message.job, inner)
