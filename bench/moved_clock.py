"""A clock that a test moves for other processes: libfaketime, with one file that all of them follow.

    with moved_clock() as clock:
        ...  # start processes with clock.environment added to theirs
        clock.step(3600)  # all of them are an hour later at their next look at the clock

Two kinds, because libfaketime decides for a whole process when it starts:

- `moved_clock()` moves the wall clock alone, as an operator or NTP does. Monotonic clocks go on, so
  timers run as if nothing had happened.
- `moved_clock(monotonic=True)` moves every clock of the process, as hours that pass: timers are due at
  once, and a lease that was not renewed in that time has ended.

What libfaketime 0.9.10 does not follow, and processes under it must not use (the service, the sandbox and
Valkey do not): `time.sleep` fails after a step of the wall clock alone, and a lock with a timeout
waits without end where monotonic clocks are moved. Timeouts of sockets, asyncio and gevent are right.
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
SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - where the library keeps its files
_LEFT_BEHIND: Final = ("faketime_shm_*", "sem.faketime_sem_*")


class NoFaketime(RuntimeError):
    """libfaketime is not installed."""


class MovedClock:
    """The offset of all processes that were started with `environment`."""

    def __init__(self, file: Path, library: Path, *, monotonic: bool) -> None:
        """Begin without an offset; `file` holds it."""
        self._file = file
        self._offset_s = 0.0
        self._write()
        self.environment: Mapping[str, str] = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",  # read at every look at the clock: a step is seen at once
            # Variables that are set to nothing count as set: this one is left out instead.
            **({} if monotonic else {"FAKETIME_DONT_FAKE_MONOTONIC": "1"}),
        }

    @property
    def offset_s(self) -> float:
        """Seconds that the processes' clocks are ahead of the real one."""
        return self._offset_s

    def step(self, seconds: float) -> None:
        """Move by so many seconds, backwards where negative."""
        self._offset_s += seconds
        self._write()

    def _write(self) -> None:
        """Replace the file whole: a process never reads a part of it."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{self._offset_s:+.3f}")
        new.replace(self._file)


def library() -> Path | None:
    """Return libfaketime's path; None where it is not installed."""
    found = (path for pattern in _LIBRARIES for path in Path("/").glob(pattern.lstrip("/")))
    return next(found, None)


@contextlib.contextmanager
def moved_clock(*, monotonic: bool = False) -> Iterator[MovedClock]:
    """Yield a clock without an offset; its processes must end before the block does.

    Args:
        monotonic: whether the monotonic clocks are moved too.

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
    """Return a program in `folder` that becomes `program` with the clock's environment.

    For what is started by a library that passes no environment on.
    """
    variables = " ".join(f"'{name}={value}'" for name, value in clock.environment.items())
    path = folder / f"{program.name}-with-moved-clock"
    path.write_text(f"#!/bin/sh\nexec env {variables} '{program}' \"$@\"\n")
    path.chmod(0o755)
    return path


def _sweep() -> None:
    """Remove the library's files of processes that were killed: a new process may get the same id."""
    for file in (one for pattern in _LEFT_BEHIND for one in SHARED_MEMORY.glob(pattern)):
        pid = file.name.rpartition("_")[2]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            with contextlib.suppress(OSError):
                file.unlink()
