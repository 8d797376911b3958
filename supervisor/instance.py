"""Who this process is, over its restarts: an id in the data directory, held by a file lock.

While we hold the lock no other process has our id, so a predecessor with it is surely dead, and what it
had checked out may be taken back at once. A process that cannot have the lock (a second one on the same
directory, a directory that is read-only) has an id of its own for as long as it lives.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Final

from structlog.typing import FilteringBoundLogger

from supervisor.private_file import keep_private

FILE: Final = "instance"


@dataclass(frozen=True, slots=True)
class Instance:
    """`id` is unique in the world; `is_lasting`: a restart on the same directory has it again."""

    id: str
    is_lasting: bool


@contextlib.contextmanager
def own_instance(data_dir: Path, *, log: FilteringBoundLogger) -> Iterator[Instance]:
    """Yield who we are; the lock is held as long as the block."""
    with contextlib.ExitStack() as stack:
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context((data_dir / FILE).open("a+b", buffering=0))
            keep_private(data_dir / FILE)  # who can open it can hold its lock
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.seek(0)
            known = file.read().decode(errors="replace").strip()
            if not known:
                known = _new_id()
                write_whole(file, f"{known}\n")
        except OSError as error:
            log.warning(
                "instance_unnamed",
                reason=f"{data_dir}: {error.strerror}; after a crash our accounts are free only when "
                "their leases lapse",
            )
            yield Instance(_new_id(), is_lasting=False)
            return
        yield Instance(known, is_lasting=True)


def write_whole(file: FileIO, text: str) -> None:
    """Replace what is in a file, to the disk; what cannot be written whole leaves the file empty.

    Raises:
        OSError: the disk is full, for example.
    """
    data, written = text.encode(), 0
    file.seek(0)
    file.truncate()
    try:
        written = file.write(data)
        os.fsync(file.fileno())
    finally:
        if written < len(data):
            with contextlib.suppress(OSError):
                file.truncate(0)
    if written < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _new_id() -> str:
    """Distinct even for two containers with one host name and one process number."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
