"""Composition root: builds every component and supervises the children.

botapi (root)
    ├── valkey        only with redis.url = "embedded"; with a private sandbox also its demo accounts
    ├── hub           the gevent thread with all connections to Steam
    ├── router        match requests to bots
    ├── players       player requests to bots
    ├── leases        takes over the leases of this instance, and releases the rest at the end
    ├── fleet         supervisor of bot-1 .. bot-N, stopped together
    ├── steam_guard   interactive log-ons; only with an admin token
    ├── dashboard     what the page shows
    ├── http          the API and the page
    └── config        watches the settings file and the API key file

Children start in this order and stop in reverse. Router, players and bots are actors, the others are
plain services.
"""

from __future__ import annotations

import contextlib
import math
import random
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from actors.accounts.demo import DemoValkey
from actors.actor import Address
from actors.bot.instance_leases import InstanceLeases
from actors.bot.log import BotLog
from actors.bot.metrics import LogonMetrics
from actors.bot.ports import BotPorts
from actors.bot.registry import BotRegistry
from actors.bot.shared_causes import SharedCauses
from actors.bot.steam_guard import InteractiveLogon, SteamGuard
from actors.dashboard.cause_log import LastingCauses
from actors.dashboard.dashboard import Dashboard
from actors.errors import LocalProtocolError
from actors.http.metrics import MetricsRoute, PolledMetrics
from actors.http.openapi.operation import Routes
from actors.http.routes.admin import AdminRoutes
from actors.http.routes.matches import BulkRoute, MatchFetcher, MatchRoutes
from actors.http.routes.replays import ReplayRoute
from actors.http.routes.retriever import RetrieverRoutes
from actors.http.routes.status import StatusRoutes
from actors.http.server import HttpServer
from actors.matches.cache import MatchCache
from actors.matches.players import PlayerDecoder, RetrieverDecoder
from actors.matches.protobuf.decoder import MatchDecoder
from actors.redis.embedded import EmbeddedValkeyError
from actors.router.messages import Hurry, PlayersMessage, RouterMessage
from actors.router.players import Players
from actors.router.router import Router
from actors.steam.hub import Hub
from actors.steam.port import GuardRequest
from actors.steam.steam_time import SteamTime
from actors.steam.transport.trust import TrustError
from supervisor import __version__
from supervisor.app.fleet import Fleet
from supervisor.app.metrics import add_gauges, build_metrics
from supervisor.app.network import connector_of, directory_of
from supervisor.app.policies import CORE_GRACE_S, NO_RESTART, core_child, router_policy
from supervisor.app.reload import LiveSettings, Reconfigurer
from supervisor.app.startup import StartupResources, startup_resources
from supervisor.app.stores import Stores
from supervisor.app.web import LONGEST_DRAIN_S, HttpAccess, make_http
from supervisor.child import ChildSpec, GiveUp
from supervisor.clock import SystemClock
from supervisor.config.errors import ConfigError
from supervisor.config.file_watch import FileWatch
from supervisor.config.load import Loaded
from supervisor.config.model import Settings
from supervisor.logs import setup as logs
from supervisor.supervisor import Supervisor


@contextlib.asynccontextmanager
async def open_tree(loaded: Loaded, *, log: FilteringBoundLogger) -> AsyncIterator[Tree]:
    """Yield the tree, ready to run.

    Raises:
        ConfigError: an address, a directory, a key or a file cannot be used; nothing is left behind.
    """
    try:
        async with startup_resources(loaded.settings, log=log) as resources:
            tree = Tree(loaded, resources, log=log)
            try:
                await tree.stores.check_key()
                yield tree
            finally:
                await tree.close()
    except (EmbeddedValkeyError, TrustError) as error:
        raise ConfigError("", str(error)) from error


