"""Corrupted bytes from a CM.

Flaws of a message are made here, those of a frame by the link that knows its framing.
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
    """What is wrong."""

    MAGIC = "magic"  # TCP: not VT01; WebSocket: a reserved opcode
    HMAC = "hmac"  # TCP: the check fails; WebSocket: a reserved bit
    LENGTH = "length"  # a frame of two gigabytes is announced
    GZIP = "gzip"  # a Multi that is no gzip
    UNZIPPED_SIZE = "unzipped_size"  # a Multi that unzips to another size
    INNER_LENGTH = "inner_length"  # a message in a Multi that is longer than the Multi
    HEADER = "header"  # a header longer than the message


OF_FRAMES: Final = frozenset({Corruption.MAGIC, Corruption.HMAC, Corruption.LENGTH})
_HUGE: Final = 0x7FFFFFF0


def message(flaw: Corruption) -> bytes:
    """Return a whole message with a flaw inside."""
    if flaw is Corruption.HEADER:
        return struct.pack("<II", EMsg.PERSONA_STATE | PROTO_BIT, _HUGE) + bytes(20)
    inner = proto(EMsg.PERSONA_STATE, b"", bytes(40))
    length = _HUGE if flaw is Corruption.INNER_LENGTH else len(inner)
    plain = struct.pack("<I", length) + inner
    zipped = b"\x1f\x8b\x08 no gzip at all" if flaw is Corruption.GZIP else gzip.compress(plain)
    size = len(plain) + (1 if flaw is Corruption.UNZIPPED_SIZE else 0)
    body = messages.MULTI.encode({"size_unzipped": size, "message_body": zipped})
    return proto(EMsg.MULTI, b"", body)
