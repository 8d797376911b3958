"""What counts as a replay, byte by byte."""

from __future__ import annotations

import bz2
import random

import pytest

from supervisor.replay_check import AT_ONCE, MAGIC, BadReplay, ReplayCheck

PLAIN = MAGIC + bytes(8) + random.Random(1).randbytes(30_000)
PACKED = bz2.compress(PLAIN)


def unpacked(packed: bytes, step: int = 1000) -> bytes:
    check = ReplayCheck()
    plain = b"".join(
        piece for at in range(0, len(packed), step) for piece in check.feed(packed[at : at + step])
    )
    check.finish()
    return plain


@pytest.mark.parametrize("step", [1, 7, 1000, 1_000_000])
def test_a_replay_is_unpacked_however_it_is_cut(step: int) -> None:
    assert unpacked(PACKED, step) == PLAIN


@pytest.mark.parametrize("step", [1, 1000, 1_000_000])
def test_several_streams_are_one_file(step: int) -> None:
    """Also where the magic itself is spread over them."""
    parts = (MAGIC[:3], MAGIC[3:], b"the rest", b"", b"and more")
    assert unpacked(b"".join(map(bz2.compress, parts)), step) == b"".join(parts)


def test_little_that_means_much_comes_in_bounded_pieces() -> None:
    check = ReplayCheck()
    bomb = bz2.compress(MAGIC + bytes(20 * AT_ONCE))
    assert len(bomb) < 10_000
    sizes = [len(piece) for piece in check.feed(bomb)]
    assert sum(sizes) == len(MAGIC) + 20 * AT_ONCE
    assert max(sizes) <= AT_ONCE


@pytest.mark.parametrize("step", [1, 1_000_000])
@pytest.mark.parametrize(
    ("packed", "words"),
    [
        (b"<html>not found</html>", "not packed with bzip2"),
        (bz2.compress(b"HL2DEMO\0 the format before"), "not a replay of Source 2"),
        (bz2.compress(MAGIC[:5]), "too short"),
        (b"", "ends in the middle"),
        (PACKED[:-1], "ends in the middle"),
        (PACKED[:9000], "ends in the middle"),
        (PACKED + PACKED[:100], "ends in the middle"),
        (PACKED[:5000] + b"\0" * 16 + PACKED[5016:], "damaged"),
        (PACKED + b"something else", "damaged"),
    ],
)
def test_what_is_no_whole_replay_is_refused(packed: bytes, words: str, step: int) -> None:
    with pytest.raises(BadReplay, match=words):
        unpacked(packed, step)
