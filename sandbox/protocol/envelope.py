"""Steam message headers and Multi.

Layouts: SteamKit `steammsg.steamd`; all little endian.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from sandbox.protocol import messages
from sandbox.protocol.emsg import PROTO_BIT, EMsg
from sandbox.protocol.wire import WireError, varint

NO_JOB: Final = (1 << 64) - 1
_PROTO: Final = struct.Struct("<II")
_EXTENDED: Final = struct.Struct("<IBHQQBQi")  # emsg, 36, 2, target, source, 239, steamid, session
_PLAIN: Final = struct.Struct("<Iqq")  # emsg, target job, source job: of the channel encryption
_EXTENDED_SIZE: Final = 36
_CANARY: Final = 239
_JOB_TARGET_TAG: Final = varint(11 << 3 | 1)


@dataclass(frozen=True, slots=True)
class Message:
    """One message from a client. `header` is empty for non-protobuf messages."""

    emsg: int
    is_proto: bool
    header: dict[str, Any]
    body: bytes

    @property
    def job(self) -> int:
        """The job that an answer must name; `NO_JOB` if there is none."""
        job: int = self.header.get("jobid_source", NO_JOB)
        return job


def parse(data: bytes) -> Message:
    """Decode one message.

    Raises:
        WireError: too short, or its header is malformed.
    """
    if len(data) < 4:  # noqa: PLR2004 - the size of a message number
        raise WireError("shorter than a message number")
    (number,) = struct.unpack_from("<I", data)
    if not number & PROTO_BIT:
        return Message(number, is_proto=False, header={}, body=data[_EXTENDED_SIZE:])
    if len(data) < _PROTO.size:
        raise WireError("shorter than a message header")
    _, size = _PROTO.unpack_from(data)
    end = _PROTO.size + size
    if end > len(data):
        raise WireError("header runs past the end")
    header = messages.HEADER.decode(data[_PROTO.size : end])
    return Message(number & ~PROTO_BIT, is_proto=True, header=header, body=data[end:])


def proto(emsg: int, header: bytes, body: bytes) -> bytes:
    """Return a protobuf message with an encoded header and body."""
    return _PROTO.pack(emsg | PROTO_BIT, len(header)) + header + body


def job_target(job: int) -> bytes:
    """Encode the header field with the job that an answer belongs to."""
    return _JOB_TARGET_TAG + job.to_bytes(8, "little")


def struct_message(emsg: int, steamid: int, session_id: int, body: bytes) -> bytes:
    """Return a non-protobuf message with the extended header."""
    head = _EXTENDED.pack(emsg, _EXTENDED_SIZE, 2, NO_JOB, NO_JOB, _CANARY, steamid, session_id)
    return head + body


def channel_message(emsg: int, body: bytes) -> bytes:
    """Return one of the three channel encryption messages (20-byte header)."""
    return _PLAIN.pack(emsg, -1, -1) + body


def multi(inner: Iterable[bytes], header: bytes, *, zipped: bool = True) -> bytes:
    """Wrap complete messages in one Multi, gzipped as at Steam."""
    plain = b"".join(struct.pack("<I", len(message)) + message for message in inner)
    if not zipped:
        return proto(EMsg.MULTI, header, messages.MULTI.encode({"message_body": plain}))
    body = {"size_unzipped": len(plain), "message_body": gzip.compress(plain, 6)}
    return proto(EMsg.MULTI, header, messages.MULTI.encode(body))
