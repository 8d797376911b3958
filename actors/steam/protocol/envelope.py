"""Steam message headers and Multi messages: parsing and building.

Layouts as in SteamKit's `header.steamd`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from steam.protobufs.steammessages_base_pb2 import CMsgProtoBufHeader

from actors.steam.protocol.emsg import MULTI, PROTO_BIT
from actors.steam.protocol.wire import ParseError, content, fields, int32, number

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
            # Bounded: a decompression bomb stops here.
            plain = unpacker.decompress(packed, size + 1)
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
