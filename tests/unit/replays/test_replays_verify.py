"""Verification of a replay, byte by byte."""

from __future__ import annotations

import bz2
import itertools
import random
from collections.abc import Callable

import cramjam
import pytest
from backports import zstd

from actors.replays.verify import AT_ONCE, BadReplay, ReplayVerifier
from actors.steam.protocol.wire import varint

MATCH = 8_990_000_000
SOURCE_2, SOURCE_1 = b"PBDEMS2\0", b"PBUFDEM\0"
FILLER = random.Random(1).randbytes(30_000)
Compress = Callable[[bytes], bytes]


def checked_zstd(plain: bytes) -> bytes:
    """With the checksum that finds damage inside a frame; Valve's files may lack it."""
    return zstd.compress(plain, options={zstd.CompressionParameter.checksum_flag: 1})


both = pytest.mark.parametrize("compress", [bz2.compress, checked_zstd], ids=["bzip2", "zstd"])


def embedded(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + varint(len(content)) + content


def file_info(match_id: int, *, kind: int = 2, snappy: bool = False) -> bytes:
    """CDemoFileInfo { 1 playback_time, 4 game_info { 4 dota { 1 match_id } } }, with its envelope."""
    game = embedded(4, embedded(4, b"\x08" + varint(match_id)))
    info = b"\x0d\0\0\x80?" + game + b"\x10\x05"
    if snappy:
        info = bytes(cramjam.snappy.compress_raw(info))
    return varint(kind) + varint(70_000) + varint(len(info)) + info


def replay(info: bytes | None = None, magic: bytes = SOURCE_2, content: bytes = FILLER) -> bytes:
    """A replay with a file info; None: one whose recording was not finished."""
    at = 0 if info is None else 16 + len(content)
    return magic + at.to_bytes(4, "little") + bytes(4) + content + (info or b"")


PLAIN = replay(file_info(MATCH))


def unpacked(packed: bytes, step: int = 1000) -> bytes:
    verifier = ReplayVerifier(MATCH)
    plain = b"".join(
        piece
        for at in range(0, len(packed), step)
        for piece in verifier.feed(packed[at : at + step])
    )
    verifier.finish()
    return plain


@both
@pytest.mark.parametrize("step", [1, 7, 1000, 1_000_000])
def test_a_replay_is_unpacked_however_it_is_cut(compress: Compress, step: int) -> None:
    assert unpacked(compress(PLAIN), step) == PLAIN


@both
@pytest.mark.parametrize("step", [1, 1000, 1_000_000])
def test_several_streams_are_one_file(compress: Compress, step: int) -> None:
    """Also where the magic, the offset and the file info are spread over them."""
    cuts = (0, 3, 10, 20, 20, 30_010, len(PLAIN) - 5, len(PLAIN))
    parts = [PLAIN[begin:end] for begin, end in itertools.pairwise(cuts)]
    assert unpacked(b"".join(map(compress, parts)), step) == PLAIN


@both
def test_a_decompression_bomb_comes_in_bounded_pieces(compress: Compress) -> None:
    verifier = ReplayVerifier(MATCH)
    bomb = compress(replay(content=bytes(20 * AT_ONCE)))
    assert len(bomb) < 10_000
    sizes = [len(piece) for piece in verifier.feed(bomb)]
    assert sum(sizes) == 16 + 20 * AT_ONCE
    assert max(sizes) <= AT_ONCE


@both
def test_a_file_info_without_end_is_not_kept(compress: Compress) -> None:
    verifier = ReplayVerifier(MATCH)
    packed = compress(replay(file_info(MATCH)[:3] + bytes(40 * AT_ONCE), content=b""))
    for _ in verifier.feed(packed):
        pass
    assert len(verifier._content._info) < 5 * AT_ONCE


@pytest.mark.parametrize("name", ["bzip2", "zstd"])
def test_the_compression_is_told_by_the_first_bytes(name: str) -> None:
    verifier = ReplayVerifier(MATCH)
    packed = bz2.compress(PLAIN) if name == "bzip2" else zstd.compress(PLAIN)
    assert list(verifier.feed(packed[:3])) == []
    assert b"".join(verifier.feed(packed[3:])) == PLAIN
    assert verifier.compression == name


@both
@pytest.mark.parametrize("magic", [SOURCE_2, SOURCE_1])
@pytest.mark.parametrize("snappy", [False, True])
def test_the_file_info_must_name_the_match(
    compress: Compress, magic: bytes, *, snappy: bool
) -> None:
    kind = 2 | ({SOURCE_2: 0x40, SOURCE_1: 0x70}[magic] if snappy else 0)
    for match_id in (MATCH, 0):  # 0: it names none
        unpacked(compress(replay(file_info(match_id, kind=kind, snappy=snappy), magic)))
    other = compress(replay(file_info(7_000_000_001, kind=kind, snappy=snappy), magic))
    with pytest.raises(BadReplay, match="it is the replay of match 7000000001"):
        unpacked(other)


def test_a_recording_that_was_not_finished_names_no_match_and_is_a_replay() -> None:
    assert unpacked(zstd.compress(replay())) == replay()


@pytest.mark.parametrize(
    ("plain", "words"),
    [
        (PLAIN[:-3], "file info is damaged"),
        (PLAIN[:20_000], "ends before the file info"),
        (replay(file_info(MATCH, kind=3)), "file info is damaged"),
        (replay(b"\xff" * 40), "file info is damaged"),
        (replay(file_info(MATCH, kind=0x42)), "file info is damaged"),  # not snappy at all
        (replay(b"\x42\x01\x06" + varint(1 << 30) + b"\0"), "file info is damaged"),  # 1 GiB
        (replay(b"\x02\x01\x02\x22\x7f"), "file info is damaged"),
    ],
)
def test_a_file_info_that_cannot_be_read_is_damage(plain: bytes, words: str) -> None:
    with pytest.raises(BadReplay, match=words):
        unpacked(zstd.compress(plain))


@pytest.mark.parametrize("step", [1, 1_000_000])
@pytest.mark.parametrize(
    ("packed", "words"),
    [
        (b"<html>not found</html>", "neither with bzip2 nor with zstd"),
        (b"", "ends in the middle"),
        (b"BZ", "ends in the middle"),
    ],
)
def test_what_is_not_compressed_is_refused(packed: bytes, words: str, step: int) -> None:
    with pytest.raises(BadReplay, match=words):
        unpacked(packed, step)


@both
@pytest.mark.parametrize("step", [1, 1_000_000])
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda packed, _: packed[:-1], "ends in the middle"),
        (lambda packed, _: packed[:9000], "ends in the middle"),
        (lambda packed, _: packed + packed[:100], "ends in the middle"),
        (lambda packed, _: packed[:5000] + b"\0" * 16 + packed[5016:], "damaged"),
        (lambda packed, _: packed + b"something else", "damaged"),
        (lambda _, compress: compress(b"HL2DEMO\0 the format before"), "not a Dota 2 replay"),
        (lambda _, compress: compress(SOURCE_2[:5]), "too short"),
        (lambda _, compress: compress(SOURCE_2 + b"\1\0"), "too short"),
    ],
)
def test_what_is_no_whole_replay_is_refused(
    compress: Compress, spoil: Callable[[bytes, Compress], bytes], words: str, step: int
) -> None:
    with pytest.raises(BadReplay, match=words):
        unpacked(spoil(compress(PLAIN), compress), step)
