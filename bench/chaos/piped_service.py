"""A service that logs into a small pipe, as under `systemd` or a container engine.

The pipe's reader can stop reading, so that writes block, or close the pipe, so that writes fail.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import threading
from collections.abc import Iterator
from typing import IO, Final

from bench.service_process import ServiceProcess

PIPE_BYTES: Final = 4096  # full after a few seconds of requests
LOOK_S: Final = 0.1


class PipedService(ServiceProcess):
    """`botapi run` that logs into a pipe; `log` is what the reader has read."""

    _reader: _Reader | None = None

    def stop_reading(self) -> None:
        """Let the pipe fill up."""
        if self._reader is not None:
            self._reader.reads.clear()

    def read_again(self) -> None:
        """Read what has accumulated, and continue."""
        if self._reader is not None:
            self._reader.reads.set()

    def close_reader(self) -> None:
        """Make every write fail until the next start."""
        if self._reader is not None:
            self._reader.close()

    @contextlib.contextmanager
    def _log_stream(self) -> Iterator[IO[bytes]]:
        self.close_reader()
        reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._reader = _Reader(reading, self._log_file.open("ab", buffering=0))
        with os.fdopen(writing, "wb") as stream:
            yield stream

    def stop(self, number: int = 15) -> int:
        """Stop with the log being read: a process cannot end while its last writes block."""
        self.read_again()
        return super().stop(number)


class _Reader:
    """Thread that copies from the pipe into a file while `reads` is set."""

    def __init__(self, pipe: int, file: IO[bytes]) -> None:
        self.reads = threading.Event()
        self.reads.set()
        self._closed = threading.Event()
        self._pipe, self._file = pipe, file
        self._thread = threading.Thread(target=self._copy, name="chaos-log-reader", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close the pipe. Idempotent."""
        self._closed.set()
        self._thread.join()

    def _copy(self) -> None:
        with self._file:
            while not self._closed.is_set():
                if not self.reads.wait(LOOK_S):
                    continue
                if select.select([self._pipe], [], [], LOOK_S)[0]:
                    if not (data := os.read(self._pipe, 65536)):
                        break
                    self._file.write(data)
            os.close(self._pipe)
