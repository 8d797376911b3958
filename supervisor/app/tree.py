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
from functools import partial
from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.accounts.demo import DemoValkey
from actors.actor import Address
from actors.bot.interactive_logon import InteractiveLogon
from actors.bot.leases import InstanceLeases
from actors.bot.log import BotLog
from actors.bot.metrics import LogonMetrics
from actors.bot.ports import BotPorts, LeaseChecks
from actors.bot.registry import BotRegistry
from actors.bot.shared_causes import SharedCauses
from actors.bot.steam_guard import SteamGuard
from actors.dashboard.cause_log import LastingCauses, RedisLog
from actors.dashboard.dashboard import Dashboard
from actors.errors import LocalProtocolError
from actors.http.metrics import MetricsRoute
from actors.http.openapi.operation import Routes
from actors.http.polled_metrics import PolledMetrics
from actors.http.routes.admin import AdminRoutes
from actors.http.routes.match_fetcher import MatchFetcher
from actors.http.routes.matches import BulkRoute, MatchRoutes
from actors.http.routes.replays import ReplayRoute
from actors.http.routes.retriever import RetrieverRoutes
from actors.http.routes.status import StatusRoutes
from actors.http.server import HttpServer
from actors.matches.cache import MatchCache
from actors.matches.players import PlayerDecoder, RetrieverDecoder
from actors.matches.protobuf.decoder import MatchDecoder
from actors.redis.client import connect
from actors.redis.embedded import EmbeddedValkeyError
from actors.router.messages import Hurry, PlayersMessage, RouterMessage
from actors.router.players import Players
from actors.router.router import Router
from actors.steam.directory import CmDirectory
from actors.steam.hub import Hub
from actors.steam.link import SteamNetwork
from actors.steam.port import GuardRequest, TransportKind
from actors.steam.steam_time import SteamTime
from actors.steam.transport.base import Trust, TrustError
from supervisor import __version__
from supervisor.app.file_watch import FileWatch
from supervisor.app.fleet import Fleet
from supervisor.app.metrics import Metrics, add_gauges
from supervisor.app.reload import LiveSettings, RunningComponents, router_policy
from supervisor.app.startup import StartupResources, startup_resources
from supervisor.app.stores import Stores
from supervisor.app.web import LONGEST_DRAIN_S, HttpAccess, make_http
from supervisor.child import ChildSpec, GiveUp, RestartIntensity
from supervisor.clock import SystemClock
from supervisor.config.errors import ConfigError
from supervisor.config.load import Loaded
from supervisor.logs import setup as logs
from supervisor.supervisor import Supervisor

