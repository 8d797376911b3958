"""Opens links to Steam: the implementation of `port.Steam`."""

from __future__ import annotations

import random

from structlog.typing import FilteringBoundLogger

from actors.steam.gc_hello import WaitingSessions
from actors.steam.hub import Hub
from actors.steam.link import SteamLink
from actors.steam.port import LinkListener, Server
from actors.steam.steam_time import SteamTime
from actors.steam.transport.trust import Trust


class SteamNetwork:
    """One per process; all bots open their links here."""

    def __init__(
        self,
        hub: Hub,
        trust: Trust,
        *,
        clock: SteamTime,
        rng: random.Random,
        log: FilteringBoundLogger,
    ) -> None:
        """`rng`: used in the hub's thread alone, for jitter."""
        self._hub = hub
        self._trust = trust
        self._clock = clock
        self._waiting = WaitingSessions(rng)
        self._public_ips: dict[str, str] = {}  # by local address; used in the hub's thread alone
        self._log = log.bind(actor="steam")

    async def open(self, server: Server, listener: LinkListener, *, timeout_s: float) -> SteamLink:
        """See `port.Steam`."""
        link = SteamLink(
            self._hub.bridge,
            listener,
            waiting=self._waiting,
            clock=self._clock,
            log=self._log,
            public_ips=self._public_ips,
        )
        await link.open(server, self._trust, timeout_s=timeout_s)
        return link
