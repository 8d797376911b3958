"""Drains bots before they stop: the router stops using a bot before the supervisor parks or removes it.

So no request is lost, and none is charged without a result. Operations on one bot run one at a time, in
the order in which they were requested.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from actors.actor import Address
from actors.errors import ActorStopped, LocalProtocolError, MailboxFull
from actors.messages import BotRemoved, RetireBot, RouterMessage
from supervisor.clock import SystemClock
from supervisor.supervisor import UnknownChild

MAILBOX_RETRY_S: Final = 0.05

Operation = Callable[[], Awaitable[None]]


class Departures:
    """Runs drain, park and restart operations, one at a time for each bot."""

    def __init__(self, router: Address[RouterMessage], *, clock: SystemClock) -> None:
        self._router = router
        self._clock = clock
        self._tasks: dict[str, asyncio.Task[None]] = {}  # the newest of each bot

    @property
    def under_way(self) -> tuple[str, ...]:
        """The bots with a pending operation."""
        return tuple(self._tasks)

    def begin(self, bot_id: str, operation: Operation) -> None:
        """Run `operation` on a bot, after its earlier operations have ended."""
        before = self._tasks.get(bot_id)
        task = asyncio.create_task(self._do(bot_id, before, operation), name=f"{bot_id}-operation")
        self._tasks[bot_id] = task

    async def close(self) -> None:
        """Wait for all of them."""
        while self._tasks:
            await asyncio.wait(self._tasks.values())

    async def retire(self, bot_id: str, *, within_s: float) -> None:
        """Have the router give a bot no more requests; return when it has none under way."""
        # The bot drains too, whatever becomes of the question.
        with contextlib.suppress(TimeoutError, LocalProtocolError):
            await self._router.ask(RetireBot(bot_id), deadline=self._clock.now() + within_s)

    async def readmit(self, bot_id: str) -> None:
        """Let a retired bot, whose life is over, come back with its next one."""
        while True:
            try:
                return self._router.tell(BotRemoved(bot_id))
            except MailboxFull:
                await self._clock.sleep(MAILBOX_RETRY_S)
            except ActorStopped:
                return None  # its next life knows of no retirement

    async def _do(
        self, bot_id: str, before: asyncio.Task[None] | None, operation: Operation
    ) -> None:
        if before is not None:
            await asyncio.wait({before})
        try:
            with contextlib.suppress(UnknownChild):  # it has left for good meanwhile
                await operation()
        finally:
            if self._tasks.get(bot_id) is asyncio.current_task():
                del self._tasks[bot_id]
