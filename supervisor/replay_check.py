"""Whether bytes are a replay: unpacks bz2 as it comes and looks for the magic of Source 2. No I/O."""

from __future__ import annotations

from bz2 import BZ2Decompressor
from collections.abc import Iterator
from typing import Final

MAGIC: Final = b"PBDEMS2\0"
BZ2: Final = b"BZh"
AT_ONCE: Final = 1 << 20  # bytes; a few packed ones can mean gigabytes


class BadReplay(Exception):
    """The bytes are no replay, or a damaged one; the text says in which way."""


class ReplayCheck:
    """Checks one file from its first byte to its last."""

    def __init__(self) -> None:
        self._unpacker = BZ2Decompressor()
        self._begin = b""  # of what is unpacked, as long as it is shorter than the magic
        self._signature = b""  # of what is packed, as long as bzip2's
        self._length = 0

    def feed(self, packed: bytes) -> Iterator[bytes]:
        """Take the next bytes of the file; yield what they unpack to, in pieces of `AT_ONCE` at most.

        Raises:
            BadReplay: at the first byte that cannot belong to a replay, as far as one can tell.
        """
        self._length += len(packed)
        self._signature += packed[: len(BZ2) - len(self._signature)]
        while packed or not (self._unpacker.eof or self._unpacker.needs_input):
            if self._unpacker.eof:  # parallel packers write one stream after the other
                self._unpacker = BZ2Decompressor()
            plain = self._unpack(packed)
            packed = self._unpacker.unused_data
            if plain:
                self._check_begin(plain)
                yield plain

    def finish(self) -> None:
        """Say that the file has ended.

        Raises:
            BadReplay: it ended too early.
        """
        if not self._unpacker.eof:
            raise BadReplay("it ends in the middle")
        if len(self._begin) < len(MAGIC):
            raise BadReplay("it is too short to be a replay")

    def _unpack(self, packed: bytes) -> bytes:
        try:
            return self._unpacker.decompress(packed, AT_ONCE)
        except OSError:
            if self._signature != BZ2:
                raise BadReplay("it is not packed with bzip2") from None
            raise BadReplay(f"it is damaged within its first {self._length} bytes") from None

    def _check_begin(self, plain: bytes) -> None:
        if len(self._begin) < len(MAGIC):
            self._begin += plain[: len(MAGIC) - len(self._begin)]
            if not MAGIC.startswith(self._begin):
                raise BadReplay("what is packed in it is not a replay of Source 2")
