"""Watches a file and reads it again when it changes.

The watch is on the directory: editors save by rename, and Kubernetes swaps a link beside the file
(`..data`), after which a watch on the file would watch an unused one. A check every few seconds finds
changes that cause no event: a file that is mounted alone into a container, a network file system, a link
to a file in another directory.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Final

from structlog.typing import FilteringBoundLogger
from watchfiles import awatch

from actors.clock import Clock

SETTLE_S: Final = 0.1  # a file that stays the same for this long is completely written

_NEVER_READ: Final = object()


class FollowedFile(ABC):
    """Base class of files that are reloaded while the service runs."""

    def __init__(self, file: Path, clock: Clock) -> None:
        """`file`: whether or not it exists."""
        self.file = file
        self._clock = clock
        self._seen: object = _NEVER_READ  # the last content; None for no file
        self._asked = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()

    @abstractmethod
    async def _take_in(self, content: bytes | None, *, is_asked_for: bool) -> None:
        """Apply the new content, or report why not; `content` is None if the file cannot be read."""

    def ask_to_reread(self) -> None:
        """Request a read, even if the file is unchanged; for signal handlers."""
        self._asked.set()

    async def reread_when_asked(self) -> None:
        """Serve `ask_to_reread` until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            async with self._one_at_a_time:
                self._seen = content = await self._content()
                await self._take_in(content, is_asked_for=True)

    async def look(self) -> None:
        """Read the file again if its content has changed, as soon as it stays the same."""
        async with self._one_at_a_time:
            content = await self._content()
            if content == self._seen:
                return
            before: object = _NEVER_READ
            while content != before:
                await self._clock.sleep(SETTLE_S)
                before, content = content, await self._content()
            self._seen = content
            await self._take_in(content, is_asked_for=False)

    async def _content(self) -> bytes | None:
        try:
            return await asyncio.to_thread(self.file.read_bytes)
        except OSError:  # the subclass reports the error
            return None


LOOK_EVERY_S: Final = 5.0
QUIET_MS: Final = 50  # changes within this time are one
LONGEST_BURST_MS: Final = 500


class FileWatch:
    """Child: reads each file when it changes and when a caller requests it."""

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
        """Do nothing: the first check of `run` sees earlier changes."""

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
        """End `run`. Harmless when repeated."""
        self._stopping.set()

    async def _follow(self, followed: FollowedFile) -> None:
        await followed.look()
        async with contextlib.aclosing(self._hints(followed)) as hints:
            async for _ in hints:
                await followed.look()

    async def _hints(self, followed: FollowedFile) -> AsyncGenerator[None, None]:
        """Yield when the file may have changed, until stopped."""
        is_reported = False
        while not self._stopping.is_set():
            try:
                async for _ in self._changes(followed.file.absolute()):
                    yield
            except (OSError, RuntimeError) as error:  # no directory, or no free watches
                if not is_reported:
                    self._log.warning(
                        "file_watch_failed",
                        file=str(followed.file),
                        reason=str(error),
                        look_every_s=self._look_every_s,
                    )
                    is_reported = True
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), self._look_every_s)
                yield

    def _changes(self, file: Path) -> AsyncIterator[object]:
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
