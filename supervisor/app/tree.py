"""Builds every component and the child specs.

botapi (root)
    ├── valkey        only with redis.url = "embedded"
    ├── demo          only on a Valkey and a sandbox of our own: adds the demo accounts
    ├── hub           the gevent thread with all connections to Steam
    ├── roster        what is known of every bot
    ├── router        match requests to bots
    ├── players       questions about players to bots
    ├── leases        takes back what this instance had, and gives back what is left
    ├── fleet         a supervisor of its own: bot-1 .. bot-N, equals, stopped together
    ├── fleet_desk    an operator's orders to the fleet
    ├── account_desk  what an operator does to accounts; only where there is an admin token
    ├── guard_desk    Steam Guard codes from people; the same
    ├── lookout       the picture of everything, for the pages that watch
    ├── http          up last of those that serve, down first of them
    ├── api_keys      follows the file with the API keys, where there is one
    └── config        follows the settings file

Children start in this order and stop in reverse. With its parts (`tests/support/import_rules.py`) and
with the commands, this is the only file that sees both halves; it holds no logic of its own.
"""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Final

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from actors.accounts.demo import DemoAccounts
from actors.actor import Actor, Address
from actors.bot.instance_leases import InstanceLeases
from actors.bot.log import BotLog
from actors.bot.ports import BotPorts, LeaseChecks
from actors.bot.registry import Announcer, Roster, RosterMessage
from actors.bot.shared_causes import SharedCause
from actors.bot.steam_guard import GuardDesk, SubmitGuard
from actors.dashboard.cause_log import RedisLog
from actors.errors import LocalProtocolError
from actors.http.auth.admin import gate_of, operator_test
from actors.http.express import Express
from actors.http.metrics import MetricsRoute
from actors.http.openapi.operation import Routes
from actors.http.pipeline import Pipeline
from actors.http.polled_metrics import Sources
from actors.http.routes.match_fetcher import MatchFetcher
from actors.http.routes.matches import BulkRoute, MatchRoutes
from actors.http.routes.replays import ReplayRoute
from actors.http.routes.retriever import RetrieverRoutes
from actors.http.routes.status import StatusRoutes
from actors.http.server import HttpServer, make_site
from actors.matches.cache import MatchCache
from actors.matches.players import PlayerDecoder, RetrieverDecoder
from actors.matches.protobuf.decoder import MatchDecoder
from actors.redis.embedded import EmbeddedValkey, EmbeddedValkeyError
from actors.router.messages import Hurry, PlayersMessage, RouterMessage
from actors.router.players import Players
from actors.router.router import Router
from actors.steam.hub import Hub
from actors.steam.steam_time import SteamTime
from actors.steam.transport.trust import TrustError
from supervisor import __version__
from supervisor.app.components import (
    CORE_GRACE_S,
    NO_RESTART,
    check_key,
    core_child,
    directory_of,
    no_guard_code,
    open_stores,
    steam_of,
)
from supervisor.app.first_steps import first_steps
from supervisor.app.fleet import Fleet
from supervisor.app.metrics import Metering, Watched
from supervisor.app.policies import router_policy
from supervisor.app.reload import LiveSettings, Reconfigurer
from supervisor.app.startup import StartupResources, startup_resources
from supervisor.app.web import HttpAccess, Operators, Surroundings, guard_desk
from supervisor.child import ChildSpec, GiveUp
from supervisor.clock import SystemClock
from supervisor.config.errors import ConfigError
from supervisor.config.file_watch import FileWatch
from supervisor.config.load import Loaded
from supervisor.config.model import Settings
from supervisor.logs import setup as logs
from supervisor.logs.access_log import RequestLog
from supervisor.supervisor import Supervisor

LONGEST_DRAIN_S: Final = 10.0


