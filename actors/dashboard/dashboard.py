"""Polls the sources of the dashboard, and publishes changes.

roster, router, fleet, accounts ──asked──► Lookout ──► Feed ──► every page, the same bytes

It polls: at most twice a second while a client watches, and once per point of the fleet's history
otherwise. So a busy fleet costs no more than an idle one, and neither the roster nor the router knows of
pages.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar, assert_never

import orjson

from actors.accounts.admin import AccountRow, IpRow
from actors.actor import Actor, Address, Ask, Envelope, Reply
from actors.bot.messages import BotReport, FleetOrder, FleetPlan, GetFleet, GetFleetPlan
from actors.bot.registry import RosterMessage
from actors.bot.shared_causes import CauseKind, SharedCause
from actors.clock import WallClock, end
from actors.dashboard.alerts import Facts, alerts
from actors.dashboard.cause_log import CauseLog
from actors.dashboard.event_stream import EventId, EventStream, Watching
from actors.dashboard.history import MINUTE_S, MINUTES, FleetHistory, MinuteReport, Traffic
from actors.dashboard.snapshot import Snapshot, changes, whole
from actors.dashboard.views import AccountView, IpView, account_view, ip_view
from actors.errors import AccountError, LocalProtocolError, store_trouble
from actors.router.messages import GetRouter, RouterMessage, RouterReport

TICK_S: Final = 0.5  # between two events, while a client watches
ACCOUNTS_S: Final = 5.0  # between two looks at Redis, while a client watches
UNWATCHED_S: Final = 60.0  # the same, while no client watches
REDIS_S: Final = (
    0.5  # that a look waits for Redis: what it does not say in time is seen by a later one
)
HEARTBEAT_S: Final = 15.0
ASK_S: Final = 2.0
SLOWEST_LOOK_S: Final = 30.0  # every part of it has a deadline of its own
MOST_IPS: Final = 50  # egress addresses whose budgets are shown

_Read = tuple[list[AccountRow], list[IpRow]]  # what Redis knows
R = TypeVar("R")
M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class Watch(Ask[Watching]):
    """HTTP -> lookout: let me watch; `last_seen` is what an earlier stream said last."""

    last_seen: EventId | None = None


@dataclass(frozen=True, slots=True)
class Unwatch:
    """HTTP -> lookout: the client has disconnected."""

    watching: Watching


@dataclass(frozen=True, slots=True)
class Refresh:
    """HTTP -> lookout: an operator changed the accounts; read them now, not when they are due."""


@dataclass(frozen=True, slots=True)
class GetPicture(Ask[Snapshot]):
    """HTTP -> lookout: everything that a page would show now."""


@dataclass(frozen=True, slots=True)
class _Tick(Ask[None]):
    """Lookout -> itself: look around if it is time."""


DashboardMessage = Watch | Unwatch | Refresh | GetPicture | _Tick


class AccountsView(Protocol):
    """What the lookout needs of the store."""

    async def overview(self) -> list[AccountRow]:
        """Return every account. Raises AccountError, as the other."""

    async def ip_budgets(self, ips: list[str]) -> list[IpRow]:
        """Return the budgets of these addresses."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the lookout looks."""

    roster: Address[RosterMessage]
    router: Address[RouterMessage]
    fleet: Address[FleetOrder]
    accounts: AccountsView
    traffic: Traffic
    history: FleetHistory  # outlives a lookout that fails
    config: Callable[[], Mapping[str, Any]]
    about: Mapping[str, Any]
    causes: Callable[[], tuple[SharedCause, ...]]  # those that last
    cause_log: CauseLog  # outlives a lookout that fails
    not_here: Callable[[], Mapping[str, str]] = dict  # accounts that this instance cannot use: why


