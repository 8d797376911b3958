"""The file watch notices every way to save a file, and looks at it without notifications."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
from support.scripted_child import capturing_log

from supervisor.app.file_watch import FileWatch, FollowedFile

pytestmark = pytest.mark.integration

WITHIN_S = 10.0
NEVER_S = 3600.0  # so that what is noticed was heard of


class Looks:
    """Stands for the live settings: remembers what it saw."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.seen: str | None = "nothing"
        self._looked = asyncio.Event()

    async def look(self) -> None:
        self.seen = self.file.read_text() if self.file.exists() else None
        self._looked.set()

    async def reread_when_asked(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def wait_seen(self, text: str | None) -> None:
        async with asyncio.timeout(WITHIN_S):
            while self.seen != text:
                self._looked.clear()
                await self._looked.wait()


@contextlib.asynccontextmanager
async def watching(looks: Looks, look_every_s: float = NEVER_S) -> AsyncIterator[list[str]]:
    log, lines = capturing_log()
    watch = FileWatch(cast("FollowedFile", looks), log=log, look_every_s=look_every_s)
    await watch.start()
    running = asyncio.create_task(watch.run())
    events: list[str] = []
    try:
        yield events
    finally:
        watch.stop()
        watch.stop()
        async with asyncio.timeout(WITHIN_S):
            await running
        events += [str(line["event"]) for line in lines]


async def test_a_file_is_followed_through_saves_in_place_and_by_rename(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("a")
    looks = Looks(file)
    async with watching(looks) as events:
        await looks.wait_seen("a")
        for text in "bcde":
            if text in "bd":
                file.write_text(text)
            else:
                (tmp_path / "new").write_text(text)
                (tmp_path / "new").replace(file)
            await looks.wait_seen(text)
        file.unlink()
        await looks.wait_seen(None)
    assert events == []


async def test_the_target_of_a_link_elsewhere_is_watched_too(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "here").mkdir()
    target = tmp_path / "elsewhere" / "target"
    target.write_text("a")
    file = tmp_path / "here" / "config.toml"
    file.symlink_to(target)
    looks = Looks(file)
    async with watching(looks):
        await looks.wait_seen("a")
        target.write_text("b")
        await looks.wait_seen("b")


async def test_where_nothing_can_be_watched_it_looks_now_and_then(tmp_path: Path) -> None:
    file = tmp_path / "not yet" / "config.toml"
    looks = Looks(file)
    async with watching(looks, look_every_s=0.1) as events:
        await looks.wait_seen(None)
        file.parent.mkdir()
        file.write_text("a")
        await looks.wait_seen("a")
        file.write_text("b")
        await looks.wait_seen("b")
    assert events == ["file_watch_failed"]


async def test_what_no_watch_is_told_of_is_seen_by_the_next_look(tmp_path: Path) -> None:
    """The directory is replaced by another: the watch is on one that is not used any more."""
    file = tmp_path / "folder" / "config.toml"
    file.parent.mkdir()
    file.write_text("a")
    looks = Looks(file)
    async with watching(looks, look_every_s=0.1):
        await looks.wait_seen("a")
        file.parent.rename(tmp_path / "old")
        file.parent.mkdir()
        file.write_text("b")
        await looks.wait_seen("b")
        file.write_text("c")
        await looks.wait_seen("c")
