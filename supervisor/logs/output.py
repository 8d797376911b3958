"""Log output: a bounded queue of finished lines and the thread that writes them to a stream.

A write to a pipe, a terminal or a disk can block or fail, and logging must not stop the service. So
`write` never waits and never raises. Lines that do not fit into the queue or that the stream refuses are
counted; the first line after such a gap gives their number.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, TextIO

# Bytes that may wait for the stream. When the queue is full, the oldest lines are dropped.
CAPACITY: Final = 4 << 20
BATCH: Final = 64 << 10  # bytes in one write
# Lines within this time are one write: a write for each would cost as much as a cached match.
SOON_S: Final = 0.02
CLOSE_S: Final = 1.0  # to write the last lines at exit
RETRY_S: Final = 1.0  # between two checks of a non-blocking descriptor that is full


class Output:
    """Writes log lines to a stream from its own thread. `write` may be called from any thread."""

    def __init__(
        self, stream: TextIO, gap_line: Callable[[int], str], *, capacity: int = CAPACITY
    ) -> None:
        """`gap_line` returns the line that reports so many dropped lines, or an empty text."""
        self._stream = stream
        self._descriptor: int | None = None
        with contextlib.suppress(OSError):  # a stream in memory has none
            self._descriptor = stream.fileno()
        self._gap_line = gap_line
        self._capacity = capacity
        self._lines: deque[bytes] = deque()
        self._size = 0  # bytes in `_lines`
        self._in_hand = 0  # lines that the thread is writing
        self.dropped = 0  # lines that were dropped since the start
        self._unreported = 0  # dropped lines that no gap line has reported
        self._is_idle = False  # the thread waits for a line
        self._is_urgent = False  # `drain` or `close` waits for the thread
        self._is_closed = False
        self._ends_within_line = False
        # Reentrant: the garbage collector may run within `write` and log an error.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._thread = threading.Thread(target=self._run, name="log-output", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Number of lines that are not written yet."""
        with self._lock:
            return len(self._lines) + self._in_hand

    def write(self, text: str | bytes) -> None:
        """Queue one event, of one or more lines; bytes are in UTF-8."""
        data = text if isinstance(text, bytes) else text.encode(errors="backslashreplace")
        with self._lock:
            self._lines.append(data)
            self._size += len(data)
            while self._size > self._capacity:
                self._size -= len(self._lines.popleft())
                self.note_dropped()
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
        """Write the queued lines and end the thread, within `within_s` seconds. Idempotent."""
        with self._changed:
            if self._is_closed:
                return
            self._is_closed = self._is_urgent = True
            self._changed.notify_all()
        self._thread.join(within_s)

    def note_dropped(self, lines: int = 1) -> None:
        """Count lines that could not be written, or a line that could not be formatted."""
        with self._lock:
            self.dropped += lines
            self._unreported += lines

    # -- in the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        while (batch := self._next_batch())[0]:
            self._write_batch(*batch)

    def _next_batch(self) -> tuple[list[bytes], int]:
        """Wait for lines and take as many as fit into one write; none after `close`.

        Also return the number of dropped lines to report before them.
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
            # Not a timed wait for the lock: some systems measure it on the wall clock, which may jump.
            select.select([], [], [], SOON_S)
        with self._lock:
            taken: list[bytes] = []
            size = 0
            while self._lines and size < BATCH:
                taken.append(self._lines.popleft())
                size += len(taken[-1])
            self._size -= size
            self._in_hand = len(taken)
            return taken, self._unreported

    def _write_batch(self, lines: list[bytes], unreported: int) -> None:
        gap = self._gap_line(unreported) if unreported else ""
        torn = "\n" if self._ends_within_line else ""
        lines = [(torn + gap).encode(), *lines]
        written = self._write_bytes(b"".join(lines))
        whole = 0  # number of `lines` that are written completely
        for one in lines:
            if len(one) > written:
                break
            written -= len(one)
            whole += 1
        self._ends_within_line = written > 0 or (self._ends_within_line and whole == 0)
        with self._lock:
            self._in_hand = 0
            if whole > 0:
                self._unreported -= unreported
            self.note_dropped(len(lines) - max(whole, 1))

    def _write_bytes(self, data: bytes) -> int:
        """Return how many bytes of `data` the stream took."""
        written = 0
        try:
            if self._descriptor is None:
                self._stream.write(data.decode())
                self._stream.flush()
                return len(data)
            while written < len(data):
                written += self._write_some(self._descriptor, data[written:])
        except Exception:  # noqa: BLE001 - no reader, a full disk, a closed stream
            return written
        return written

    @staticmethod
    def _write_some(descriptor: int, data: bytes) -> int:
        # Not through the stream: this may block, and the interpreter needs the stream's lock at exit.
        try:
            return os.write(descriptor, data)
        except BlockingIOError:
            # Another process, which shares the descriptor, has set it to non-blocking mode.
            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            poll.poll(RETRY_S * 1000)
            return 0
