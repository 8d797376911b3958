"""Movable clock for other processes, by libfaketime.

    with moved_clock() as clock:
        ...  # start processes with clock.environment added to theirs
        clock.step(3600)  # their clocks are one hour ahead

libfaketime reads its mode once, when a process starts:

- `moved_clock()` moves the wall clock only, as an operator or NTP does. Timers are not affected.
- `moved_clock(monotonic=True)` moves all clocks, as if time had passed: timers are due and leases expire.

Limits of libfaketime 0.9.10: `time.sleep` fails after a step of the wall clock alone, and a lock with a
timeout waits without end if monotonic clocks are moved. The service, the sandbox and Valkey use neither.
Timeouts of sockets, asyncio and gevent are correct.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import psutil

MISSING: Final = "libfaketime is not installed (Debian: apt install libfaketime)"
DAY_S: Final = 86400.0
_LIBRARIES: Final = ("/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib/faketime/libfaketime.so.1")
SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - the directory of the library's files
_LEFT_BEHIND: Final = ("faketime_shm_*", "sem.faketime_sem_*")


class NoFaketime(RuntimeError):
    """libfaketime is not installed."""


class MovedClock:
    """The clock offset of all processes that were started with `environment`."""

    def __init__(self, file: Path, library: Path, *, monotonic: bool) -> None:
        """Start with an offset of 0, stored in `file`."""
        self._file = file
        self._offset_s = 0.0
        self._write()
        self.environment: Mapping[str, str] = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",  # without a cache, a step takes effect immediately
            # libfaketime treats an empty variable as set, so this one must be absent.
            **({} if monotonic else {"FAKETIME_DONT_FAKE_MONOTONIC": "1"}),
        }

    @property
    def offset_s(self) -> float:
        """Seconds that the processes' clocks are ahead of the real clock."""
        return self._offset_s

    def step(self, seconds: float) -> None:
        """Move the clock; a negative number moves it back."""
        self._offset_s += seconds
        self._write()

    def _write(self) -> None:
        """Replace the file atomically."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{self._offset_s:+.3f}")
        new.replace(self._file)


def library() -> Path | None:
    """Return the path of libfaketime, or None."""
    found = (path for pattern in _LIBRARIES for path in Path("/").glob(pattern.lstrip("/")))
    return next(found, None)


@contextlib.contextmanager
def moved_clock(*, monotonic: bool = False) -> Iterator[MovedClock]:
    """Yield a clock with offset 0; its processes must end before the block does.

    Args:
        monotonic: also move the monotonic clocks.

    Raises:
        NoFaketime: libfaketime is not installed.
    """
    path = library()
    if path is None:
        raise NoFaketime(MISSING)
    with tempfile.TemporaryDirectory(prefix="botapi-clock-") as folder:
        try:
            yield MovedClock(Path(folder) / "offset", path, monotonic=monotonic)
        finally:
            _sweep()


def program_under(clock: MovedClock, program: Path, folder: Path) -> Path:
    """Write a script in `folder` that runs `program` with the clock's environment; return its path.

    For libraries that start a program without passing an environment.
    """
    variables = " ".join(f"'{name}={value}'" for name, value in clock.environment.items())
    path = folder / f"{program.name}-with-moved-clock"
    path.write_text(f"#!/bin/sh\nexec env {variables} '{program}' \"$@\"\n")
    path.chmod(0o755)
    return path


def _sweep() -> None:
    """Remove files of processes that were killed, because process ids are reused."""
    for file in (one for pattern in _LEFT_BEHIND for one in SHARED_MEMORY.glob(pattern)):
        pid = file.name.rpartition("_")[2]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            with contextlib.suppress(OSError):
                file.unlink()
