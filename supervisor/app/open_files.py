"""The limit of open files, and the connections that it allows."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import Mapping
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

ENOUGH: Final = 1 << 20  # open files; more are not needed
RESERVE: Final = 256  # for bots, Redis, files and refused connections
LOG_EVERY_S: Final = 1.0
# How asyncio reports EMFILE, ENFILE, ENOBUFS and ENOMEM of accept, up to `backlog` times in a row.
NO_ACCEPT: Final = "socket.accept() out of system resource"


def raise_open_files_limit() -> None:
    """Raise the soft limit of open files to the hard limit, as far as the system permits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # the limit stays
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def open_files_limit() -> int:
    """Return the largest number of open files of this process."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return ENOUGH if soft == resource.RLIM_INFINITY else soft


def most_connections(files: int) -> int:
    """Return how many of `files` client connections may use: three quarters, and 256 stay free."""
    return max(1, files - max(files // 4, min(RESERVE, files // 2)))


class AcceptErrors:
    """Event loop exception handler: logs failed accepts once a second, other errors by default."""

    def __init__(self, *, log: FilteringBoundLogger) -> None:
        self._log = log.bind(actor="http")
        self._next_at = float("-inf")

    def __call__(self, loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        """Handle one error of the event loop."""
        if context.get("message") != NO_ACCEPT:
            loop.default_exception_handler(dict(context))
            return
        if (now := loop.time()) >= self._next_at:
            self._next_at = now + LOG_EVERY_S
            self._log.error("accept_failed", reason=str(context.get("exception", "")))
