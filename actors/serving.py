"""The match requests that a bot is busy with, each in a task of its own, and each answered."""

from __future__ import annotations

import asyncio
from typing import Any

from structlog.typing import FilteringBoundLogger

from actors.errors import GcUnavailable, SteamError
from actors.mailbox import Reply
from actors.messages import ServeMatch
from actors.steam.port import Link


class Serving:
    """See the module. One per life of a bot."""

    def __init__(self, bot_id: str, *, log: FilteringBoundLogger) -> None:
        """`log`: knows the bot already."""
        self._name = f"{bot_id}-serve"
        self._log = log
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, link: Link, serve: ServeMatch, reply: Reply[Any]) -> None:
        """Ask Steam; the answer goes to `reply`. Does not wait."""
        log = self._log.bind(match_id=serve.match_id, request_id=serve.request_id)
        task = asyncio.create_task(_serve(link, serve, reply, log), name=self._name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel(self) -> None:
        """Give up what is under way; whoever asked is told."""
        for task in self._tasks:
            task.cancel()

    async def finish(self) -> None:
        """Wait for what is under way; each ends within its own timeout."""
        if self._tasks:
            await asyncio.wait(self._tasks)


async def _serve(
    link: Link, serve: ServeMatch, reply: Reply[Any], log: FilteringBoundLogger
) -> None:
    log.debug("gc_asked")
    try:
        reply.set(await link.request_match(serve.match_id, timeout_s=serve.timeout_s))
    except (SteamError, TimeoutError) as error:
        log.debug("gc_failed", reason=str(error) or "silence")
        reply.fail(error)
    except asyncio.CancelledError:
        reply.fail(GcUnavailable("the bot had to leave"))
        raise
