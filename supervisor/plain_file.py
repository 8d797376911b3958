"""Where unpacked bytes go: into `FILE.unpacking` until all are there, or nowhere."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self


class Nowhere:
    """Takes everything and keeps nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Have nothing to do."""

    def write(self, plain: bytes) -> None:
        """Take the next bytes."""

    def restart(self) -> None:
        """Forget what came."""


class PlainFile:
    """A file that takes its name when it is whole; unpacking again is cheaper than keeping half of it."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._path = target.with_name(target.name + ".unpacking")

    def __enter__(self) -> Self:
        self._file = self._path.open("wb", buffering=0)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def write(self, plain: bytes) -> None:
        """Write the next bytes."""
        rest = memoryview(plain)
        while rest:
            rest = rest[self._file.write(rest) :]

    def restart(self) -> None:
        """Forget what came."""
        self._file.truncate(0)
        self._file.seek(0)

    def become_target(self) -> None:
        """Let the whole file take its name."""
        os.fsync(self._file.fileno())
        self._path.replace(self._target)