@contextlib.asynccontextmanager
async def planted(loaded: Loaded, *, log: FilteringBoundLogger) -> AsyncIterator[Tree]:
    """Yield the tree, ready to run, on everything that could be refused.

    Raises:
        ConfigError: an address, a directory, a key or a file cannot be used; nothing is left behind.
    """
    try:
        async with startup_resources(loaded.settings, log=log) as ground:
            tree = Tree(loaded, ground, log=log)
            try:
                await tree.check_key()
                yield tree
            finally:
                await tree.close()
    except (EmbeddedValkeyError, TrustError) as error:
        raise ConfigError("", str(error)) from error


class Tree:
    """Everything that runs, wired together. Built once; `root` runs it."""

    def __init__(
        self,
        loaded: Loaded,
        ground: StartupResources,
        *,
        log: FilteringBoundLogger,
    ) -> None:
        self._settings = loaded.settings
        self._ground = ground
        self._log = log
        self._clock = SystemClock()
        self._gate = gate_of(ground.admin_token, self._clock)
        is_operator = operator_test(self._gate)
        self._door = HttpAccess(
            self._settings.http, is_operator, ground.address, clock=self._clock, log=log
        )
        self._rng = random.Random()
        self._metering = Metering(version=__version__, clock=self._clock)
        self._redis_log = RedisLog(self._metering.redis, clock=self._clock, log=log)
        self._lease_checks = LeaseChecks(clock=self._clock, log=log)
        self._stores = open_stores(
            self._settings,
            ground,
            watch=self._redis_log,
            on_lost=partial(self._lease_checks.ask, "the connection to Redis broke", is_loss=False),
            log=log,
        )
        self._memory = MatchCache(self._settings.cache.memory_entries)
        self._roster: Address[RosterMessage] = Address("roster")
        self._router: Address[RouterMessage] = Address("router")
        self._players: Address[PlayersMessage] = Address("players")
        watchers = (self._roster, self._router, self._players, self._metering.fleet)
        self._announcer = Announcer(watchers, log=log)
        self._hub = Hub(clock=self._clock, log=log, on_beat=self._metering.on_beat)
        self._decoder = MatchDecoder()
        self._bot_ports = self._make_bot_ports()
        self._fleet = self._make_fleet()
        self._asker = MatchFetcher(
            self._router,
            self._memory,
            deadline_s=self._settings.http.deadline,
            tally=self._metering.router,
            count=self._metering.matches,
            clock=self._clock,
        )
        self.config = LiveSettings(
            loaded, self._apply, wall=self._clock.wall, sleep=self._clock.sleep, log=log
        )
        self._about = {
            "version": __version__,
            "instance": ground.instance,
            "replay_mirror": ground.network.replay_mirror,
        }
        self._operators = self._make_operators()
        self._reconfigurer = self._make_reconfigurer()
        self._metrics_route = self._make_metrics()
        self.root = self._supervisor("botapi", self._core_specs())

    @property
    def is_sealing(self) -> bool:
        """Whether secrets are sealed before they are stored."""
        return self._ground.sealer.is_sealing

    @property
    def admin_token_file(self) -> Path | None:
        """Where the admin token is; None where there is no admin API."""
        if self._ground.admin_token is None:
            return None
        return self._settings.http.admin_token_file or self._settings.own_token_file

    async def first_steps(self) -> str:
        """Return what a person who starts the service on a terminal wants to know."""
        return await first_steps(
            self._ground.listener.getsockname(),
            self.admin_token_file,
            self._settings.bots.count,
            self._stores.admin,
        )

    async def check_key(self) -> None:
        """Raise ConfigError where values in Redis are sealed and no key opens one."""
        await check_key(self._stores, self._ground)

    async def close(self) -> None:
        """Close what is no child."""
        await self._reconfigurer.close()
        await self._stores.close()
        if self._ground.valkey is not None:
            await self._ground.valkey.close()

    def hurry(self) -> None:
        """Fail the requests under way, so that a stop need not wait for them."""
        with contextlib.suppress(LocalProtocolError):  # the router is gone: so are the requests
            self._router.tell(Hurry())

    def reread(self) -> None:
        """Have the settings and the API keys read again, changed or not; for signal handlers."""
        self.config.ask_to_reread()
        self._door.ask_to_reread()

    def _causes(self) -> tuple[SharedCause, ...]:
        """Return the causes that many bots share and that last; a lost Redis first."""
        lost = self._redis_log.outage
        shared = self._bot_ports.causes.active(self._clock.wall())
        return shared if lost is None else (lost, *shared)

    async def _apply(self, settings: Settings) -> None:
        before, self._settings = self._settings, settings
        await self._reconfigurer.apply(before, settings)

    # -- the parts -----------------------------------------------------------------------------

    def _make_fleet(self) -> Fleet:
        return Fleet(
            self._settings,
            self._bot_ports,
            instance=self._ground.instance,
            roster=self._roster,
            router=self._router,
            announcer=self._announcer,
            observe=self._metering.on_bot,
            clock=self._clock,
            rng=self._rng,
            log=self._log,
        )

    def _make_bot_ports(self) -> BotPorts:
        network, clock, log = self._ground.network, self._clock, self._log
        at_steam = SteamTime(clock)
        transport = self._settings.steam.transport
        return BotPorts(
            store=self._stores.accounts,
            network=steam_of(network, self._hub, clock=at_steam, log=log),
            directory=directory_of(
                network, transport, clock=clock, time=at_steam, rng=self._rng, log=log
            ),
            limiter=self._stores.pacing,
            metrics=self._metering.log_ons,
            on_guard=no_guard_code,
            publish=self._announcer.publish,
            clock=clock,
            steam_time=at_steam,
            rng=self._rng,
            log=log,
            bot_log=BotLog(self._causes, clock=clock),
            lease_checks=self._lease_checks,
        )

    def _make_router(self) -> Actor[RouterMessage]:
        return Router(
            address=self._router,
            budgets=self._stores.accounts,
            matches=self._stores.matches,
            memory=self._memory,
            decoder=self._decoder,
            policy=router_policy(self._settings),
            tally=self._metering.router,
            catch_up=self._announcer.catch_up,
            clock=self._clock,
            rng=self._rng,
            log=self._log,
        )

    def _make_players(self) -> Players:
        return Players(
            address=self._players,
            decoder=PlayerDecoder(),
            catch_up=self._announcer.catch_up,
            clock=self._clock,
            log=self._log,
        )

    def _make_roster(self) -> Actor[RosterMessage]:
        return Roster(
            address=self._roster,
            catch_up=self._announcer.catch_up,
            stable_after_s=lambda: self._settings.restart.stable_after,
            clock=self._clock,
        )

    def _make_http(self) -> HttpServer:
        status = StatusRoutes(
            self._roster,
            self._router,
            self._operators.lookout,
            clock=self._clock,
            about=self._about,
            config=self.config.report,
            log=logs.report,
            may_see_names=self._may_see_names,
        )
        groups: list[Routes] = [
            MatchRoutes(self._asker, wall=self._clock.wall),
            BulkRoute(self._asker, self._door.admission.take),
            ReplayRoute(
                self._asker, mirror=self._ground.network.replay_mirror, wall=self._clock.wall
            ),
            RetrieverRoutes(self._asker, self._players, RetrieverDecoder(), clock=self._clock),
            status,
            self._metrics_route,
            *self._operators.routes(),
        ]
        site = make_site(groups, self._door.admission, version=__version__)
        self._operators.add_to(site.app)
        admission, record = self._door.admission, RequestLog(self._log)
        count = self._metering.counting(self._operators.count)
        edge = Pipeline(admission, clock=self._clock, log=self._log, record=record, count=count)
        return HttpServer(
            site,
            self._ground.listener.dup(),  # so that the address stays ours should the server restart
            edge=edge,
            capacity=self._door.capacity,
            drain_s=LONGEST_DRAIN_S,
            log=self._log,
            ready=Express(
                admission, self._asker, clock=self._clock, record=record, count=count, log=self._log
            ),
        )

    def _make_operators(self) -> Operators:
        around = Surroundings(
            store=self._stores.accounts,
            admin=self._stores.admin,
            fleet=self._fleet,
            roster=self._roster,
            router=self._router,
            make_guard_desk=self._make_guard_desk,
            address_of=self._door.admission.address_of,
            config=self.config.report,
            about=self._about,
            causes=self._causes,
        )
        http = self._settings.http
        is_private = (
            self._is_exposed or http.admin_token_file is not None or http.api_keys_file is not None
        )
        return Operators(
            around, self._gate, is_private=is_private, clock=self._clock, log=self._log
        )

    def _may_see_names(self, request: web.Request) -> bool:
        """Tell whether who asks may see account names: all where only this machine can ask."""
        admits_by_key = self._settings.http.api_keys_file is not None
        is_operator = self._gate is not None and self._gate.is_operator(request)
        return not self._is_exposed or admits_by_key or is_operator

    @property
    def _is_exposed(self) -> bool:
        """Whether others than this machine reach the API, by its address or through a proxy."""
        return self._ground.is_exposed or bool(self._settings.http.trusted_proxies)

    def _make_guard_desk(self, address: Address[SubmitGuard]) -> GuardDesk:
        ports = self._bot_ports
        return guard_desk(
            address,
            admin=self._stores.admin,
            store=self._stores.accounts,
            network=ports.network,
            directory=ports.directory,
            limiter=self._stores.pacing,
            instance=self._ground.instance,
            clock=self._clock,
            log=self._log,
        )

    def _make_metrics(self) -> MetricsRoute:
        sources = Sources(
            self._roster,
            self._router,
            self._stores.admin,
            names_accounts=lambda: self._settings.metrics.accounts,
            causes=self._causes,
        )
        avoided, report = self._stores.accounts.avoided, self.config.report
        watched = Watched(self._hub, self._decoder, self._door.capacity, report, avoided)
        return self._metering.route(sources, watched)

    def _make_reconfigurer(self) -> Reconfigurer:
        return Reconfigurer(
            accounts=self._stores.accounts,
            pacing=self._stores.pacing,
            asker=self._asker,
            router=self._router,
            fleet=self._fleet,
            door=self._door,
            operators=self._operators,
            clock=self._clock,
            log=self._log,
        )

    def _make_leases(self) -> InstanceLeases:
        return InstanceLeases(
            self._stores.accounts, f"{self._ground.instance}/", self._fleet.memories, log=self._log
        )

    def _make_config_watch(self) -> FileWatch:
        return FileWatch(self.config, log=self._log.bind(actor="config"))

    # -- who supervises whom -------------------------------------------------------------------

    def _core_specs(self) -> list[ChildSpec]:
        valkey = self._ground.valkey
        return [
            *([] if valkey is None else self._own_valkey(valkey)),
            core_child("hub", lambda: self._hub, intensity=NO_RESTART),
            core_child("roster", self._make_roster),
            core_child("router", self._make_router),
            core_child("players", self._make_players, give_up=GiveUp.PARK),
            core_child("leases", self._make_leases),
            core_child("fleet", self._fleet.supervisor, grace=math.inf, intensity=NO_RESTART),
            *[core_child(*one, give_up=GiveUp.PARK) for one in self._operators.children().items()],
            core_child("http", self._make_http, grace=LONGEST_DRAIN_S + CORE_GRACE_S),
            *[core_child(*one, give_up=GiveUp.PARK) for one in self._door.children().items()],
            core_child("config", self._make_config_watch, give_up=GiveUp.PARK),
        ]

    def _own_valkey(self, valkey: EmbeddedValkey) -> list[ChildSpec]:
        specs = [core_child("valkey", lambda: valkey)]
        if self._ground.network.demo_accounts:  # never into a Redis that the operator provides
            specs.append(core_child("demo", self._make_demo))
        return specs

    def _make_demo(self) -> DemoAccounts:
        return DemoAccounts(self._stores.accounts, self._ground.network.demo_accounts)

    def _supervisor(self, name: str, specs: list[ChildSpec]) -> Supervisor:
        return Supervisor(
            name,
            specs,
            clock=self._clock,
            rng=self._rng,
            observe=self._metering.on_child,
            log=self._log,
        )
