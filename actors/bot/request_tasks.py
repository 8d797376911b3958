"""Requests that a bot is serving, each in its own task."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, assert_never

from structlog.typing import FilteringBoundLogger

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
        self._tasks: dict[asyncio.Task[bytes], float] = {}  # -> clock seconds from which it is late

    def start(self, link: Link, serve: Serve) -> asyncio.Task[bytes]:
        """Start a request; the task fails with SteamError or TimeoutError."""
        late_at = math.inf
        match serve:
            case ServeMatch(match_id=match_id, timeout_s=timeout_s, late_s=late_s):
                request = partial(link.request_match, match_id, timeout_s=timeout_s, late_s=late_s)
                about = {"match_id": match_id}
                if late_s:  # from then on only a late answer is awaited
                    late_at = self._clock.now() + timeout_s
            case ServeProfile(account_id=account_id, timeout_s=timeout_s):
                request = partial(link.request_profile, account_id, timeout_s=timeout_s)
                about = {"player": account_id}
            case ServeAliases(steam_ids=steam_ids, timeout_s=timeout_s):
                request = partial(link.request_aliases, steam_ids, timeout_s=timeout_s)
                about = {"players": len(steam_ids)}
            case other:
                assert_never(other)
        log = self._log.bind(request_id=serve.request_id, **about)
        task = asyncio.create_task(_serve(request, log), name=self._name)
        self._tasks[task] = late_at
        task.add_done_callback(self._tasks.pop)
        return task

    def cancel(self) -> None:
        """Cancel all requests; they fail."""
        for task in self._tasks:
            task.cancel()

    async def finish(self) -> None:
        """Wait for all requests; cancel the late ones as soon as they are late."""
        alarms = [
            self._clock.call_at(late_at, task.cancel)
            for task, late_at in self._tasks.items()
            if late_at < math.inf
        ]
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))
        for alarm in alarms:
            alarm.cancel()


async def _serve(
    request: Callable[[], Coroutine[Any, Any, bytes]], log: FilteringBoundLogger
) -> bytes:
    log.debug("gc_asked")
    try:
        return await request()
    except (SteamError, TimeoutError) as error:
        log.debug("gc_failed", reason=str(error) or "silence")
        raise
    except asyncio.CancelledError:
        raise GcUnavailable("the bot had to leave") from None