TRANSPORTS: Final = {"websocket": TransportKind.WEBSOCKET, "tcp": TransportKind.TCP}
# A thread that hangs cannot be replaced inside this process: the container engine starts a new one.
NO_RESTART: Final = RestartIntensity(max_restarts=0, period=60.0)


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
                await resources.check_key(tree.stores.accounts)
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
        settings, network = loaded.settings, resources.network
        self.resources = resources
        self._log = log
        clock = self._clock = SystemClock()
        rng = self._rng = random.Random()
        metrics = self._metrics = Metrics(version=__version__, clock=clock)
        self._access = HttpAccess(
            settings.http,
            resources.admin_token,
            address=resources.listener.getsockname()[0],
            clock=clock,
            log=log,
        )
        self._router: Address[RouterMessage] = Address("router")
        self._players: Address[PlayersMessage] = Address("players")
        self._registry = BotRegistry(
            stable_after_s=settings.restart.stable_after, clock=clock, log=log
        )
        self._registry.subscribe(metrics.bots)
        self._hub = Hub(clock=clock, log=log, lag=metrics.hub_lag)
        self._decoder = MatchDecoder()
        self._cache = MatchCache(settings.cache.memory_entries)
        redis_log = RedisLog(metrics.redis, clock=clock, log=log)
        lease_checks = LeaseChecks(clock=clock, log=log)
        url = settings.redis.url.get_secret_value()
        if resources.valkey is not None:
            url = resources.valkey.url
        on_lost = partial(lease_checks.ask, "the connection to Redis broke", is_loss=False)
        self.stores = Stores(
            settings,
            connect(url, observer=redis_log, on_lost=on_lost),
            connect(url, raw=True, observer=redis_log),
            encryption=resources.encryption,
            log=log,
        )
        causes = SharedCauses()
        self._causes = LastingCauses(causes, redis_log, clock=clock)
        steam_time = SteamTime(clock)
        steam = SteamNetwork(
            self._hub,
            Trust.load(network.ca_file, network.universe_key_file),
            clock=steam_time,
            rng=random.Random(),
            log=log,
        )
        directory = CmDirectory(
            network.directory_url,
            TRANSPORTS[settings.steam.transport],
            clock=clock,
            rng=random.Random(),
            log=log,
            time=steam_time,
        )
        ports = BotPorts(
            store=self.stores.accounts,
            network=steam,
            directory=directory,
            limiter=self.stores.limiter,
            metrics=LogonMetrics(metrics.instruments, clock=clock),
            on_guard=no_guard_code,
            registry=self._registry,
            clock=clock,
            steam_time=steam_time,
            rng=rng,
            log=log,
            bot_log=BotLog(self._causes.active, clock=clock),
            lease_checks=lease_checks,
            causes=causes,
        )
        self._fleet = Fleet(
            settings,
            ports,
            instance=resources.instance,
            registry=self._registry,
            router=self._router,
            observe=metrics.children.on_bot,
        )
        logon = InteractiveLogon(
            admin=self.stores.admin,
            store=self.stores.accounts,
            network=steam,
            directory=directory,
            limiter=self.stores.limiter,
            clock=clock,
            rng=rng,
            holder=f"{resources.instance}/guard",
        )
        self._steam_guard = SteamGuard(logon, clock=clock, log=log)
        self._fetcher = MatchFetcher(
            self._router,
            self._cache,
            deadline_s=settings.http.deadline,
            router_metrics=metrics.router,
            metrics=metrics.matches,
            clock=clock,
        )
        self._polled_metrics = PolledMetrics(
            self._registry,
            self._router,
            self.stores.admin,
            self._causes,
            metrics.instruments,
            names_accounts=settings.metrics.accounts,
            clock=clock,
        )
        self._components = RunningComponents(
            self.stores,
            self._fetcher,
            self._access,
            self._registry,
            self._polled_metrics,
            self._fleet,
            clock,
            log,
        )
        self.config = LiveSettings(loaded, self._components, clock=clock, log=log)
        add_gauges(
            metrics.instruments,
            hub=self._hub,
            decoder=self._decoder,
            capacity=self._access.capacity,
            store=self.stores.accounts,
            config=self.config,
        )
        self._about = {
            "version": __version__,
            "instance": resources.instance,
            "replay_mirror": network.replay_mirror,
        }
        self._dashboard = Dashboard(
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
            clock=clock,
            log=log,
        )
        self.root = Supervisor(
            "botapi",
            self._children(),
            clock=clock,
            rng=rng,
            observe=metrics.children.on_child,
            log=log,
        )

    async def close(self) -> None:
        """Close what is not a child."""
        await self._components.close()
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

    # -- the children, made again at each restart --------------------------------------------------

    def _make_router(self) -> Router:
        return Router(
            address=self._router,
            accounts=self.stores.accounts,
            matches=self.stores.matches,
            memory=self._cache,
            decoder=self._decoder,
            policy=router_policy(self.config.settings),
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

    def _make_file_watch(self) -> FileWatch:
        keys = self._access.keys
        followed = (self.config,) if keys is None else (self.config, keys)
        return FileWatch(*followed, log=self._log.bind(actor="config"))

    def _children(self) -> list[ChildSpec]:
        """Return the specs in the order of start. A parked child does not end the service."""
        first, guard = [], []
        if (valkey := self.resources.valkey) is not None:
            demo = DemoValkey(valkey, self.stores.accounts, self.resources.network.demo_accounts)
            first = [ChildSpec("valkey", lambda: demo)]
        if self._access.operators is not None:
            guard = [ChildSpec("steam_guard", lambda: self._steam_guard, give_up=GiveUp.PARK)]
        return [
            *first,
            ChildSpec("hub", lambda: self._hub, intensity=NO_RESTART),
            ChildSpec("router", self._make_router),
            ChildSpec("players", self._make_players, give_up=GiveUp.PARK),
            ChildSpec("leases", self._make_leases),
            ChildSpec(
                "fleet", lambda: self._fleet.supervisor, grace=math.inf, intensity=NO_RESTART
            ),
            *guard,
            ChildSpec("dashboard", lambda: self._dashboard, give_up=GiveUp.PARK),
            ChildSpec("http", self._make_http, grace=LONGEST_DRAIN_S + 5.0),
            ChildSpec("config", self._make_file_watch, give_up=GiveUp.PARK),
        ]


async def no_guard_code(_request: GuardRequest) -> str | None:
    """Return no code: bots do not ask an operator, they report what the account needs."""
    return None
