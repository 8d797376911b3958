"""Child specs of bots, and the drain of a bot before it stops.

So no request is lost, and none is charged without a result. Operations on one bot run one at a time, in
the order in which they were requested.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.actor import Address
from actors.bot.bot import Bot
from actors.bot.messages import BotExpected, BotRemoved, RouterToBot
from actors.bot.ports import BotMemory, BotPorts
from actors.bot.registry import BotSupervised, RosterMessage
from actors.bot.states import BotState
from actors.errors import (
    AccountError,
    ActorStopped,
    BudgetIsSpent,
    LocalProtocolError,
    MailboxFull,
    SteamError,
)
from actors.router.messages import RetireBot, RouterMessage
from supervisor.app.policies import bot_backoff, bot_grace_s, bot_intensity, bot_policy
from supervisor.child import ChildSpec, ChildState, ChildStatus, GiveUp, Restart
from supervisor.clock import SystemClock
from supervisor.config.model import Settings
from supervisor.logs.redaction import without_secrets
from supervisor.supervisor import UnknownChild

PARK_FOR_S: Final = 300.0
# What a bot's life may end with without being a bug.
EXPECTED_ENDS: Final = (AccountError, SteamError, BudgetIsSpent)
# What the supervisor does with a bot between two lives, in the words of /status.
BETWEEN_LIVES: Final = {
    ChildState.BACKING_OFF: BotState.BACKING_OFF,
    ChildState.PARKED: BotState.PARKED,
    ChildState.STOPPED: BotState.STOPPED,
}


class BotSpecs:
    """The recipe of each bot by the settings of that moment."""

    def __init__(
        self,
        settings: Settings,
        ports: BotPorts,
        *,
        instance: str,
        roster: Address[RosterMessage],
        router: Address[RouterMessage],
        clock: SystemClock,
        log: FilteringBoundLogger,
    ) -> None:
        """`instance`: who this process is; signs the bots' checkouts."""
        self.settings = settings
        self.memories: dict[str, BotMemory] = defaultdict(BotMemory)  # by holder
        self._ports = ports
        self._instance = instance
        self._roster = roster
        self._router = router
        self._clock = clock
        self._log = log

    def spec(self, bot_id: str) -> ChildSpec:
        """Return the spec of one bot."""
        return ChildSpec(
            id=bot_id,
            factory=partial(self._make, bot_id, Address(bot_id)),
            restart=Restart.PERMANENT,
            intensity=bot_intensity(self.settings),
            backoff=bot_backoff(self.settings),
            grace=bot_grace_s(self.settings),
            give_up=GiveUp.PARK,
            park_for=PARK_FOR_S,
            expected=EXPECTED_ENDS,
        )

    def tell(self, status: ChildStatus) -> None:
        """Tell the roster, and the router where it matters, what the supervisor does with a bot."""
        next_try_in = None if status.next_try_at is None else status.next_try_at - self._clock.now()
        supervised = BotSupervised(
            bot_id=status.id,
            state=BETWEEN_LIVES.get(status.state),
            restarts=status.restarts,
            last_error=status.last_error and without_secrets(status.last_error),
            last_error_at=status.last_error_at,
            next_try_in=next_try_in,
        )
        try:
            self._roster.tell(supervised)
            if next_try_in is not None:
                self._router.tell(BotExpected(status.id, next_try_in))
        except LocalProtocolError as error:
            self._log.warning("change_untold", watcher="fleet", reason=str(error))

    def _make(self, bot_id: str, address: Address[RouterToBot]) -> Bot:
        holder = f"{self._instance}/{bot_id}"  # how its checkouts are signed in Redis
        return Bot(
            bot_id,
            holder,
            address=address,
            memory=self.memories[holder],
            ports=self._ports,
            policy=bot_policy(self.settings),
        )


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
