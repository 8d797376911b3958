"""How bots get to Steam, by the network and the settings; a part of tree.py, sees both halves."""

from __future__ import annotations

import random
from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.steam.clock import SteamTime
from actors.steam.directory import CmDirectory
from actors.steam.hub import Hub
from actors.steam.network import SteamNetwork
from actors.steam.port import GuardRequest, Transport
from actors.steam.trust import Trust
from supervisor.clock import SystemClock
from supervisor.network import Network

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
