"""Builds the stores, the Steam side and the child specs of the core children."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.accounts.admin import AccountAdmin
from actors.accounts.logon_limiter import LogonLimiter
from actors.accounts.store import AccountStore
from actors.errors import StoreMisused, StoreUnavailable
from actors.matches.store import MatchStore
from actors.redis.client import CallObserver, connect
from actors.redis.embedded import EmbeddedValkeyError
from actors.steam.directory import CmDirectory
from actors.steam.hub import Hub
from actors.steam.link import SteamNetwork
from actors.steam.port import GuardRequest, Transport
from actors.steam.steam_time import SteamTime
from actors.steam.transport.trust import Trust
from supervisor.app.bot_children import PARK_FOR_S
from supervisor.app.network import Network
from supervisor.app.policies import log_on_limits, quota_limits
from supervisor.app.startup import StartupResources
from supervisor.child import Backoff, Child, ChildSpec, GiveUp, Restart, RestartIntensity
from supervisor.clock import SystemClock
from supervisor.config.model import Settings

CORE_BACKOFF: Final = Backoff(base=0.1, cap=5.0, stable_after=30.0)
CORE_INTENSITY: Final = RestartIntensity(max_restarts=5, period=60.0)
# A thread that hangs cannot be replaced inside this process: the container engine starts a new one.
NO_RESTART: Final = RestartIntensity(max_restarts=0, period=60.0)
CORE_GRACE_S: Final = 5.0


def core_child(
    child_id: str,
    factory: Callable[[], Child],
    *,
    grace: float = CORE_GRACE_S,
    intensity: RestartIntensity = CORE_INTENSITY,
    give_up: GiveUp = GiveUp.ESCALATE,
) -> ChildSpec:
    """Return the child spec; use `GiveUp.PARK` for a child that the service can run without."""
    return ChildSpec(
        id=child_id,
        factory=factory,
        restart=Restart.PERMANENT,
        intensity=intensity,
        backoff=CORE_BACKOFF,
        grace=grace,
        give_up=give_up,
        park_for=PARK_FOR_S,
    )


TRANSPORTS: Final = {"websocket": Transport.WEBSOCKET, "tcp": Transport.TCP}


def steam_of(
    network: Network, hub: Hub, *, clock: SteamTime, log: FilteringBoundLogger
) -> SteamNetwork:
    """Return what opens sessions.

    Raises:
        TrustError: a file that names what to trust cannot be used.
    """
    trust = Trust.load(network.ca_file, network.universe_key_file)
    return SteamNetwork(hub, trust, clock=clock, rng=random.Random(), log=log)


def directory_of(
    network: Network,
    transport: str,
    *,
    clock: SystemClock,
    time: SteamTime,
    rng: random.Random,
    log: FilteringBoundLogger,
) -> CmDirectory:
    """Return what knows the servers; `transport` as the settings have it."""
    kind = TRANSPORTS[transport]
    return CmDirectory(network.directory_url, kind, clock=clock, rng=rng, log=log, time=time)


async def no_guard_code(_request: GuardRequest) -> str | None:
    """A Steam Guard code cannot be entered while the service runs: the bot says what it needs."""
    return None


@dataclass(frozen=True, slots=True)
class Stores:
    """The open stores."""

    accounts: AccountStore
    admin: AccountAdmin
    pacing: LogonLimiter
    matches: MatchStore

    async def close(self) -> None:
        """Close the connections."""
        await self.matches.close()
        await self.accounts.close()


async def check_key(stores: Stores, ground: StartupResources) -> None:
    """Refuse a key that opens nothing of what is sealed, before a bot works with it.

    A Redis that is away is no reason not to start; bots then find out one by one, and each leaves its
    account alone. The private Valkey is started for this, and goes on as a child of the tree; what
    lies in it plain is sealed, as no instance without the key shares it.

    Raises:
        ConfigError: values are sealed, and none opens.
    """
    valkey = ground.valkey
    try:
        if valkey is not None:
            await valkey.start()
        closed = await stores.accounts.closed_values()
        if valkey is not None and not closed:
            await stores.accounts.seal_plain_values()
    except (EmbeddedValkeyError, StoreUnavailable, StoreMisused):
        return
    if closed:
        raise ground.secret_key.opens_none_of(closed)


def open_stores(
    settings: Settings,
    ground: StartupResources,
    *,
    watch: CallObserver,
    on_lost: Callable[[], None],
    log: FilteringBoundLogger,
) -> Stores:
    """Open them; nothing is connected before it is used.

    `watch` is told how Redis does; `on_lost` is called when the connection of the accounts broke.
    """
    valkey, prefix = ground.valkey, settings.redis.prefix
    url = settings.redis.url.get_secret_value() if valkey is None else valkey.url
    redis, quota = connect(url, watch=watch, on_lost=on_lost), quota_limits(settings)
    # Connections of their own, for all that a request needs: they answer with bytes, and many requests
    # hold up no renewal.
    raw = connect(url, raw=True, watch=watch)
    return Stores(
        AccountStore(
            redis,
            prefix=prefix,
            quota=quota,
            lease_s=settings.bots.lease_seconds,
            sealer=ground.sealer,
            counting=raw,
        ),
        AccountAdmin(redis, prefix=prefix, quota=quota),
        LogonLimiter(redis, prefix=prefix, limits=log_on_limits(settings)),
        MatchStore(raw, prefix=prefix, log=log),
    )
