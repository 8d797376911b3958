"""Where log lines go: one stream, at once, or many lines in one write where there are many.

A write is a system call, and with a line for every request it would cost as much as a request that is
answered from memory. So those lines may wait for others, but never longer than `SOON_S`. Whatever is
written at once takes them along, so the order stays.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, TextIO

SOON_S: Final = 0.02


class Output:
    """See the module. What structlog and the standard library need of a stream, and `write_soon`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._waiting: deque[str] = deque()  # appended and popped by several threads
        self._is_due = False

    def write(self, text: str) -> int:
        """Write now, behind what waits. From any thread."""
        if self._waiting:
            text = "".join((*self._taken(), text))
        return self._stream.write(text)

    def flush(self) -> None:
        """Let nothing wait."""
        self.write("")
        self._stream.flush()

    def write_soon(self, line: str) -> None:
        """Write within `SOON_S`. On the thread of the running loop only."""
        self._waiting.append(line)
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_later(SOON_S, self._write_out)

    def _write_out(self) -> None:
        self._is_due = False
        self.flush()

    def _taken(self) -> list[str]:
        lines = []
        while self._waiting:
            try:
                lines.append(self._waiting.popleft())
            except IndexError:  # another thread was quicker
                break
        return lines
