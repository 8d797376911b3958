"""Notices that a file has changed, the settings or the API keys, and has it read.

Watches the directory and not the file: editors save by rename, and Kubernetes swaps a symbolic link
beside it (`..data`); after both, a watch on the file itself would watch a file that is no longer in use.
A look every few seconds besides sees what no watch is told of: a file that is mounted alone into a
container, a network file system, a link's target elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from structlog.typing import FilteringBoundLogger
from watchfiles import awatch

from supervisor.followed_file import FollowedFile

LOOK_EVERY_S: Final = 5.0
QUIET_MS: Final = 50  # changes that come closer together are one
LONGEST_BURST_MS: Final = 500


class FileWatch:
    """A child for the supervisor: reads the file when it changes, and when a caller asks for it."""

    def __init__(
        self,
        followed: FollowedFile,
        *,
        log: FilteringBoundLogger,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        """`look_every_s`: between two looks when nothing is heard of the file."""
        self._followed = followed
        self._look_every_s = look_every_s
        self._log = log
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Nothing to prepare: what changed before `run` is seen by its first look."""

    async def run(self) -> None:
        """Follow the file until stopped."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(), name="file-watch")
            asked = group.create_task(self._followed.reread_when_asked(), name="file-asked")
            await self._stopping.wait()
            asked.cancel()

    def stop(self) -> None:
        """Let `run` end. Harmless when repeated."""
        self._stopping.set()

    async def _follow(self) -> None:
        await self._followed.look()
        async with contextlib.aclosing(self._hints()) as hints:
            async for _ in hints:
                await self._followed.look()

    async def _hints(self) -> AsyncGenerator[None, None]:
        """Yield when the file may have changed; ends with the stop."""
        is_told = False
        while not self._stopping.is_set():
            try:
                async for _ in self._changes():
                    yield
            except (OSError, RuntimeError) as error:  # no directory, or no more watches
                if not is_told:
                    self._log.warning(
                        "file_unwatched",
                        file=str(self._followed.file),
                        reason=str(error),
                        look_every_s=self._look_every_s,
                    )
                    is_told = True
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), self._look_every_s)
                yield

    def _changes(self) -> AsyncIterator[object]:
        file = self._followed.file.absolute()
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
