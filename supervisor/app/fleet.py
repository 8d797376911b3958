"""Fleet: the bots under their own supervisor, with scaling, parking, drain and resume.

A bot that is removed or parked loses no request: the router sends it no more of them, it finishes those
in flight, logs off and gives its account back. Only then it is removed or parked.

The settings determine the number of bots until an operator changes it; a later edit of that setting takes
precedence again. Parked bots and the drained state are not kept across a restart of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from functools import partial
from typing import Final, assert_never

from structlog.typing import FilteringBoundLogger

from actors.actor import Actor, Address, Envelope
from actors.bot.messages import (
    BotReport,
    DrainFleet,
    FleetOrder,
    FleetPlan,
    GetFleet,
    GetFleetPlan,
    ParkBot,
    RestartBot,
    ResumeFleet,
    ScaleFleet,
    UnparkBot,
)
from actors.bot.ports import BotMemory, BotPorts
from actors.bot.registry import Announcer, RosterMessage
from actors.bot.shared_causes import SharedCause
from actors.bot.states import BotState
from actors.errors import FleetIsDrained, LocalProtocolError, NoSuchBot
from actors.router.messages import GetLoads, RouterMessage
from supervisor.app.bot_children import BotSpecs, Departures
from supervisor.app.policies import bot_grace_s
from supervisor.child import ChildStatus
from supervisor.child_runner import Observer
from supervisor.clock import SystemClock
from supervisor.config.model import Settings
from supervisor.supervisor import Supervisor, SupervisorStopped, UnknownChild


def choose_leaving(
    present: Iterable[str],
    reports: Mapping[str, BotReport],
    loads: Mapping[str, int],
    number: int,
) -> list[str]:
    """Return the bots that leave, the first one first.

    First those without an account, then those that are not ready, then the ready ones with the fewest
    requests in flight; among equals those that came last.

    Args:
        present: bot ids, oldest first.
        reports: by bot id; a bot without one has not said anything yet.
        loads: requests in flight by bot id.
        number: how many leave.
    """

    def worth(bot_id: str) -> tuple[bool, bool, int]:
        report = reports.get(bot_id)
        has_account = report is not None and report.account is not None
        is_ready = report is not None and report.state is BotState.READY
        return has_account, is_ready, loads.get(bot_id, 0)

    latest_first = list(present)[::-1]
    return sorted(latest_first, key=worth)[:number]


class FleetDesk(Actor[FleetOrder]):
    """Applies the orders, one at a time."""

    def __init__(self, fleet: Fleet, *, address: Address[FleetOrder], clock: SystemClock) -> None:
        super().__init__(address, clock=clock)
        self._fleet = fleet

    async def handle(self, envelope: Envelope[FleetOrder]) -> None:
        """One order; answered with what the fleet is meant to be then."""
        reply = envelope.reply
        try:
            await self._carry_out(envelope.message)
        except (NoSuchBot, FleetIsDrained) as refusal:
            if reply is not None:
                reply.fail(refusal)
        else:
            if reply is not None:
                reply.set(self._fleet.plan())

    async def _carry_out(self, order: FleetOrder) -> None:
        fleet = self._fleet
        match order:
            case GetFleetPlan():
                pass
            case ScaleFleet(count=count):
                await fleet.scale(count)
            case DrainFleet():
                await fleet.drain()
            case ResumeFleet():
                await fleet.resume()
            case RestartBot(bot_id=bot_id):
                fleet.restart(bot_id)
            case ParkBot(bot_id=bot_id):
                fleet.park(bot_id)
            case UnparkBot(bot_id=bot_id):
                fleet.unpark(bot_id)
            case other:
                assert_never(other)


ASK_S: Final = 2.0
WAKE_EVERY_S: Final = 0.02  # on average, of bots that waited for one cause to end


class Fleet:
    """Scales, parks and resumes bots. `supervisor` makes the child that the tree runs; call it once."""

    def __init__(
        self,
        settings: Settings,
        ports: BotPorts,
        *,
        instance: str,
        roster: Address[RosterMessage],
        router: Address[RouterMessage],
        announcer: Announcer,
        observe: Observer,
        clock: SystemClock,
        rng: random.Random,
        log: FilteringBoundLogger,
    ) -> None:
        """`instance`: who this process is; signs the bots' checkouts. `observe`: see Supervisor."""
        self._specs = BotSpecs(
            settings, ports, instance=instance, roster=roster, router=router, clock=clock, log=log
        )
        self._settings = settings
        self._roster = roster
        self._router = router
        self._announcer = announcer
        self._observe = observe
        self._clock = clock
        self._rng = rng
        self._log = log.bind(actor="fleet")
        self._supervisor: Supervisor | None = None
        self._count = settings.bots.count
        self._changing_size = asyncio.Lock()
        self._departures = Departures(router, clock=clock)
        self._leaving: set[str] = set()  # for good
        self._parked: set[str] = set()
        self._is_drained = False
        self._causes = ports.causes
        self._causes.fleet_size = self._count
        self._causes.on_end = self._on_cause_end

    def supervisor(self) -> Supervisor:
        """Return the supervisor of as many bots as there shall be."""
        ids = itertools.islice(_bot_ids(), self._count)
        self._supervisor = Supervisor(
            "fleet",
            [self._specs.spec(bot_id) for bot_id in ids],
            clock=self._clock,
            rng=self._rng,
            observe=self._on_status,
            log=self._log,
            stop_together=True,
        )
        return self._supervisor

    @property
    def memories(self) -> MutableMapping[str, BotMemory]:
        """What bots remember from one life to the next, by holder."""
        return self._specs.memories

    async def close(self) -> None:
        """Wait for those that are leaving; the supervisor has ended before."""
        await self._departures.close()

    def plan(self) -> FleetPlan:
        """Return what the fleet is meant to be."""
        return FleetPlan(
            count=self._count,
            configured=self._settings.bots.count,
            drained=self._is_drained,
            parked=tuple(sorted(self._parked)),
            leaving=self._departures.under_way,
        )

    # -- how many ------------------------------------------------------------------------------

    async def apply(self, settings: Settings) -> None:
        """Live by these settings: bots there are by their next wait or stop, and as many as it says.

        Those that leave are still busy with that when this returns.
        """
        if settings.bots.count != self._settings.bots.count:
            self._count = self._causes.fleet_size = settings.bots.count
        self._settings = self._specs.settings = settings
        for bot_id in self._present():
            self._there().respec(self._specs.spec(bot_id))
        await self._fit()

    async def scale(self, count: int) -> None:
        """Have `count` bots, until the settings' own number changes."""
        self._count = self._causes.fleet_size = count
        await self._fit()

    async def _fit(self) -> None:
        """Add or remove bots until their number is right; while drained, add and remove none."""
        async with self._changing_size:
            if self._is_drained or self._supervisor is None:
                return
            present = self._present()
            surplus = len(present) - self._count
            if surplus > 0:
                self._let_leave(await self._choose(present, surplus))
            elif surplus < 0:
                await self._add(self._supervisor, -surplus)

    async def _add(self, supervisor: Supervisor, number: int) -> None:
        taken = {one.id for one in supervisor.children()}
        free = (bot_id for bot_id in _bot_ids() if bot_id not in taken)
        with contextlib.suppress(SupervisorStopped):
            for bot_id in itertools.islice(free, number):
                await supervisor.add(self._specs.spec(bot_id))

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

    def _let_leave(self, bot_ids: list[str]) -> None:
        self._log.info("bots_retired", bots=bot_ids)
        for bot_id in bot_ids:
            self._leaving.add(bot_id)
            self._parked.discard(bot_id)
            self._departures.begin(bot_id, partial(self._leave, bot_id))

    async def _leave(self, bot_id: str) -> None:
        try:
            await self._departures.retire(bot_id, within_s=bot_grace_s(self._settings))
            await self._there().remove(bot_id)
            self._announcer.forget(bot_id)
            self._causes.forget(bot_id)
        finally:
            self._leaving.discard(bot_id)

    def _present(self) -> list[str]:
        """Return the bots that are not leaving, oldest first."""
        if self._supervisor is None:
            return []
        return [one.id for one in self._supervisor.children() if one.id not in self._leaving]

    def _on_status(self, status: ChildStatus) -> None:
        self._specs.tell(status)
        self._observe(status)

    def _there(self) -> Supervisor:
        assert self._supervisor is not None  # noqa: S101 - who has bots has made it
        return self._supervisor

    # -- rest ----------------------------------------------------------------------------------

    def restart(self, bot_id: str) -> None:
        """Restart a bot after it finished its requests; also start a parked one.

        Raises:
            NoSuchBot, FleetIsDrained.
        """
        self._check_may_work(bot_id)
        self._parked.discard(bot_id)
        self._departures.begin(bot_id, partial(self._rest, bot_id))
        self._departures.begin(bot_id, partial(self._revive, bot_id))

    def park(self, bot_id: str) -> None:
        """Let a bot finish and stay away.

        Raises:
            NoSuchBot.
        """
        self._check_exists(bot_id)
        self._parked.add(bot_id)
        self._departures.begin(bot_id, partial(self._rest, bot_id))

    def unpark(self, bot_id: str) -> None:
        """Let a bot work that was parked, or one that waits for its next try.

        Raises:
            NoSuchBot, FleetIsDrained.
        """
        self._check_may_work(bot_id)
        self._parked.discard(bot_id)
        self._departures.begin(bot_id, partial(self._revive, bot_id))

    async def drain(self) -> None:
        """Let all bots finish and stay away until `resume`."""
        async with self._changing_size:  # no bot is added meanwhile that the drain would miss
            if not self._is_drained:
                self._is_drained = True
                for bot_id in self._present():
                    self._departures.begin(bot_id, partial(self._rest, bot_id))

    async def resume(self) -> None:
        """Resume all bots except those that an operator parked, then adjust the number of bots."""
        self._is_drained = False
        for bot_id in self._present():
            self._departures.begin(bot_id, partial(self._revive, bot_id))
        await self._fit()

    async def _rest(self, bot_id: str) -> None:
        await self._departures.retire(bot_id, within_s=bot_grace_s(self._settings))
        await self._there().park(bot_id)
        self._causes.forget(bot_id)
        await self._departures.readmit(bot_id)

    async def _revive(self, bot_id: str) -> None:
        """Resume a bot, unless an operator has parked it or drained the fleet meanwhile."""
        if not self._is_drained and bot_id not in self._parked:
            self._there().revive(bot_id)

    def _on_cause_end(self, cause: SharedCause) -> None:
        """Wake the bots that back off because of it, one after the other; those parked stay parked."""
        spread_s = WAKE_EVERY_S * len(cause.bots)
        for bot_id in cause.bots:
            at = self._clock.now() + spread_s * self._rng.random()
            self._clock.call_at(at, partial(self._wake, bot_id))

    def _wake(self, bot_id: str) -> None:
        with contextlib.suppress(UnknownChild):  # it has left meanwhile
            self._there().wake(bot_id)

    def _check_exists(self, bot_id: str) -> None:
        if bot_id not in self._present():
            raise NoSuchBot(bot_id)

    def _check_may_work(self, bot_id: str) -> None:
        self._check_exists(bot_id)
        if self._is_drained:
            raise FleetIsDrained


def _bot_ids() -> Iterator[str]:
    """Yield bot-1, bot-2, ... without end."""
    return (f"bot-{number}" for number in itertools.count(1))
