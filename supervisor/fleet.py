"""The fleet: bot-1 .. bot-N under a supervisor of their own, and how it grows and shrinks.

A fleet that shrinks loses nobody's request: the router gives a leaving bot no more of them, what it has
in flight is finished, it logs off, its account is given back, and only then it is forgotten.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.actor import Address
from actors.announcer import Announcer
from actors.bot import Bot, BudgetIsSpent
from actors.bot_ports import BotMemory, BotPorts
from actors.bot_states import BotState
from actors.errors import AccountError, LocalProtocolError, SteamError
from actors.leaving import choose_leaving
from actors.messages import (
    BotExpected,
    BotReport,
    GetFleet,
    GetLoads,
    RetireBot,
    RouterMessage,
    RouterToBot,
)
from actors.roster import BotSupervised, RosterMessage
from supervisor.child import ChildSpec, ChildState, ChildStatus, GiveUp, Restart
from supervisor.clock import SystemClock
from supervisor.logs import without_secrets
from supervisor.policies import bot_backoff, bot_grace_s, bot_intensity, bot_policy
from supervisor.settings import Settings
from supervisor.supervisor import Supervisor, SupervisorStopped

PARK_FOR_S: Final = 300.0
ASK_S: Final = 2.0
# What a bot's life may end with without being a bug.
EXPECTED_ENDS: Final = (AccountError, SteamError, BudgetIsSpent)
# What the supervisor does with a bot between two lives, in the words of /status.
BETWEEN_LIVES: Final = {
    ChildState.BACKING_OFF: BotState.BACKING_OFF,
    ChildState.PARKED: BotState.PARKED,
    ChildState.STOPPED: BotState.STOPPED,
}


class Fleet:
    """See the module. `supervisor` makes the child that the tree runs; once."""

    def __init__(
        self,
        settings: Settings,
        ports: BotPorts,
        *,
        instance: str,
        roster: Address[RosterMessage],
        router: Address[RouterMessage],
        announcer: Announcer,
        clock: SystemClock,
        rng: random.Random,
        log: FilteringBoundLogger,
    ) -> None:
        """`instance`: who this process is; signs the bots' checkouts."""
        self.memories: dict[str, BotMemory] = defaultdict(BotMemory)  # by holder
        self._settings = settings
        self._ports = ports
        self._instance = instance
        self._roster = roster
        self._router = router
        self._announcer = announcer
        self._clock = clock
        self._rng = rng
        self._log = log.bind(actor="fleet")
        self._supervisor: Supervisor | None = None
        self._leaving: dict[str, asyncio.Task[None]] = {}

    def supervisor(self) -> Supervisor:
        """Return the supervisor of as many bots as the settings say."""
        ids = itertools.islice(_bot_ids(), self._settings.bots.count)
        self._supervisor = Supervisor(
            "fleet",
            [self._spec(bot_id) for bot_id in ids],
            clock=self._clock,
            rng=self._rng,
            observe=self._on_status,
            log=self._log,
            stop_together=True,
        )
        return self._supervisor

    async def close(self) -> None:
        """Wait for those that are leaving; the supervisor has ended before."""
        if self._leaving:
            await asyncio.wait(self._leaving.values())

    # -- changing it ---------------------------------------------------------------------------

    async def apply(self, settings: Settings) -> None:
        """Live by these settings: bots there are by their next wait or stop, and as many as it says.

        Those that leave are still busy with that when this returns.
        """
        self._settings = settings
        if (supervisor := self._supervisor) is None:
            return
        present = [one.id for one in supervisor.children() if one.id not in self._leaving]
        for bot_id in present:
            supervisor.respec(self._spec(bot_id))
        surplus = len(present) - settings.bots.count
        if surplus > 0:
            self._let_leave(supervisor, await self._choose(present, surplus))
        elif surplus < 0:
            await self._add(supervisor, -surplus)

    async def _add(self, supervisor: Supervisor, number: int) -> None:
        taken = {one.id for one in supervisor.children()}
        free = (bot_id for bot_id in _bot_ids() if bot_id not in taken)
        with contextlib.suppress(SupervisorStopped):
            for bot_id in itertools.islice(free, number):
                await supervisor.add(self._spec(bot_id))

    async def _choose(self, present: Iterable[str], number: int) -> list[str]:
        reports: Mapping[str, BotReport] = {}
        loads: Mapping[str, int] = {}
        deadline = self._clock.now() + ASK_S
        # Without an answer the choice is a worse one, and no more than that.
        with contextlib.suppress(TimeoutError, LocalProtocolError):
            fleet = await self._roster.ask(GetFleet(), deadline=deadline)
            reports = {bot.bot_id: bot for bot in fleet.bots}
            loads = await self._router.ask(GetLoads(), deadline=deadline)
        return choose_leaving(present, reports, loads, number)

    def _let_leave(self, supervisor: Supervisor, bot_ids: list[str]) -> None:
        self._log.info("bots_retired", bots=bot_ids)
        for bot_id in bot_ids:
            task = asyncio.create_task(self._leave(supervisor, bot_id), name=f"{bot_id}-leaves")
            self._leaving[bot_id] = task

    async def _leave(self, supervisor: Supervisor, bot_id: str) -> None:
        try:
            # The bot drains too, whatever becomes of the question.
            with contextlib.suppress(TimeoutError, LocalProtocolError):
                deadline = self._clock.now() + bot_grace_s(self._settings)
                await self._router.ask(RetireBot(bot_id), deadline=deadline)
            await supervisor.remove(bot_id)
            self._announcer.forget(bot_id)
        finally:
            del self._leaving[bot_id]

    # -- one bot -------------------------------------------------------------------------------

    def _spec(self, bot_id: str) -> ChildSpec:
        return ChildSpec(
            id=bot_id,
            factory=partial(self._make_bot, bot_id, Address(bot_id)),
            restart=Restart.PERMANENT,
            intensity=bot_intensity(self._settings),
            backoff=bot_backoff(self._settings),
            grace=bot_grace_s(self._settings),
            give_up=GiveUp.PARK,
            park_for=PARK_FOR_S,
            expected=EXPECTED_ENDS,
        )

    def _make_bot(self, bot_id: str, address: Address[RouterToBot]) -> Bot:
        holder = f"{self._instance}/{bot_id}"  # how its checkouts are signed in Redis
        return Bot(
            bot_id,
            holder,
            address=address,
            memory=self.memories[holder],
            ports=self._ports,
            policy=bot_policy(self._settings),
        )

    def _on_status(self, status: ChildStatus) -> None:
        """Tell the roster what the supervisor does with a bot."""
        next_try_in = None if status.next_try_at is None else status.next_try_at - self._clock.now()
        supervised = BotSupervised(
            bot_id=status.id,
            state=BETWEEN_LIVES.get(status.state),
            restarts=status.restarts,
            last_error=status.last_error and without_secrets(status.last_error),
            next_try_in=next_try_in,
        )
        try:
            self._roster.tell(supervised)
            if next_try_in is not None:
                self._router.tell(BotExpected(status.id, next_try_in))
        except LocalProtocolError as error:
            self._log.warning("change_untold", watcher="fleet", reason=str(error))


def _bot_ids() -> Iterator[str]:
    """Yield bot-1, bot-2, ... without end."""
    return (f"bot-{number}" for number in itertools.count(1))
