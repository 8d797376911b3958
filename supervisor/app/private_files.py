"""Files and directories of the service that only its own user can read.

A file is written whole or not at all: a full disk leaves no empty one behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

DIRECTORY_MODE: Final = 0o700
FILE_MODE: Final = 0o600
UMASK: Final = 0o077  # of a process that keeps secrets on disk, and of all that it starts


def only_ours_from_now_on() -> None:
    """Let whatever this process and its children create be readable by this user alone."""
    os.umask(UMASK)


def keep_private(path: Path) -> None:
    """Let only this user read a file, or a directory and all in it, also what is there already.

    What belongs to another user stays as it is.
    """
    for one in (path, *path.rglob("*")):
        if not one.is_symlink():
            with contextlib.suppress(OSError):
                one.chmod(DIRECTORY_MODE if one.is_dir() else FILE_MODE)


def write_once(file: Path, text: str) -> bool:
    """Write `file`, with its directory, unless it holds something; return whether it was written.

    Of two processes that do so at the same time one writes, and both find the same text.

    Raises:
        OSError: it cannot be written; nothing is left of it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    if _holds_something(file):
        return False
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as new:
            new.write(text)
            new.flush()
            os.fsync(new.fileno())
        with _locked(file.parent) as directory:
            if _holds_something(file):
                return False
            Path(name).replace(file)
            os.fsync(directory)  # the name is on disk before anything relies on the file
    finally:
        Path(name).unlink(missing_ok=True)
    return True


def _holds_something(file: Path) -> bool:
    """Tell whether it is there; an empty one is what a full disk left to an earlier version."""
    try:
        return bool(file.read_bytes().strip())
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)
