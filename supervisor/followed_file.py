"""A file that people edit while the service runs, read again when it changes or an operator asks.

This module knows neither the content of the file nor how changes are noticed (watch.py). It runs one read
at a time.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

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
