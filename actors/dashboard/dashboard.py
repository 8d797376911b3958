"""Dashboard: polls its sources, and publishes what changed to every page.

    registry, router, fleet, accounts ──polled──► Dashboard ──► EventStream ──► every page

It polls at most twice a second while a page is open, and once per point of the history otherwise. So a
busy fleet costs no more than an idle one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import orjson
from structlog.typing import FilteringBoundLogger

from actors.accounts.admin import AccountAdmin, AccountRow, IpRow
from actors.accounts.store import AccountStore
from actors.actor import Address
from actors.bot.messages import FleetControl, FleetPlan
from actors.bot.registry import BotRegistry
from actors.bot.shared_causes import CauseKind
from actors.clock import Clock, end, within
from actors.dashboard.alerts import alerts
from actors.dashboard.cause_log import CauseLog, LastingCauses
from actors.dashboard.event_stream import EventId, EventStream, Watcher
from actors.dashboard.history import MINUTE_S, MINUTES, FleetHistory, MinuteReport, Traffic
from actors.dashboard.snapshot import Snapshot, account_view, changes, ip_view, whole
from actors.errors import AccountError, ActorStopped, LocalProtocolError, store_trouble
from actors.router.messages import GetRouter, RouterMessage

SERVICE: Final = "dashboard"
TICK_S: Final = 0.5  # between two events, while a page is open
ACCOUNTS_S: Final = 5.0  # between two reads of the accounts, while a page is open
UNWATCHED_S: Final = 60.0  # the same, while no page is open
REDIS_S: Final = 0.5  # a poll waits so long for Redis; a later poll shows a later answer
HEARTBEAT_S: Final = 15.0
ASK_S: Final = 2.0
MOST_IPS: Final = 50  # egress addresses whose budgets are shown

_Read = tuple[list[AccountRow], list[IpRow]]  # the accounts and budgets in Redis


class Dashboard:
    """Service that holds the snapshot and publishes its changes. One object for all its runs."""

    def __init__(
        self,
        *,
        registry: BotRegistry,
        router: Address[RouterMessage],
        fleet: FleetControl,
        accounts: AccountAdmin,
        store: AccountStore,
        traffic: Traffic,
        about: Mapping[str, Any],
        config: Callable[[], Mapping[str, Any]],
        causes: LastingCauses,
        epoch: str,
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        """Make the service.

        `store` knows the accounts that this instance cannot use. The HTTP server fills `traffic`.
        `about`: constant facts. `config` returns the state of the settings. `epoch` distinguishes the
        event ids of this process from those of others.
        """
        self.history = FleetHistory()
        self._registry = registry
        self._router = router
        self._fleet = fleet
        self._accounts = accounts
        self._account_store = store
        self._traffic = traffic
        self._config = config
        self._causes = causes
        self._clock = clock
        self._cause_log = CauseLog(clock=clock, log=log)
        self._stream = EventStream(epoch)
        no_plan = FleetPlan(0, 0, drained=False, parked=(), leaving=())
        self._snapshot = Snapshot({}, {}, {}, no_plan, None, {}, about=about, knows_accounts=False)
        self._minutes: list[MinuteReport] = []  # the newest, as they were sent
        self._read_at: float | None = None  # when the newest read of the accounts began
        self._reading: asyncio.Task[_Read] | None = None
        self._beat_at = 0.0
        self._seen_ips: dict[str, None] = {}  # in the order of their first use
        self._polling = asyncio.Lock()
        self._is_running = False
        self._stop_asked = asyncio.Event()

    async def start(self) -> None:
        """Accept watchers from now on."""
        self._is_running = True
        self._stop_asked.clear()

    async def run(self) -> None:
        """Poll until stopped, then disconnect all watchers."""
        ticking = asyncio.create_task(self._tick(), name="dashboard-ticks")
        ticking.add_done_callback(lambda _: self._stop_asked.set())
        try:
            await self._stop_asked.wait()
        finally:
            self._is_running = False
            await end(ticking)
            if self._reading is not None:
                await end(self._reading)
            self._reading = None
            self._stream.close()
        if not ticking.cancelled():
            ticking.result()  # raises what ended it

    def stop(self) -> None:
        """Let `run` return. Harmless when repeated."""
        self._stop_asked.set()

    async def watch(self, last_seen: EventId | None = None) -> Watcher:
        """Return a new watcher of the stream. `last_seen`: the last event of an earlier one.

        Raises:
            ActorStopped: the service does not run.
        """
        await self._poll(patience_s=ACCOUNTS_S)
        return self._stream.join(last_seen, self._encoded)

    def unwatch(self, watcher: Watcher) -> None:
        """Remove a watcher whose client has disconnected."""
        self._stream.leave(watcher)

    def refresh(self) -> None:
        """Read the accounts at the next poll: an operator changed something."""
        self._read_at = None

    async def snapshot(self) -> Snapshot:
        """Return what a page would show now.

        Raises:
            ActorStopped: the service does not run.
        """
        # An open page has the snapshot polled twice a second. A lost Redis is not awaited.
        if not self._stream.watchers:
            is_lost = any(one.kind is CauseKind.REDIS_UNREACHABLE for one in self._causes.active())
            await self._poll(patience_s=UNWATCHED_S if is_lost else ACCOUNTS_S)
        self._check_running()
        return self._snapshot

    def _check_running(self) -> None:
        if not self._is_running:
            raise ActorStopped(SERVICE)

    async def _tick(self) -> None:
        while True:
            now, causes = self._clock.wall(), self._causes.active()
            if self._stream.watchers:
                await self._poll(patience_s=ACCOUNTS_S)
            elif self.history.is_due(now) or self._cause_log.is_due(causes):
                await self._poll(patience_s=UNWATCHED_S)
            await self._clock.sleep(TICK_S)

    async def _poll(self, *, patience_s: float) -> None:
        """Poll every source, and publish the changes. `patience_s`: how old the accounts may be."""
        self._check_running()
        async with self._polling:
            before, self._snapshot = self._snapshot, await self._polled(patience_s)
            self._check_running()
            news = changes(before, self._snapshot)
            if self.history.is_due(now := self._clock.wall()):
                needy = sum(one.needs_you for one in self._snapshot.accounts.values())
                self.history.add(now, self._snapshot.bots.values(), needy)
                news["history"] = [self.history.points[-1]]
            minutes = self._traffic.since(now - MINUTE_S)
            if minutes != self._minutes:
                self._minutes = news["minutes"] = minutes
            self._send(news)

    def _send(self, news: dict[str, Any]) -> None:
        now = self._clock.now()
        if news:
            self._stream.publish("update", orjson.dumps({"at": self._clock.wall()} | news))
        elif now - self._beat_at >= HEARTBEAT_S:
            self._stream.beat()
        else:
            return
        self._beat_at = now

    def _encoded(self) -> bytes:
        now = self._clock.wall()
        return orjson.dumps(
            {
                "at": now,
                **whole(self._snapshot),
                "history": list(self.history.points),
                "minutes": self._traffic.since(now - MINUTES * MINUTE_S),
            }
        )

    async def _polled(self, patience_s: float) -> Snapshot:
        """Return a snapshot of now; it shares unchanged rows with the last one."""
        router = None
        with contextlib.suppress(TimeoutError, LocalProtocolError):
            router = await self._router.ask(GetRouter(), deadline=self._clock.now() + ASK_S)
        bots = {one.bot_id: one for one in self._registry.reports()}
        for bot in bots.values():
            if bot.ip is not None and bot.ip not in self._seen_ips:
                self._seen_ips[bot.ip] = None
                self._read_at = None  # its budget is not known yet
        plan = self._fleet.plan()
        known = await self._poll_accounts(patience_s)
        causes = self._causes.active()
        self._cause_log.note(causes, len(bots))
        found = replace(
            known,
            bots=bots,
            fleet=plan,
            router=router,
            config=self._config(),
            causes=causes,
            unusable=self._account_store.avoided(),
        )
        return replace(found, headlines=alerts(found))

    async def _poll_accounts(self, patience_s: float) -> Snapshot:
        """Return the last snapshot, with the accounts and budgets in Redis.

        These are at most `patience_s` old while Redis answers.
        """
        old, now = self._snapshot, self._clock.now()
        if self._reading is None:
            if self._read_at is not None and now - self._read_at < patience_s:
                return old
            self._read_at = now
            self._reading = asyncio.create_task(self._read_accounts(), name="dashboard-accounts")
        reading, wait_s = self._reading, (self._read_at or 0.0) + REDIS_S - now
        if not reading.done() and wait_s > 0:
            with contextlib.suppress(TimeoutError):
                async with within(self._clock, wait_s):
                    await asyncio.wait({reading})
        if not reading.done() or reading.cancelled():
            return old
        self._reading = None
        try:
            rows, budgets = reading.result()
        except AccountError as error:
            return replace(old, store=store_trouble(error))
        wall = self._clock.wall()
        accounts = {
            one.account: account_view(one, wall, old.accounts.get(one.account)) for one in rows
        }
        ips = {one.ip: ip_view(one, wall, old.ips.get(one.ip)) for one in budgets}
        return replace(old, accounts=accounts, ips=ips, store=None, knows_accounts=True)

    async def _read_accounts(self) -> _Read:
        rows = await self._accounts.overview()
        return rows, await self._accounts.ip_budgets(list(self._seen_ips)[-MOST_IPS:])
