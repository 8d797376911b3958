"""Part file: what survives, what is discarded, and its lock."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.replays.download import InUse, Origin, PartFile

ORIGIN = Origin("1_2.dem.bz2", '"v1"')


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "x.dem.bz2"


def test_arrived_bytes_are_there_the_next_time(target: Path) -> None:
    with PartFile(target) as part:
        part.restart(ORIGIN)
        part.append(b"abc")
    with PartFile(target) as part:
        assert (part.length, part.origin) == (3, ORIGIN)
        assert b"".join(part.chunks()) == b"abc"
        part.append(b"def")
        part.become_target()
    assert target.read_bytes() == b"abcdef"
    assert list(target.parent.iterdir()) == [target]


def test_the_first_bytes_of_another_file_never_stay(target: Path) -> None:
    with PartFile(target) as part:
        part.restart(ORIGIN)
        part.append(b"abc")
        part.restart(Origin("3_4.dem.bz2"))
        assert part.length == 0
        part.append(b"d")
    with PartFile(target) as part:
        assert (b"".join(part.chunks()), part.origin) == (b"d", Origin("3_4.dem.bz2"))


def test_an_empty_part_file_is_removed(target: Path) -> None:
    with PartFile(target) as part:
        part.restart(ORIGIN)
    assert not list(target.parent.iterdir())


def test_a_discarded_part_file_is_removed(target: Path) -> None:
    with PartFile(target) as part:
        part.restart(ORIGIN)
        part.append(b"abc")
        part.discard()
    assert not list(target.parent.iterdir())


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": 1, "nothing": 2}'])
def test_bytes_without_a_readable_note_have_no_origin(target: Path, text: str) -> None:
    with PartFile(target) as part:
        part.restart(ORIGIN)
        part.append(b"abc")
        target.with_name("x.dem.bz2.part.json").write_text(text)
        assert part.origin is None


def test_only_one_process_may_write(target: Path) -> None:
    with PartFile(target) as part:
        part.restart(ORIGIN)
        part.append(b"abc")
        with pytest.raises(InUse, match=r"x\.dem\.bz2\.part"), PartFile(target):
            pass
    with PartFile(target) as part:
        assert part.length == 3
