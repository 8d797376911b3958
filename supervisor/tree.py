"""The map of the program: which actors exist, who supervises whom, what each is handed.

    botapi (root)
    ├── valkey        only with redis.url = "embedded"
    ├── demo          only on a Valkey and a sandbox of our own: adds the demo accounts
    ├── hub           the gevent thread with all connections to Steam
    ├── roster        what is known of every bot
    ├── router        match requests to bots
    ├── leases        takes back what this instance had, and gives back what is left
    ├── fleet         a supervisor of its own: bot-1 .. bot-N, equals, stopped together
    └── http          last up, first down

Children start in this order and stop in reverse. With cli.py this is the only file that sees both
halves; it holds no logic of its own.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.accounts.demo import DemoAccounts
from actors.accounts.embedded import EmbeddedValkey, EmbeddedValkeyError
from actors.accounts.pacing import LogOnLimits, LogOnPacing
from actors.accounts.quota import QuotaLimits
from actors.accounts.redis_client import connect
from actors.accounts.sealing import Sealer, parse_keys
from actors.accounts.store import Accounts
from actors.actor import Actor, Address
from actors.announcer import Announcer
from actors.bot import Bot, BudgetIsSpent
from actors.bot_ports import BotMemory, BotPolicy, BotPorts
from actors.bot_states import BotState
from actors.errors import AccountError, LocalProtocolError, SteamError
from actors.http.app import make_app
from actors.http.match_details import MatchDetailsRoute
from actors.http.server import HttpServer
from actors.http.status import StatusRoutes
from actors.leases import Leases
from actors.matches.decoder import MatchDecoder
from actors.messages import RouterMessage, RouterPolicy, RouterToBot
from actors.roster import BotSupervised, Roster, RosterMessage
from actors.router import Router
from actors.steam.directory import CmDirectory
from actors.steam.hub import Hub
from actors.steam.network import SteamNetwork
from actors.steam.port import GuardRequest, Transport
from actors.steam.trust import Trust, TrustError
from supervisor import __version__
from supervisor.child import (
    Backoff,
    Child,
    ChildSpec,
    ChildState,
    ChildStatus,
    GiveUp,
    Restart,
    RestartIntensity,
)
from supervisor.clock import SystemClock
from supervisor.instance import own_instance
from supervisor.listener import listen
from supervisor.network import Network, steam_network
from supervisor.secret_key import take_secret_key
from supervisor.settings import ConfigError, Settings
from supervisor.settings_model import LOGOFF_S, SAFETY_MARGIN_S
from supervisor.supervisor import Supervisor

CORE_BACKOFF: Final = Backoff(base=0.1, cap=5.0, stable_after=30.0)
CORE_INTENSITY: Final = RestartIntensity(max_restarts=5, period=60.0)
# A thread that hangs cannot be replaced inside this process: the container engine starts a new one.
NO_RESTART: Final = RestartIntensity(max_restarts=0, period=60.0)
CORE_GRACE_S: Final = 5.0
LONGEST_DRAIN_S: Final = 10.0
# After its last request a bot logs off (4 s at most) and gives its account back (3 s at most).
GOODBYE_S: Final = 8.0
PARK_FOR_S: Final = 300.0
TRANSPORTS: Final = {"websocket": Transport.WEBSOCKET, "tcp": Transport.TCP}
# What a bot's life may end with without being a bug.
EXPECTED_ENDS: Final = (AccountError, SteamError, BudgetIsSpent)
# What the supervisor does with a bot between two lives, in the words of /status.
BETWEEN_LIVES: Final = {
    ChildState.BACKING_OFF: BotState.BACKING_OFF,
    ChildState.PARKED: BotState.PARKED,
    ChildState.STOPPED: BotState.STOPPED,
}


@contextlib.asynccontextmanager
async def planted(settings: Settings, *, log: FilteringBoundLogger) -> AsyncIterator[Tree]:
    """Yield the tree, ready to run, on everything that could be refused.

    Raises:
        ConfigError: an address, a directory, a key or a file cannot be used; nothing is left behind.
    """
    try:
        sealer = _sealer()
        with contextlib.ExitStack() as stack:
            listener = listen(settings.http.host, settings.http.port)
            stack.callback(listener.close)
            valkey = _own_valkey(settings, stack)
            instance = stack.enter_context(own_instance(settings.redis.data_dir, log=log))
            async with steam_network(settings) as network:
                ground = Ground(network, listener, valkey, sealer, instance.id)
                tree = Tree(settings, ground, log=log)
                try:
                    yield tree
                finally:
                    await tree.close()
    except (EmbeddedValkeyError, TrustError) as error:
        raise ConfigError("", str(error)) from error


def _own_valkey(settings: Settings, stack: contextlib.ExitStack) -> EmbeddedValkey | None:
    if not settings.redis.is_embedded:
        return None
    valkey = EmbeddedValkey(settings.redis.data_dir)
    valkey.claim()
    stack.callback(valkey.disclaim)
    return valkey


def _sealer() -> Sealer:
    key = take_secret_key(os.environ)
    try:
        return Sealer(parse_keys(key.text))
    except ValueError as error:
        raise key.refused(str(error)) from None


@dataclass(frozen=True, slots=True)
class Ground:
    """What this process stands on, taken before anything runs."""

    network: Network
    listener: socket.socket
    valkey: EmbeddedValkey | None
    sealer: Sealer
    instance: str  # who we are, unique in the world


class Tree:
    """Everything that runs, wired together. Built once; `root` runs it."""

    def __init__(
        self,
        settings: Settings,
        ground: Ground,
        *,
        log: FilteringBoundLogger,
    ) -> None:
        self._settings = settings
        self._ground = ground
        self._log = log
        self._clock = SystemClock()
        self._rng = random.Random()
        self._memories: dict[str, BotMemory] = defaultdict(BotMemory)
        self._redis = connect(self._redis_url)
        self._accounts = self._open_accounts()
        self._roster: Address[RosterMessage] = Address("roster")
        self._router: Address[RouterMessage] = Address("router")
        self._announcer = Announcer((self._roster, self._router), log=log)
        self._hub = Hub(clock=self._clock, log=log)
        self._bot_ports = self._make_bot_ports()
        self.root = self._supervisor("botapi", self._core_specs(), lambda _: None)

    @property
    def is_sealing(self) -> bool:
        """Whether secrets are sealed before they are stored."""
        return self._ground.sealer.is_sealing

    async def close(self) -> None:
        """Close what is no child."""
        await self._accounts.close()

    # -- the parts -----------------------------------------------------------------------------

    @property
    def _redis_url(self) -> str:
        valkey = self._ground.valkey
        return self._settings.redis.url.get_secret_value() if valkey is None else valkey.url

    def _open_accounts(self) -> Accounts:
        quota = self._settings.quota
        return Accounts(
            self._redis,
            prefix=self._settings.redis.prefix,
            quota=QuotaLimits(quota.per_account, quota.per_ip, quota.window),
            lease_s=self._settings.bots.lease_seconds,
            sealer=self._ground.sealer,
        )

    def _make_pacing(self) -> LogOnPacing:
        logon = self._settings.logon
        limits = LogOnLimits(self._settings.logons_per_minute, logon.burst, logon.rate_limit_pause)
        return LogOnPacing(self._redis, prefix=self._settings.redis.prefix, limits=limits)

    def _make_bot_ports(self) -> BotPorts:
        trust = Trust.load(self._ground.network.ca_file, self._ground.network.universe_key_file)
        return BotPorts(
            store=self._accounts,
            steam=SteamNetwork(self._hub, trust, clock=self._clock, log=self._log),
            directory=CmDirectory(
                self._ground.network.directory_url,
                TRANSPORTS[self._settings.steam.transport],
                clock=self._clock,
                rng=self._rng,
                log=self._log,
            ),
            pacing=self._make_pacing(),
            on_guard=_nobody_to_ask,
            publish=self._announcer.publish,
            clock=self._clock,
            wall=self._clock.wall,
            rng=self._rng,
            log=self._log,
        )

    def _make_router(self) -> Actor[RouterMessage]:
        bots, http = self._settings.bots, self._settings.http
        return Router(
            address=self._router,
            store=self._accounts,
            decoder=MatchDecoder(),
            policy=RouterPolicy(
                request_timeout_s=bots.request_timeout,
                max_in_flight=bots.max_in_flight,
                min_interval_s=bots.min_interval,
                queue=http.queue,
            ),
            catch_up=self._announcer.catch_up,
            clock=self._clock,
            log=self._log,
        )

    def _make_roster(self) -> Actor[RosterMessage]:
        return Roster(address=self._roster, catch_up=self._announcer.catch_up, clock=self._clock)

    def _make_http(self) -> HttpServer:
        about = {"version": __version__, "instance": self._ground.instance}
        deadline_s = self._settings.http.deadline
        app = make_app(
            MatchDetailsRoute(self._router, deadline_s=deadline_s, clock=self._clock),
            StatusRoutes(self._roster, self._router, clock=self._clock, about=about),
            clock=self._clock,
            log=self._log,
        )
        # A duplicate, so that the address stays ours should the server be restarted.
        return HttpServer(app, self._ground.listener.dup(), drain_s=self._drain_s, log=self._log)

    def _make_leases(self) -> Leases:
        return Leases(self._accounts, f"{self._ground.instance}/", self._memories, log=self._log)

    def _make_bot(self, bot_id: str, address: Address[RouterToBot], memory: BotMemory) -> Bot:
        bots = self._settings.bots
        return Bot(
            bot_id,
            self._holder(bot_id),
            address=address,
            memory=memory,
            ports=self._bot_ports,
            policy=BotPolicy(lease_s=bots.lease_seconds, fence_margin_s=LOGOFF_S + SAFETY_MARGIN_S),
        )

    # -- who supervises whom -------------------------------------------------------------------

    def _core_specs(self) -> list[ChildSpec]:
        valkey = self._ground.valkey
        return [
            *([] if valkey is None else self._own_valkey(valkey)),
            self._core("hub", lambda: self._hub, intensity=NO_RESTART),
            self._core("roster", self._make_roster),
            self._core("router", self._make_router),
            self._core("leases", self._make_leases),
            self._core("fleet", self._make_fleet, grace=math.inf, intensity=NO_RESTART),
            self._core("http", self._make_http, grace=self._drain_s + CORE_GRACE_S),
        ]

    def _own_valkey(self, valkey: EmbeddedValkey) -> list[ChildSpec]:
        specs = [self._core("valkey", lambda: valkey)]
        if self._ground.network.demo_accounts:  # never into a Redis that somebody else brought
            specs.append(self._core("demo", self._make_demo))
        return specs

    def _make_demo(self) -> DemoAccounts:
        return DemoAccounts(self._accounts, self._ground.network.demo_accounts)

    def _core(
        self,
        child_id: str,
        factory: Callable[[], Child],
        *,
        grace: float = CORE_GRACE_S,
        intensity: RestartIntensity = CORE_INTENSITY,
    ) -> ChildSpec:
        return ChildSpec(
            id=child_id,
            factory=factory,
            restart=Restart.PERMANENT,
            intensity=intensity,
            backoff=CORE_BACKOFF,
            grace=grace,
            give_up=GiveUp.ESCALATE,
            park_for=PARK_FOR_S,
        )

    def _make_fleet(self) -> Supervisor:
        ids = [f"bot-{number}" for number in range(1, self._settings.bots.count + 1)]
        specs = [self._bot_spec(bot_id) for bot_id in ids]
        return self._supervisor("fleet", specs, self._on_bot_status, stop_together=True)

    def _bot_spec(self, bot_id: str) -> ChildSpec:
        restart, bots = self._settings.restart, self._settings.bots
        return ChildSpec(
            id=bot_id,
            factory=partial(
                self._make_bot, bot_id, Address(bot_id), self._memories[self._holder(bot_id)]
            ),
            restart=Restart.PERMANENT,
            intensity=RestartIntensity(restart.intensity, restart.period),
            backoff=Backoff(restart.backoff_min, restart.backoff_max, restart.stable_after),
            grace=bots.request_timeout + GOODBYE_S,
            give_up=GiveUp.PARK,
            park_for=PARK_FOR_S,
            expected=EXPECTED_ENDS,
        )

    def _supervisor(
        self,
        name: str,
        specs: list[ChildSpec],
        observe: Callable[[ChildStatus], None],
        *,
        stop_together: bool = False,
    ) -> Supervisor:
        return Supervisor(
            name,
            specs,
            clock=self._clock,
            rng=self._rng,
            observe=observe,
            log=self._log,
            stop_together=stop_together,
        )

    def _on_bot_status(self, status: ChildStatus) -> None:
        """Tell the roster what the supervisor does with a bot."""
        next_try_in = None if status.next_try_at is None else status.next_try_at - self._clock.now()
        supervised = BotSupervised(
            bot_id=status.id,
            state=BETWEEN_LIVES.get(status.state),
            restarts=status.restarts,
            last_error=status.last_error,
            next_try_in=next_try_in,
        )
        try:
            self._roster.tell(supervised)
        except LocalProtocolError as error:
            self._log.warning("change_untold", watcher="roster", reason=str(error))

    def _holder(self, bot_id: str) -> str:
        """How a bot's checkouts are signed in Redis."""
        return f"{self._ground.instance}/{bot_id}"

    @property
    def _drain_s(self) -> float:
        return min(self._settings.http.deadline, LONGEST_DRAIN_S)


async def _nobody_to_ask(_request: GuardRequest) -> str | None:
    """A Steam Guard code cannot be entered while the service runs: the bot says what it needs."""
    return None
