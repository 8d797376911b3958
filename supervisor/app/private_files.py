"""Files and directories that only the user of the service can read."""

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
UMASK: Final = 0o077  # of this process and its children


def only_ours_from_now_on() -> None:
    """Make new files of this process and its children readable by this user alone."""
    os.umask(UMASK)


def keep_private(path: Path) -> None:
    """Make a file, or a directory with its contents, readable by this user alone.

    Files of other users stay as they are.
    """
    for one in (path, *path.rglob("*")):
        if not one.is_symlink():
            with contextlib.suppress(OSError):
                one.chmod(DIRECTORY_MODE if one.is_dir() else FILE_MODE)


def write_once(file: Path, text: str) -> bool:
    """Write `file` and its directory, unless it has content; return whether it was written.

    The file is written completely or not at all. Of two concurrent processes one writes.

    Raises:
        OSError: it cannot be written; nothing is left behind.
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
            os.fsync(directory)  # the name is on disk before the file is used
    finally:
        Path(name).unlink(missing_ok=True)
    return True


def _holds_something(file: Path) -> bool:
    """Return whether the file has content; earlier versions left empty files on a full disk."""
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
