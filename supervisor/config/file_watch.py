"""Watches a file that changes while the service runs, and reads it again.

This module knows neither the content of the file nor how changes are noticed (watch.py). It runs one read
at a time.

Watches the directory and not the file: editors save by rename, and Kubernetes swaps a symbolic link
beside it (`..data`); after both, a watch on the file itself would watch a file that is no longer in use.
A look every few seconds besides sees what no watch is told of: a file that is mounted alone into a
container, a network file system, a link's target elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

from structlog.typing import FilteringBoundLogger
from watchfiles import awatch

SETTLE_S: Final = 0.1  # a file that stays the same for so long is written to its end

_NEVER_READ: Final = object()


class FollowedFile(ABC):
    """Base class of files that are reloaded while the service runs."""

    def __init__(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._sleep = sleep
        self._seen: object = _NEVER_READ  # the bytes last looked at; None for no file
        self._asked = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()

    @property
    @abstractmethod
    def file(self) -> Path:
        """The file that is followed, whether or not it exists."""

    @abstractmethod
    async def _take_in(self, content: bytes | None, *, is_asked_for: bool) -> None:
        """Go by what the file says now, or say why not; None where it cannot be read."""

    def ask_to_reread(self) -> None:
        """Have the file read again, changed or not; for signal handlers."""
        self._asked.set()

    async def reread_when_asked(self) -> None:
        """Serve `ask_to_reread` for ever."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            async with self._one_at_a_time:
                await self._read(await asyncio.to_thread(_content, self.file), is_asked_for=True)

    async def look(self) -> None:
        """Read the file again if its content is not what it was."""
        async with self._one_at_a_time:
            if await asyncio.to_thread(_content, self.file) != self._seen:
                await self._read(await self._settled(), is_asked_for=False)

    async def _read(self, content: bytes | None, *, is_asked_for: bool) -> None:
        self._seen = content
        await self._take_in(content, is_asked_for=is_asked_for)

    async def _settled(self) -> bytes | None:
        """Return the content once it has stopped changing."""
        content = await asyncio.to_thread(_content, self.file)
        while True:
            await self._sleep(SETTLE_S)
            before, content = content, await asyncio.to_thread(_content, self.file)
            if content == before:
                return content


def _content(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:  # the subclass that parses the file reports the error
        return None


LOOK_EVERY_S: Final = 5.0
QUIET_MS: Final = 50  # changes that come closer together are one
LONGEST_BURST_MS: Final = 500


class FileWatch:
    """A child for the supervisor: reads each file when it changes, and when a caller asks for it."""

    def __init__(
        self,
        *followed: FollowedFile,
        log: FilteringBoundLogger,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        """`look_every_s`: seconds between two looks without a notification."""
        self._followed = followed
        self._look_every_s = look_every_s
        self._log = log
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Nothing to prepare: what changed before `run` is seen by its first look."""

    async def run(self) -> None:
        """Follow the files until stopped."""
        async with asyncio.TaskGroup() as group:
            asked = []
            for one in self._followed:
                group.create_task(self._follow(one), name="file-watch")
                asked.append(group.create_task(one.reread_when_asked(), name="file-asked"))
            await self._stopping.wait()
            for task in asked:
                task.cancel()

    def stop(self) -> None:
        """Let `run` end. Harmless when repeated."""
        self._stopping.set()

    async def _follow(self, followed: FollowedFile) -> None:
        await followed.look()
        async with contextlib.aclosing(self._hints(followed)) as hints:
            async for _ in hints:
                await followed.look()

    async def _hints(self, followed: FollowedFile) -> AsyncGenerator[None, None]:
        """Yield when the file may have changed; ends with the stop."""
        is_told = False
        while not self._stopping.is_set():
            try:
                async for _ in self._changes(followed):
                    yield
            except (OSError, RuntimeError) as error:  # no directory, or no more watches
                if not is_told:
                    self._log.warning(
                        "file_unwatched",
                        file=str(followed.file),
                        reason=str(error),
                        look_every_s=self._look_every_s,
                    )
                    is_told = True
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), self._look_every_s)
                yield

    def _changes(self, followed: FollowedFile) -> AsyncIterator[object]:
        file = followed.file.absolute()
        return awatch(
            *{file.parent, file.resolve().parent},
            watch_filter=None,
            recursive=False,
            debounce=LONGEST_BURST_MS,
            step=QUIET_MS,
            stop_event=self._stopping,
            rust_timeout=int(self._look_every_s * 1000),
            yield_on_timeout=True,
        )