class Dashboard(Actor[DashboardMessage]):
    """Actor that keeps the picture and publishes its changes through the feed."""

    def __init__(
        self, sights: Sources, *, address: Address[DashboardMessage], epoch: str, clock: WallClock
    ) -> None:
        """`epoch`: unique to this life; see Feed."""
        super().__init__(address, clock=clock)
        self._sights = sights
        self._clock = clock
        self._wall = clock.wall
        self._feed = EventStream(epoch)
        self._history = sights.history
        self._picture = Snapshot({}, {}, {}, None, None, {}, (), sights.about)
        self._minutes: list[MinuteReport] = []  # the newest, as they were sent
        self._store: str | None = None  # why the accounts are not known
        self._knows_accounts = False
        self._looked_at_accounts: float | None = None
        self._reading: asyncio.Task[_Read] | None = None  # of what Redis knows
        self._beat_at = 0.0
        self._seen_ips: dict[str, None] = {}  # in the order of their first use

    async def run(self) -> None:
        """Serve until stopped, then disconnect all watchers."""
        ticking = asyncio.create_task(self._tick_for_ever(), name="lookout-ticks")
        try:
            await super().run()
        finally:
            await end(ticking)
            if self._reading is not None:
                await end(self._reading)
            self._feed.close()

    async def handle(self, envelope: Envelope[DashboardMessage]) -> None:
        """One message."""
        reply = envelope.reply
        match envelope.message:
            case Watch(last_seen=last_seen):
                await self._look(patience_s=ACCOUNTS_S)
                self._take_in(last_seen, reply)
            case Unwatch(watching=watching):
                self._feed.leave(watching)
            case Refresh():
                self._looked_at_accounts = None
            case GetPicture():
                if not self._feed.watchers:  # a page that is open gets these twice a second anyway
                    await self._look(patience_s=self._patience_s())
                if reply is not None:
                    reply.set(self._picture)
            case _Tick():
                await self._look_if_due()
                if reply is not None:
                    reply.set(None)
            case other:
                assert_never(other)

    def _take_in(self, last_seen: EventId | None, reply: Reply[Any] | None) -> None:
        watching = self._feed.join(last_seen, self._snapshot)
        if reply is None or reply.done:  # they gave up while we looked
            self._feed.leave(watching)
        else:
            reply.set(watching)

    # -- looking -------------------------------------------------------------------------------

    async def _tick_for_ever(self) -> None:
        """Never more than one tick waits, so that a slow look is not followed by many in a row."""
        while True:
            with contextlib.suppress(LocalProtocolError, TimeoutError):
                await self.address.ask(_Tick(), deadline=self._clock.now() + SLOWEST_LOOK_S)
            await self._clock.sleep(TICK_S)

    async def _look_if_due(self) -> None:
        if self._feed.watchers:
            await self._look(patience_s=ACCOUNTS_S)
        elif self._history.is_due(self._wall()) or self._sights.cause_log.is_due(
            self._sights.causes()
        ):
            await self._look(patience_s=UNWATCHED_S)

    def _patience_s(self) -> float:
        """How old what Redis said may be for who waits: a Redis that is away is left to the ticks."""
        is_away = any(one.kind is CauseKind.REDIS_UNREACHABLE for one in self._sights.causes())
        return UNWATCHED_S if is_away else ACCOUNTS_S

    async def _look(self, *, patience_s: float) -> None:
        """Look around, and send what is new. `patience_s`: how old what Redis said may be."""
        before, self._picture = self._picture, await self._look_around(patience_s)
        news = changes(before, self._picture)
        if self._history.is_due(now := self._wall()):
            needy = sum(one.needs_you for one in self._picture.accounts.values())
            self._history.add(now, self._picture.bots.values(), needy)
            news["history"] = [self._history.latest()]
        minutes = self._sights.traffic.since(now - MINUTE_S)
        if minutes != self._minutes:
            self._minutes = news["minutes"] = minutes
        self._send(news)

    def _send(self, news: dict[str, Any]) -> None:
        now = self._clock.now()
        if news:
            self._feed.publish("update", orjson.dumps({"at": self._wall()} | news))
        elif now - self._beat_at >= HEARTBEAT_S:
            self._feed.beat()
        else:
            return
        self._beat_at = now

    def _snapshot(self) -> bytes:
        now = self._wall()
        return orjson.dumps(
            {
                "at": now,
                **whole(self._picture),
                "history": self._history.points(),
                "minutes": self._sights.traffic.since(now - MINUTES * MINUTE_S),
            }
        )

    async def _look_around(self, patience_s: float) -> Snapshot:
        old = self._picture
        fleet = await self._ask(self._sights.roster, GetFleet())
        bots = old.bots if fleet is None else {one.bot_id: one for one in fleet.bots}
        router: RouterReport | None = await self._ask(self._sights.router, GetRouter())
        plan: FleetPlan | None = await self._ask(self._sights.fleet, GetFleetPlan())
        self._note_ips(bots.values())
        accounts, ips = await self._look_at_accounts(patience_s)
        config, causes = self._sights.config(), self._sights.causes()
        not_here = self._sights.not_here()
        self._sights.cause_log.note(causes, len(bots))
        facts = Facts(
            self._wall(),
            bots,
            accounts,
            ips,
            plan,
            config,
            self._store,
            router,
            causes,
            not_here,
            self._knows_accounts,
        )
        lines = alerts(facts)
        return Snapshot(bots, accounts, ips, plan, router, config, lines, old.about)

    def _note_ips(self, bots: Iterable[BotReport]) -> None:
        for bot in bots:
            if bot.ip is not None and bot.ip not in self._seen_ips:
                self._seen_ips[bot.ip] = None
                self._looked_at_accounts = None  # its budget is not known yet

    async def _ask(self, whom: Address[M], what: Ask[R]) -> R | None:
        try:
            return await whom.ask(what, deadline=self._clock.now() + ASK_S)
        except (TimeoutError, LocalProtocolError):
            return None

    async def _look_at_accounts(
        self, patience_s: float
    ) -> tuple[Mapping[str, AccountView], Mapping[str, IpView]]:
        """Return what Redis knows, or what it said last: it is not asked at every look."""
        old, looked_at = self._picture, self._looked_at_accounts
        if self._reading is None:
            if looked_at is not None and self._clock.now() - looked_at < patience_s:
                return old.accounts, old.ips
            looked_at = self._looked_at_accounts = self._clock.now()
            self._reading = asyncio.create_task(self._read_accounts(), name="lookout-accounts")
        if not await self._has_read(until=(looked_at or 0.0) + REDIS_S):
            return old.accounts, old.ips
        reading, self._reading = self._reading, None
        try:
            rows, budgets = reading.result()
        except AccountError as error:
            self._store = store_trouble(error)
            return old.accounts, old.ips
        self._store, self._knows_accounts, wall = None, True, self._wall()
        return (
            {row.account: account_view(row, wall, old.accounts.get(row.account)) for row in rows},
            {row.ip: ip_view(row, wall, old.ips.get(row.ip)) for row in budgets},
        )

    async def _read_accounts(self) -> _Read:
        rows = await self._sights.accounts.overview()
        return rows, await self._sights.accounts.ip_budgets(list(self._seen_ips)[-MOST_IPS:])

    async def _has_read(self, until: float) -> bool:
        """Wait for Redis, `until` at the latest; return whether it has answered."""
        assert self._reading is not None  # noqa: S101 - the caller made it
        if not self._reading.done() and self._clock.now() < until:
            over = asyncio.Event()
            self._reading.add_done_callback(lambda _: over.set())
            alarm = self._clock.call_at(until, over.set)
            try:
                await over.wait()
            finally:
                alarm.cancel()
        return self._reading.done()
