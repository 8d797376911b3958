"""Fleet: the bots under their own supervisor, with scaling, parking, drain and resume.

A bot that is removed or parked loses no request: the router sends it no more of them, it finishes those
in flight, logs off and releases its account. Then it is removed or parked. Operations on one bot run one
at a time, in the order in which they were requested.

The settings determine the number of bots until an operator changes it; a later edit of that setting takes
precedence again. Parked bots and the drained state are not kept across a restart of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from functools import partial
from typing import Final

from actors.actor import Address
from actors.bot.bot import Bot
from actors.bot.messages import BotRemoved, BotReport, FleetPlan, RouterToBot
from actors.bot.ports import BotMemory, BotPolicy, BotPorts
from actors.bot.registry import BotRegistry
from actors.bot.shared_causes import SharedCause
from actors.bot.states import BotState
from actors.errors import (
    AccountError,
    ActorStopped,
    BudgetIsSpent,
    FleetIsDrained,
    LocalProtocolError,
    MailboxFull,
    NoSuchBot,
    SteamError,
)
from actors.router.messages import GetLoads, RetireBot, RouterMessage
from supervisor.child import (
    Backoff,
    ChildSpec,
    ChildState,
    ChildStatus,
    GiveUp,
    RestartIntensity,
)
from supervisor.child_runner import Observer
from supervisor.config.model import LOGOFF_S, SAFETY_MARGIN_S, Settings
from supervisor.logs.redaction import without_secrets
from supervisor.supervisor import Supervisor, SupervisorStopped, UnknownChild

# Errors that are a normal end of a bot's run.
EXPECTED_ENDS: Final = (AccountError, SteamError, BudgetIsSpent)
# States of a bot between two runs, by the state of the child.
BETWEEN_RUNS: Final = {
    ChildState.BACKING_OFF: BotState.BACKING_OFF,
    ChildState.PARKED: BotState.PARKED,
    ChildState.STOPPED: BotState.STOPPED,
}
# After its last request a bot logs off (4 s at most) and releases its account (3 s at most).
GOODBYE_S: Final = 8.0
ASK_S: Final = 2.0
MAILBOX_RETRY_S: Final = 0.05
WAKE_EVERY_S: Final = 0.02  # on average, of bots that waited for one cause to end

Operation = Callable[[], Awaitable[None]]


def choose_leaving(
    present: Iterable[str],
    reports: Mapping[str, BotReport],
    loads: Mapping[str, int],
    number: int,
) -> list[str]:
    """Return the `number` bots that leave, the first one first.

    First those without an account, then those that are not ready, then the ready ones with the fewest
    requests in flight; among equals the newest.

    `present`: bot ids, oldest first. `reports` and `loads` (requests in flight): by bot id.
    """

    def worth(bot_id: str) -> tuple[bool, bool, int]:
        report = reports.get(bot_id)
        has_account = report is not None and report.account is not None
        is_ready = report is not None and report.state is BotState.READY
        return has_account, is_ready, loads.get(bot_id, 0)

    newest_first = list(present)[::-1]
    return sorted(newest_first, key=worth)[:number]


class Fleet:
    """Implements FleetControl. The root runs `supervisor`."""

    def __init__(
        self,
        settings: Settings,
        ports: BotPorts,
        *,
        instance: str,
        registry: BotRegistry,
        router: Address[RouterMessage],
        observe: Observer,
    ) -> None:
        """`instance`: the id of this process, which signs checkouts. `observe`: see Supervisor."""
        self.memories: MutableMapping[str, BotMemory] = defaultdict(BotMemory)  # by holder
        self._settings = settings
        self._ports = ports
        self._instance = instance
        self._registry = registry
        self._router = router
        self._observe = observe
        self._clock = ports.clock
        self._rng = ports.rng
        self._log = ports.log.bind(actor="fleet")
        self._count = settings.bots.count
        self._one_at_a_time = asyncio.Lock()  # changes of the whole fleet
        self._operations: dict[str, asyncio.Task[None]] = {}  # the newest of each bot
        self._leaving: set[str] = set()  # bots that are being removed
        self._parked: set[str] = set()
        self._is_drained = False
        self._causes = ports.causes
        self._causes.fleet_size = self._count
        self._causes.on_end = self._on_cause_end
        self.supervisor = Supervisor(
            "fleet",
            [self._spec(bot_id) for bot_id in itertools.islice(_bot_ids(), self._count)],
            clock=ports.clock,
            rng=ports.rng,
            observe=self._on_status,
            log=self._log,
            stop_together=True,
        )

    async def close(self) -> None:
        """Wait for the operations under way; the supervisor has ended before."""
        while self._operations:
            await asyncio.wait(self._operations.values())

    def plan(self) -> FleetPlan:
        """Return the intended state."""
        return FleetPlan(
            count=self._count,
            configured=self._settings.bots.count,
            drained=self._is_drained,
            parked=tuple(sorted(self._parked)),
            leaving=tuple(self._operations),
        )

    # -- the whole fleet -----------------------------------------------------------------------

    async def reconfigure(self, settings: Settings) -> None:
        """Apply these settings: to present bots from their next wait or stop, and the number of bots.

        Bots that leave are still busy with that when this returns.
        """
        async with self._one_at_a_time:
            if settings.bots.count != self._settings.bots.count:
                self._count = self._causes.fleet_size = settings.bots.count
            self._settings = settings
            for bot_id in self._present():
                self.supervisor.runner(bot_id).spec = self._spec(bot_id)
            await self._fit()

    async def scale(self, count: int) -> FleetPlan:
        """Run `count` bots, until `bots.count` changes in the settings."""
        async with self._one_at_a_time:
            self._count = self._causes.fleet_size = count
            await self._fit()
            return self.plan()

    async def drain(self) -> FleetPlan:
        """Let all bots finish and stay stopped until `resume`."""
        async with self._one_at_a_time:
            if not self._is_drained:
                self._is_drained = True
                for bot_id in self._present():
                    self._begin(bot_id, partial(self._suspend, bot_id))
            return self.plan()

    async def resume(self) -> FleetPlan:
        """Resume all bots except those that an operator parked, then adjust the number of bots."""
        async with self._one_at_a_time:
            self._is_drained = False
            for bot_id in self._present():
                self._begin(bot_id, partial(self._revive, bot_id))
            await self._fit()
            return self.plan()

    async def _fit(self) -> None:
        """Add or remove bots until their number is right; a drained fleet keeps its bots."""
        if self._is_drained:
            return
        present = self._present()
        surplus = len(present) - self._count
        if surplus > 0:
            await self._shrink(present, surplus)
        elif surplus < 0:
            taken = {one.id for one in self.supervisor.children()}
            free = (bot_id for bot_id in _bot_ids() if bot_id not in taken)
            with contextlib.suppress(SupervisorStopped):
                for bot_id in itertools.islice(free, -surplus):
                    await self.supervisor.add(self._spec(bot_id))

    async def _shrink(self, present: list[str], number: int) -> None:
        reports = {bot.bot_id: bot for bot in self._registry.reports()}
        loads: Mapping[str, int] = {}
        # Without the loads the choice is a worse one.
        with contextlib.suppress(TimeoutError, LocalProtocolError):
            loads = await self._router.ask(GetLoads(), deadline=self._clock.now() + ASK_S)
        leaving = choose_leaving(present, reports, loads, number)
        self._log.info("bots_retired", bots=leaving)
        for bot_id in leaving:
            self._leaving.add(bot_id)
            self._parked.discard(bot_id)
            self._begin(bot_id, partial(self._remove, bot_id))

    # -- one bot -------------------------------------------------------------------------------

    def restart(self, bot_id: str) -> FleetPlan:
        """Restart a bot after it finished its requests; also start a parked one.

        Raises:
            NoSuchBot, FleetIsDrained.
        """
        self._check(bot_id, may_run=True)
        self._begin(bot_id, partial(self._suspend, bot_id))
        return self.unpark(bot_id)

    def park(self, bot_id: str) -> FleetPlan:
        """Let a bot finish and stay stopped.

        Raises:
            NoSuchBot.
        """
        self._check(bot_id)
        self._parked.add(bot_id)
        self._begin(bot_id, partial(self._suspend, bot_id))
        return self.plan()

    def unpark(self, bot_id: str) -> FleetPlan:
        """Start a parked or backing-off bot now.

        Raises:
            NoSuchBot, FleetIsDrained.
        """
        self._check(bot_id, may_run=True)
        self._parked.discard(bot_id)
        self._begin(bot_id, partial(self._revive, bot_id))
        return self.plan()

    def _check(self, bot_id: str, *, may_run: bool = False) -> None:
        if bot_id not in self._present():
            raise NoSuchBot(bot_id)
        if may_run and self._is_drained:
            raise FleetIsDrained

    # -- operations, one at a time for each bot ------------------------------------------------

    def _begin(self, bot_id: str, operation: Operation) -> None:
        """Run `operation` on a bot, after its earlier operations have ended."""
        before = self._operations.get(bot_id)
        task = asyncio.create_task(self._do(bot_id, before, operation), name=f"{bot_id}-operation")
        self._operations[bot_id] = task

    async def _do(
        self, bot_id: str, before: asyncio.Task[None] | None, operation: Operation
    ) -> None:
        if before is not None:
            await asyncio.wait({before})
        try:
            with contextlib.suppress(UnknownChild):  # the bot was removed meanwhile
                await operation()
        finally:
            if self._operations.get(bot_id) is asyncio.current_task():
                del self._operations[bot_id]

    async def _drain(self, bot_id: str) -> None:
        """Return when the router has no request of the bot in flight and sends it no more."""
        deadline = self._clock.now() + self._grace_s
        with contextlib.suppress(TimeoutError, LocalProtocolError):  # the bot drains by itself too
            await self._router.ask(RetireBot(bot_id), deadline=deadline)

    async def _remove(self, bot_id: str) -> None:
        try:
            await self._drain(bot_id)
            await self.supervisor.remove(bot_id)
            self._registry.remove(bot_id)
            self._causes.forget(bot_id)
        finally:
            self._leaving.discard(bot_id)

    async def _suspend(self, bot_id: str) -> None:
        await self._drain(bot_id)
        await self.supervisor.runner(bot_id).park()
        self._causes.forget(bot_id)
        # The router may use it again from its next run on; a new router knows of no retirement.
        await self.tell_router(BotRemoved(bot_id))

    async def tell_router(self, message: RouterMessage) -> None:
        """Send a message as soon as there is room for it; a router that has stopped gets none."""
        while True:
            try:
                return self._router.tell(message)
            except MailboxFull:
                await self._clock.sleep(MAILBOX_RETRY_S)
            except ActorStopped:
                return None

    async def _revive(self, bot_id: str) -> None:
        """Resume a bot, unless an operator has parked it or drained the fleet meanwhile."""
        if not self._is_drained and bot_id not in self._parked:
            self.supervisor.runner(bot_id).revive()

    # -- children ------------------------------------------------------------------------------

    def _present(self) -> list[str]:
        """Return the bots that are not being removed, oldest first."""
        return [one.id for one in self.supervisor.children() if one.id not in self._leaving]

    def _spec(self, bot_id: str) -> ChildSpec:
        """Return the spec of one bot by the present settings."""
        restart = self._settings.restart
        return ChildSpec(
            id=bot_id,
            factory=partial(self._make, bot_id, Address(bot_id)),
            intensity=RestartIntensity(restart.intensity, restart.period),
            backoff=Backoff(restart.backoff_min, restart.backoff_max, restart.stable_after),
            grace=self._grace_s,
            give_up=GiveUp.PARK,
            expected=EXPECTED_ENDS,
        )

    @property
    def _grace_s(self) -> float:
        """Seconds in which a bot finishes its requests, logs off and releases its account."""
        return self._settings.bots.request_timeout + GOODBYE_S

    def _make(self, bot_id: str, address: Address[RouterToBot]) -> Bot:
        holder = f"{self._instance}/{bot_id}"  # signs its checkouts in Redis
        return Bot(
            bot_id,
            holder,
            address=address,
            memory=self.memories[holder],
            ports=self._ports,
            policy=BotPolicy(
                self._settings.bots.lease_seconds, fence_margin_s=LOGOFF_S + SAFETY_MARGIN_S
            ),
        )

    def _on_status(self, status: ChildStatus) -> None:
        next_try_at = status.next_try_at
        self._registry.supervised(
            status.id,
            BETWEEN_RUNS.get(status.state),
            restarts=status.restarts,
            last_error=status.last_error and without_secrets(status.last_error),
            last_error_at=status.last_error_at,
            next_try_in=None if next_try_at is None else next_try_at - self._clock.now(),
        )
        self._observe(status)

    def _on_cause_end(self, cause: SharedCause) -> None:
        """Wake the bots that back off because of it, one after the other; parked ones stay parked."""
        spread_s = WAKE_EVERY_S * len(cause.bots)
        for bot_id in cause.bots:
            at = self._clock.now() + spread_s * self._rng.random()
            self._clock.call_at(at, partial(self._wake, bot_id))

    def _wake(self, bot_id: str) -> None:
        with contextlib.suppress(UnknownChild):  # it was removed meanwhile
            self.supervisor.runner(bot_id).wake()


def _bot_ids() -> Iterator[str]:
    """Yield bot-1, bot-2, ... without end."""
    return (f"bot-{number}" for number in itertools.count(1))
