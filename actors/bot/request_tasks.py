"""Requests that a bot is serving, each in its own task."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, assert_never

from structlog.typing import FilteringBoundLogger

from actors.actor import Reply
from actors.bot.messages import Serve, ServeAliases, ServeMatch, ServeProfile
from actors.clock import Clock
from actors.errors import GcUnavailable, SteamError
from actors.steam.port import Link


class RequestTasks:
    """Runs the requests of one bot run."""

    def __init__(self, bot_id: str, *, clock: Clock, log: FilteringBoundLogger) -> None:
        self._name = f"{bot_id}-serve"
        self._clock = clock
        self._log = log
        self._tasks: dict[asyncio.Task[None], float] = {}  # -> clock seconds from which it is late

    def start(self, link: Link, serve: Serve, reply: Reply[Any]) -> None:
        """Start a request; its answer goes to `reply`."""
        request, about = _request(link, serve)
        log = self._log.bind(request_id=serve.request_id, **about)
        task = asyncio.create_task(_serve(request, reply, log), name=self._name)
        self._tasks[task] = self._late_at(serve)
        task.add_done_callback(self._tasks.pop)

    def cancel(self) -> None:
        """Cancel all requests; their replies fail."""
        for task in self._tasks:
            task.cancel()

    async def finish(self) -> None:
        """Wait for all requests; cancel the late ones as soon as they are late."""
        alarms = [
            self._clock.call_at(late_at, partial(_cancel, task))
            for task, late_at in self._tasks.items()
            if late_at < math.inf
        ]
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))
        for alarm in alarms:
            alarm.cancel()

    def _late_at(self, serve: Serve) -> float:
        """Return from when on only a late answer is awaited; inf where the request ends then."""
        if isinstance(serve, ServeMatch) and serve.late_s:
            return self._clock.now() + serve.timeout_s
        return math.inf


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()


async def _serve(
    request: Callable[[], Awaitable[bytes]], reply: Reply[Any], log: FilteringBoundLogger
) -> None:
    log.debug("gc_asked")
    try:
        reply.set(await request())
    except (SteamError, TimeoutError) as error:
        log.debug("gc_failed", reason=str(error) or "silence")
        reply.fail(error)
    except asyncio.CancelledError:
        reply.fail(GcUnavailable("the bot had to leave"))
        raise


def _request(link: Link, serve: Serve) -> tuple[Callable[[], Awaitable[bytes]], dict[str, int]]:
    """Return the call of the link, and the log fields of a request."""
    match serve:
        case ServeMatch(match_id=match_id, timeout_s=timeout_s, late_s=late_s):
            ask = partial(link.request_match, match_id, timeout_s=timeout_s, late_s=late_s)
            return ask, {"match_id": match_id}
        case ServeProfile(account_id=account_id, timeout_s=timeout_s):
            return partial(link.request_profile, account_id, timeout_s=timeout_s), {
                "player": account_id
            }
        case ServeAliases(steam_ids=steam_ids, timeout_s=timeout_s):
            return partial(link.request_aliases, steam_ids, timeout_s=timeout_s), {
                "players": len(steam_ids)
            }
        case other:
            assert_never(other)
