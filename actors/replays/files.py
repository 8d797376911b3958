"""Part file and extracted file of a download, for one process at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

import orjson

CHUNK: Final = 256 * 1024  # bytes


class InUse(Exception):
    """Another process downloads the same file."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The file on the server that the bytes are of."""

    name: str  # the last part of the URL, with match and salt
    validator: str | None = None  # for If-Range: a strong ETag, or Last-Modified


class PartFile:
    """The bytes that have arrived; a context manager that locks the file."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(target.name + ".part")
        self._target = target
        self._about = target.with_name(target.name + ".part.json")

    def __enter__(self) -> Self:
        """Open or create it.

        Raises:
            InUse: another process has it open.
            OSError: the directory cannot be written.
        """
        # Unbuffered: written bytes survive the end of the process.
        self._file = os.fdopen(
            os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0
        )
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise InUse(f"another process is downloading {self.path}") from None
        self.length = self._file.seek(0, os.SEEK_END)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self.length == 0:  # nothing to keep
            self.path.unlink(missing_ok=True)
            self._about.unlink(missing_ok=True)

    @property
    def origin(self) -> Origin | None:
        """Return the origin of the bytes; None if it is not recorded or not readable."""
        try:
            return Origin(**orjson.loads(self._about.read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def restart(self, origin: Origin) -> None:
        """Discard the bytes; the next ones are of `origin`."""
        self._about.unlink(missing_ok=True)  # first: never old bytes under a new name
        self._file.truncate(0)
        self._file.seek(0)
        self.length = 0
        self._about.write_bytes(orjson.dumps(asdict(origin)))

    def append(self, data: bytes) -> None:
        """Write the next bytes."""
        rest = memoryview(data)
        while rest:
            count = self._file.write(rest)
            self.length += count
            rest = rest[count:]

    def chunks(self) -> Iterator[bytes]:
        """Yield all bytes from the beginning; nothing may be appended meanwhile."""
        self._file.seek(0)
        while chunk := self._file.read(CHUNK):
            yield chunk

    def become_target(self) -> None:
        """Rename the complete file to its target."""
        os.fsync(self._file.fileno())
        self.path.replace(self._target)
        self._about.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove the file on exit."""
        self.length = 0


class PlainFile:
    """Sink that writes a file, which gets its name when it is complete; an incomplete one is removed."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._path = target.with_name(target.name + ".unpacking")

    def __enter__(self) -> Self:
        self._file = self._path.open("wb", buffering=0)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def write(self, plain: bytes) -> None:
        """Write the next bytes."""
        rest = memoryview(plain)
        while rest:
            rest = rest[self._file.write(rest) :]

    def restart(self) -> None:
        """Discard the content."""
        self._file.truncate(0)
        self._file.seek(0)

    def become_target(self) -> None:
        """Rename the complete file to its target."""
        os.fsync(self._file.fileno())
        self._path.replace(self._target)