class Tree:
    """All components. Built once; `root` runs them."""

    def __init__(
        self, loaded: Loaded, resources: StartupResources, *, log: FilteringBoundLogger
    ) -> None:
        """Build every component that outlives a restart of a child; nothing is connected yet.

        Raises:
            ConfigError: the API key file cannot be used.
            TrustError: a file with certificates or keys cannot be used.
        """
        settings = self.settings = loaded.settings
        self.resources = resources
        self._log = log
        clock = self._clock = SystemClock()
        self._rng = random.Random()
        self._metrics = build_metrics(version=__version__, clock=clock)
        self._access = HttpAccess(
            settings.http, resources.admin_token, resources.address, clock=clock, log=log
        )
        self._router: Address[RouterMessage] = Address("router")
        self._players: Address[PlayersMessage] = Address("players")
        self._registry = BotRegistry(
            stable_after_s=settings.restart.stable_after, clock=clock, log=log
        )
        self._registry.subscribe(self._metrics.bots)
        self._hub = Hub(clock=clock, log=log, on_beat=self._metrics.hub_lag.observe)
        self._decoder = MatchDecoder()
        self._cache = MatchCache(settings.cache.memory_entries)
        self.stores = Stores(
            settings, resources, observer=self._metrics.redis, clock=clock, log=log
        )
        shared = SharedCauses()
        self._causes = LastingCauses(shared, self.stores.redis_log, clock=clock)
        self._ports = self._make_ports(shared)
        self._fleet = self._make_fleet()
        self._fetcher = MatchFetcher(
            self._router,
            self._cache,
            deadline_s=settings.http.deadline,
            router_metrics=self._metrics.router,
            metrics=self._metrics.matches,
            clock=clock,
        )
        self.config = LiveSettings(loaded, self._apply, clock=clock, log=log)
        self._about = {
            "version": __version__,
            "instance": resources.instance,
            "replay_mirror": resources.network.replay_mirror,
        }
        self._steam_guard = self._make_steam_guard()
        self._dashboard = self._make_dashboard()
        self._polled_metrics = self._make_polled_metrics()
        self._reconfigurer = self._make_reconfigurer()
        self.root = Supervisor(
            "botapi",
            self._children(),
            clock=clock,
            rng=self._rng,
            observe=self._metrics.children.on_child,
            log=log,
        )

    @property
    def is_sealing(self) -> bool:
        """Whether secrets are encrypted before they are stored."""
        return self.resources.encryption.has_key

    @property
    def admin_token_file(self) -> Path | None:
        """The file with the admin token; None without an admin API."""
        if self.resources.admin_token is None:
            return None
        return self.settings.http.admin_token_file or self.settings.own_token_file

    async def close(self) -> None:
        """Close what is not a child."""
        await self._reconfigurer.close()
        await self.stores.close()
        if self.resources.valkey is not None:
            await self.resources.valkey.close()

    def force_stop(self) -> None:
        """Fail the requests under way, so that a stop need not wait for them."""
        with contextlib.suppress(LocalProtocolError):  # the router has ended
            self._router.tell(Hurry())

    def reread(self) -> None:
        """Read the settings and the API keys again, changed or not; for signal handlers."""
        self.config.ask_to_reread()
        if self._access.keys is not None:
            self._access.keys.ask_to_reread()

    async def _apply(self, settings: Settings) -> None:
        before, self.settings = self.settings, settings
        await self._reconfigurer.apply(before, settings)

    # -- components ----------------------------------------------------------------------------

    def _make_ports(self, causes: SharedCauses) -> BotPorts:
        network, clock, log = self.resources.network, self._clock, self._log
        steam_time, transport = SteamTime(clock), self.settings.steam.transport
        return BotPorts(
            store=self.stores.accounts,
            network=connector_of(network, self._hub, time=steam_time, log=log),
            directory=directory_of(network, transport, clock=clock, time=steam_time, log=log),
            limiter=self.stores.limiter,
            metrics=LogonMetrics(self._metrics.instruments, clock=clock),
            on_guard=no_guard_code,
            publish=self._registry.changed,
            clock=clock,
            steam_time=steam_time,
            rng=self._rng,
            log=log,
            bot_log=BotLog(self._causes.active, clock=clock),
            lease_checks=self.stores.lease_checks,
            causes=causes,
        )

    def _make_fleet(self) -> Fleet:
        return Fleet(
            self.settings,
            self._ports,
            instance=self.resources.instance,
            registry=self._registry,
            router=self._router,
            observe=self._metrics.children.on_bot,
            clock=self._clock,
            rng=self._rng,
            log=self._log,
        )

    def _make_router(self) -> Router:
        return Router(
            address=self._router,
            accounts=self.stores.accounts,
            matches=self.stores.matches,
            memory=self._cache,
            decoder=self._decoder,
            policy=router_policy(self.settings),
            metrics=self._metrics.router,
            registry=self._registry,
            clock=self._clock,
            rng=self._rng,
            log=self._log,
        )

    def _make_players(self) -> Players:
        return Players(
            address=self._players,
            decoder=PlayerDecoder(),
            registry=self._registry,
            clock=self._clock,
            log=self._log,
        )

    def _make_leases(self) -> InstanceLeases:
        prefix = f"{self.resources.instance}/"
        return InstanceLeases(self.stores.accounts, prefix, self._fleet.memories, log=self._log)

    def _make_steam_guard(self) -> SteamGuard:
        logon = InteractiveLogon(
            admin=self.stores.admin,
            store=self.stores.accounts,
            network=self._ports.network,
            directory=self._ports.directory,
            limiter=self.stores.limiter,
            clock=self._clock,
            rng=random.Random(),
            holder=f"{self.resources.instance}/guard",
        )
        return SteamGuard(logon.log_on, clock=self._clock, log=self._log)

    def _make_dashboard(self) -> Dashboard:
        return Dashboard(
            registry=self._registry,
            router=self._router,
            fleet=self._fleet,
            accounts=self.stores.admin,
            store=self.stores.accounts,
            traffic=self._metrics.http.traffic,
            about=self._about,
            config=self.config.report,
            causes=self._causes,
            epoch=secrets.token_hex(4),
            clock=self._clock,
            log=self._log,
        )

    def _make_polled_metrics(self) -> PolledMetrics:
        instruments = self._metrics.instruments
        add_gauges(
            instruments,
            hub=self._hub,
            decoder=self._decoder,
            capacity=self._access.capacity,
            store=self.stores.accounts,
            config=self.config.report,
        )
        return PolledMetrics(
            self._registry,
            self._router,
            self.stores.admin,
            self._causes,
            instruments,
            names_accounts=self.settings.metrics.accounts,
            clock=self._clock,
        )

    def _make_reconfigurer(self) -> Reconfigurer:
        return Reconfigurer(
            (
                self.stores.reconfigure,
                lambda new: self._fetcher.reconfigure(new.http.deadline),
                lambda new: self._access.reconfigure(new.http),
                lambda new: self._registry.reconfigure(stable_after_s=new.restart.stable_after),
                lambda new: self._polled_metrics.reconfigure(names_accounts=new.metrics.accounts),
            ),
            accounts=self.stores.accounts,
            router=self._router,
            fleet=self._fleet,
            clock=self._clock,
            log=self._log,
        )

    def _make_http(self) -> HttpServer:
        return make_http(
            self._access,
            self._routes(),
            self._dashboard,
            admin=self._admin_routes(),
            fetcher=self._fetcher,
            metrics=self._metrics.http,
            listener=self.resources.listener,
            clock=self._clock,
            log=self._log,
        )

    def _routes(self) -> list[Routes]:
        fetcher, clock = self._fetcher, self._clock
        return [
            MatchRoutes(fetcher, clock=clock),
            BulkRoute(fetcher, self._access.admission),
            ReplayRoute(fetcher, mirror=self.resources.network.replay_mirror, clock=clock),
            RetrieverRoutes(fetcher, self._players, RetrieverDecoder(), clock=clock),
            StatusRoutes(
                self._registry,
                self._router,
                self._dashboard,
                self._access.admission,
                facts=lambda: self._about | {"config": self.config.report(), "log": logs.report()},
                clock=clock,
            ),
            MetricsRoute(self._polled_metrics, self._metrics.instruments, clock=clock),
        ]

    def _admin_routes(self) -> AdminRoutes | None:
        operators, audit = self._access.operators, self._access.audit
        if operators is None:
            return None
        return AdminRoutes(
            *(operators, audit, self._dashboard),
            store=self.stores.accounts,
            accounts=self.stores.admin,
            steam_guard=self._steam_guard,
            fleet=self._fleet,
            clock=self._clock,
        )

    # -- children ------------------------------------------------------------------------------

    def _children(self) -> list[ChildSpec]:
        """Return the specs in the order of start. A parked child does not end the service."""
        first, guard = [], []
        if (valkey := self.resources.valkey) is not None:
            demo = DemoValkey(valkey, self.stores.accounts, self.resources.network.demo_accounts)
            first = [core_child("valkey", lambda: demo)]
        if self._access.operators is not None:
            guard = [core_child("steam_guard", lambda: self._steam_guard, give_up=GiveUp.PARK)]
        return [
            *first,
            core_child("hub", lambda: self._hub, intensity=NO_RESTART),
            core_child("router", self._make_router),
            core_child("players", self._make_players, give_up=GiveUp.PARK),
            core_child("leases", self._make_leases),
            core_child("fleet", self._fleet.supervisor, grace=math.inf, intensity=NO_RESTART),
            *guard,
            core_child("dashboard", lambda: self._dashboard, give_up=GiveUp.PARK),
            core_child("http", self._make_http, grace=LONGEST_DRAIN_S + CORE_GRACE_S),
            core_child("config", self._make_file_watch, give_up=GiveUp.PARK),
        ]

    def _make_file_watch(self) -> FileWatch:
        keys = self._access.keys
        followed = (self.config,) if keys is None else (self.config, keys)
        return FileWatch(*followed, log=self._log.bind(actor="config"))


async def no_guard_code(_request: GuardRequest) -> str | None:
    """Return no code: bots do not ask an operator, they report what the account needs."""
    return None
