"""Kinds of corrupted bytes that a CM sends, and corrupted messages.

Corrupted frames are made by the connection, which knows its framing.
"""

from __future__ import annotations

import enum
import gzip
import struct
from typing import Final

from sandbox.protocol import messages
from sandbox.protocol.emsg import PROTO_BIT, EMsg
from sandbox.protocol.envelope import proto


class Corruption(enum.StrEnum):
    """Which part of the bytes is invalid."""

    MAGIC = "magic"  # TCP: not VT01; WebSocket: a reserved opcode
    HMAC = "hmac"  # TCP: wrong HMAC; WebSocket: a reserved bit
    LENGTH = "length"  # a frame that announces two gigabytes
    GZIP = "gzip"  # a Multi that is not gzip
    UNZIPPED_SIZE = "unzipped_size"  # a Multi that unzips to another size
    INNER_LENGTH = "inner_length"  # a Multi with a message longer than the Multi
    HEADER = "header"  # a header longer than the message


OF_FRAMES: Final = frozenset({Corruption.MAGIC, Corruption.HMAC, Corruption.LENGTH})
_HUGE: Final = 0x7FFFFFF0


def message(corruption: Corruption) -> bytes:
    """Return a corrupted message in a valid frame."""
    if corruption is Corruption.HEADER:
        return struct.pack("<II", EMsg.PERSONA_STATE | PROTO_BIT, _HUGE) + bytes(20)
    inner = proto(EMsg.PERSONA_STATE, b"", bytes(40))
    length = _HUGE if corruption is Corruption.INNER_LENGTH else len(inner)
    plain = struct.pack("<I", length) + inner
    zipped = (
        b"\x1f\x8b\x08 no gzip at all" if corruption is Corruption.GZIP else gzip.compress(plain)
    )
    size = len(plain) + (1 if corruption is Corruption.UNZIPPED_SIZE else 0)
    body = messages.MULTI.encode({"size_unzipped": size, "message_body": zipped})
    return proto(EMsg.MULTI, b"", body)
