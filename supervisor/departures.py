"""Bots on their way out, for a while or for good: the router lets go of them before anybody stops them.

So no request is lost by it, and none is charged in vain. What is done with one bot is done one after the
other, in the order in which it was asked for.
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

Errand = Callable[[], Awaitable[None]]


class Departures:
    """See the module."""

    def __init__(self, router: Address[RouterMessage], *, clock: SystemClock) -> None:
        self._router = router
        self._clock = clock
        self._tasks: dict[str, asyncio.Task[None]] = {}  # the newest of each bot

    @property
    def under_way(self) -> tuple[str, ...]:
        """The bots that something is being done with."""
        return tuple(self._tasks)

    def begin(self, bot_id: str, errand: Errand) -> None:
        """Do `errand` with a bot, after what is being done with it already."""
        before = self._tasks.get(bot_id)
        task = asyncio.create_task(self._do(bot_id, before, errand), name=f"{bot_id}-errand")
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

    async def _do(self, bot_id: str, before: asyncio.Task[None] | None, errand: Errand) -> None:
        if before is not None:
            await asyncio.wait({before})
        try:
            with contextlib.suppress(UnknownChild):  # it has left for good meanwhile
                await errand()
        finally:
            if self._tasks.get(bot_id) is asyncio.current_task():
                del self._tasks[bot_id]
