"""Verifies a replay file while it arrives: compression, content, match id. No I/O."""

from __future__ import annotations

from bz2 import BZ2Decompressor
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

import cramjam
from backports import zstd

from actors.matches.protobuf.wire import BYTES, VARINT, DecodeError, read_tag, skip, stretch, varint

AT_ONCE: Final = 1 << 20  # bytes; a few compressed bytes can become gigabytes
LARGEST_INFO: Final = 4 << 20  # bytes of the file info; real ones have some thousands

# Valve's `demo.proto` and the formats that skadistats/clarity reads: 8 bytes of magic, then the offset of
# the file info as int32, little endian. The file info is a message of kind 2 behind its kind, tick and
# size, each a varint; a bit of the kind says that it is compressed with snappy.
SOURCE_2: Final = b"PBDEMS2\0"
SOURCE_1: Final = b"PBUFDEM\0"
_HEAD: Final = len(SOURCE_2) + 4
_FILE_INFO: Final = 2  # EDemoCommands.DEM_FileInfo
_IS_COMPRESSED: Final = {SOURCE_2: 0x40, SOURCE_1: 0x70}
_PATH_TO_MATCH: Final = (4, 4)  # CDemoFileInfo.game_info, CGameInfo.dota
_MATCH_ID: Final = 1  # CGameInfo.CDotaGameInfo.match_id


class BadReplay(Exception):
    """The bytes are not a replay, a damaged one, or one of another match; the text says which."""


_Decompressor: TypeAlias = BZ2Decompressor | zstd.ZstdDecompressor
# Compressions that Valve's servers use, by their first bytes; the file's name does not tell which.
_COMPRESSIONS: Final[Mapping[bytes, tuple[str, type[_Decompressor]]]] = {
    b"BZh": ("bzip2", BZ2Decompressor),  # matches up to July 2026
    b"\x28\xb5\x2f\xfd": ("zstd", zstd.ZstdDecompressor),  # matches since about 27 July 2026
}
_SIGNATURE: Final = 4  # bytes that tell them apart


class ReplayVerifier:
    """Verifies one file from its first byte to its last.

    Attributes:
        compression: "bzip2" or "zstd", known after the first four bytes.
    """

    def __init__(self, match_id: int) -> None:
        """`match_id`: the match whose replay it must be."""
        self.compression: str | None = None
        self._content = _Content(match_id)
        self._unpacker: _Decompressor | None = None
        self._first = b""  # bytes, until the compression is known
        self._length = 0

    def feed(self, packed: bytes) -> Iterator[bytes]:
        """Take the next bytes of the file; yield their content in pieces of at most `AT_ONCE` bytes.

        Raises:
            BadReplay: the bytes cannot be part of a replay.
        """
        self._length += len(packed)
        if self._unpacker is None:
            self._first += packed
            if len(self._first) < _SIGNATURE:
                return
            packed = self._first
            found = [known for first, known in _COMPRESSIONS.items() if packed.startswith(first)]
            if not found:
                raise BadReplay("it is compressed neither with bzip2 nor with zstd")
            self.compression, make = found[0]
            self._unpacker = make()
        yield from self._unpack(packed, self._unpacker)

    def finish(self) -> None:
        """Note the end of the file.

        Raises:
            BadReplay: it ended too early, or is the replay of another match.
        """
        if self._unpacker is None or not self._unpacker.eof:
            raise BadReplay("it ends in the middle")
        self._content.finish()

    def _unpack(self, packed: bytes, unpacker: _Decompressor) -> Iterator[bytes]:
        while packed or not (unpacker.eof or unpacker.needs_input):
            if unpacker.eof:  # parallel packers write one stream after the other
                unpacker = self._unpacker = type(unpacker)()
            try:
                plain = unpacker.decompress(packed, AT_ONCE)
            except (OSError, zstd.ZstdError):
                raise BadReplay(f"it is damaged within its first {self._length} bytes") from None
            packed = unpacker.unused_data
            if plain:
                self._content.feed(plain)
                yield plain


class _Content:
    """Checks the decompressed bytes."""

    def __init__(self, match_id: int) -> None:
        self._match_id = match_id
        self._head = b""
        self._length = 0
        self._info_at: int | None = None
        self._info = bytearray()

    def feed(self, plain: bytes) -> None:
        if len(self._head) < _HEAD:
            self._head += plain[: _HEAD - len(self._head)]
            self._check_head()
        if self._info_at is not None and len(self._info) <= LARGEST_INFO:
            begin = max(0, self._info_at - self._length)
            self._info += plain[begin : begin + LARGEST_INFO + 1 - len(self._info)]
        self._length += len(plain)

    def finish(self) -> None:
        if len(self._head) < _HEAD:
            raise BadReplay("it is too short to be a replay")
        if self._info_at is None:  # the recording was not finished, so the file names no match
            return
        if not self._info:
            raise BadReplay("its content ends before the file info")
        try:
            found = _match_id_in(bytes(self._info), self._head[: len(SOURCE_2)])
        except (DecodeError, IndexError, cramjam.DecompressionError):
            raise BadReplay("its file info is damaged") from None
        if found not in (0, self._match_id):
            raise BadReplay(f"it is the replay of match {found}")

    def _check_head(self) -> None:
        magic = self._head[: len(SOURCE_2)]
        if not (SOURCE_2.startswith(magic) or SOURCE_1.startswith(magic)):
            raise BadReplay("its content is not a Dota 2 replay")
        if len(self._head) == _HEAD:
            # `feed` reads the part of this piece that comes after the head.
            at = int.from_bytes(self._head[len(SOURCE_2) :], "little", signed=True)
            self._info_at = at if at > 0 else None


def _match_id_in(message: bytes, magic: bytes) -> int:
    """Return the match id in a file info, or 0."""
    kind, pos = varint(message, 0)
    _tick, pos = varint(message, pos)
    start, stop = stretch(message, pos, len(message))
    is_compressed = kind & _IS_COMPRESSED[magic]
    if kind & ~_IS_COMPRESSED[magic] != _FILE_INFO:
        raise DecodeError("no file info where it should be")
    info = message[start:stop]
    if is_compressed:
        if cramjam.snappy.decompress_raw_len(info) > LARGEST_INFO:
            raise DecodeError("a file info of many megabytes")
        info = bytes(cramjam.snappy.decompress_raw(info))
    for number in _PATH_TO_MATCH:
        info = _field(info, number, BYTES) or b""
    return _field(info, _MATCH_ID, VARINT) or 0


def _field(data: bytes, wanted: int, wire_type: int) -> Any:
    """Return the bytes or the number of a field's last occurrence, or None."""
    found: bytes | int | None = None
    pos = 0
    while pos < len(data):
        number, kind, pos = read_tag(data, pos)
        if (number, kind) == (wanted, wire_type):
            if kind == VARINT:
                found, pos = varint(data, pos)
            else:
                start, pos = stretch(data, pos, len(data))
                found = data[start:pos]
        else:
            pos = skip(data, pos, len(data), number, kind)
    return found
