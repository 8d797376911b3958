"""GC message framing.

Steam header (constant for a session) + CMsgGCClient { appid, msgtype, payload }, where the payload is
u32 msgtype with bit 31, i32 header length, GC header { 10 source job / 11 target job }, body.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Final

from steam.protobufs.steammessages_base_pb2 import CMsgProtoBufHeader

from actors.steam.protocol.emsg import CLIENT_TO_GC, DOTA, PROTO_BIT
from actors.steam.protocol.envelope import NO_JOB, build
from actors.steam.protocol.wire import ParseError, content, fields, number, varint

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
