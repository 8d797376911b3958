"""The log's output: a bounded queue of finished lines, and the one thread that writes them to a stream.

A write to a pipe, a terminal or a disk can wait without end or fail, and a log line only tells of the
work. So `write` never waits and never raises. A line that does not fit into the queue or that the stream
refuses is counted; the first line after such a gap says how many are missing.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, TextIO

# Characters that may wait for the stream. When it is full the oldest lines go: the newest ones say how
# things are now.
CAPACITY: Final = 4 << 20
BATCH: Final = 64 << 10  # characters in one write
# Lines that come this close together are one write: with a line for every request, a write for each
# would cost as much as a request that is answered from memory.
SOON_S: Final = 0.02
CLOSE_S: Final = 1.0  # for the last lines to be written; a stream that takes longer is dead
RETRY_S: Final = 1.0  # between two looks at a descriptor that is in non-blocking mode, and full


class Output:
    """Writes log lines to a stream from its own thread. `write` may be called from any thread."""

    def __init__(
        self, stream: TextIO, gap_line: Callable[[int], str], *, capacity: int = CAPACITY
    ) -> None:
        """`gap_line` returns the line that says how many lines are missing; empty for none."""
        self._stream = stream
        self._descriptor = _descriptor(stream)
        self._gap_line = gap_line
        self._capacity = capacity
        self._lines: deque[str] = deque()
        self._size = 0  # characters in `_lines`
        self._in_hand = 0  # lines that the thread writes just now
        self._dropped = 0
        self._unsaid = 0  # of those: no line has said so yet
        self._is_idle = False  # the thread waits for a line
        self._is_urgent = False  # `drain` or `close` waits for the thread
        self._is_closed = False
        self._ends_within_line = False
        # Reentrant: the garbage collector may run within `write`, and what it finds may be logged.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._thread = threading.Thread(target=self._run, name="log-output", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """How many lines were not written, in all."""
        return self._dropped

    @property
    def waiting(self) -> int:
        """How many lines are not written yet."""
        with self._lock:
            return len(self._lines) + self._in_hand

    def write(self, text: str) -> None:
        """Have one line, or one event of several lines, written soon and in order."""
        with self._lock:
            self._lines.append(text)
            self._size += len(text)
            while self._size > self._capacity:
                self._size -= len(self._lines.popleft())
                self._note_dropped(1)
            if self._is_idle:
                self._is_idle = False
                self._changed.notify_all()

    def drain(self, within_s: float = CLOSE_S) -> bool:
        """Wait until every line is written or dropped; return False after `within_s` seconds."""
        with self._changed:
            self._is_urgent = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._is_idle, within_s)

    def close(self, within_s: float = CLOSE_S) -> None:
        """Write what waits and end the thread, within `within_s` seconds. Harmless when repeated."""
        with self._changed:
            if self._is_closed:
                return
            self._is_closed = self._is_urgent = True
            self._changed.notify_all()
        self._thread.join(within_s)

    def note_dropped(self) -> None:
        """Count a line that could not even be put into words."""
        with self._lock:
            self._note_dropped(1)

    def _note_dropped(self, lines: int) -> None:
        self._dropped += lines
        self._unsaid += lines

    # -- in the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        while (batch := self._next_batch())[0]:
            self._write_batch(*batch)

    def _next_batch(self) -> tuple[list[str], int]:
        """Wait for lines and take as many as go into one write; none when all is over.

        Also return how many lines are missing before them, and not yet said to be.
        """
        with self._changed:
            if not self._lines:
                self._is_urgent = self._is_closed
                self._is_idle = True
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._lines or self._is_closed)
                self._is_idle = self._is_closed and not self._lines
            may_wait = self._size < BATCH and not self._is_urgent
        if may_wait:
            # Some systems measure a timed wait for a lock on the wall clock, which may be set meanwhile.
            select.select([], [], [], SOON_S)
        with self._lock:
            taken: list[str] = []
            size = 0
            while self._lines and size < BATCH:
                taken.append(self._lines.popleft())
                size += len(taken[-1])
            self._size -= size
            self._in_hand = len(taken)
            return taken, self._unsaid

    def _write_batch(self, lines: list[str], unsaid: int) -> None:
        gap = self._gap_line(unsaid) if unsaid else ""
        torn = "\n" if self._ends_within_line else ""
        encoded = [text.encode(errors="backslashreplace") for text in (torn + gap, *lines)]
        written = self._write_bytes(b"".join(encoded))
        whole = 0  # how many of `encoded` are written to their end
        for one in encoded:
            if len(one) > written:
                break
            written -= len(one)
            whole += 1
        self._ends_within_line = written > 0 or (self._ends_within_line and whole == 0)
        with self._lock:
            self._in_hand = 0
            if whole > 0:
                self._unsaid -= unsaid
            self._note_dropped(len(encoded) - max(whole, 1))

    def _write_bytes(self, data: bytes) -> int:
        """Return how much of `data` the stream took before it failed."""
        written = 0
        try:
            if self._descriptor is None:
                self._stream.write(data.decode())
                self._stream.flush()
                return len(data)
            while written < len(data):
                written += self._write_some(self._descriptor, data[written:])
        except Exception:  # noqa: BLE001 - no reader, a full disk, a closed stream: it is all the same
            return written
        return written

    @staticmethod
    def _write_some(descriptor: int, data: bytes) -> int:
        # Not by the stream, whose lock the interpreter needs at its end: this may never return.
        try:
            return os.write(descriptor, data)
        except BlockingIOError:  # another process has put what we share into non-blocking mode
            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            poll.poll(RETRY_S * 1000)
            return 0


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except OSError:  # it is in memory
        return None
