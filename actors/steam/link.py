"""Loop side of a link to Steam, and the network that opens links.

`SteamLink` runs on the asyncio loop, its `HubLink` in the hub's thread. A request to a ready session
needs no greenlet: the hub only sends it, and its time limit is a timer of the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import Callable
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from actors.errors import SteamUnreachable
from actors.steam.bridge import Bridge
from actors.steam.gc import WaitingSessions
from actors.steam.hub import Hub
from actors.steam.hub_link import HubLink
from actors.steam.pending import Inbox, PendingRequests
from actors.steam.port import (
    AuthSession,
    AuthState,
    Credential,
    GuardCallback,
    Link,
    LinkListener,
    LoggedOn,
    Server,
)
from actors.steam.steam_time import SteamTime
from actors.steam.transport.trust import Trust

# Seconds before the time limit of an unanswered request at which the server is probed. The reply tells
# a silent GC from a connection that is dead without being closed (half-open).
PROBE_S: Final = 1.5
LEAST_PROBE_S: Final = 0.5  # with less time, a slow reply to the probe would count as none


class SteamNetwork:
    """Opens the links of all bots. One per process."""

    def __init__(
        self,
        hub: Hub,
        trust: Trust,
        *,
        clock: SteamTime,
        rng: random.Random,
        log: FilteringBoundLogger,
    ) -> None:
        """`rng`: for jitter; used in the hub's thread only."""
        self._hub = hub
        self._trust = trust
        self._clock = clock
        self._waiting = WaitingSessions(rng)
        self._public_ips: dict[str, str] = {}  # by local address; used in the hub's thread only
        self._log = log.bind(actor="steam")

    async def open(self, server: Server, listener: LinkListener, *, timeout_s: float) -> Link:
        """Connect to `server`: transport, TLS or channel encryption, ClientHello.

        Raises:
            SteamUnreachable: with phase ``"connect"``.
        """
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


class SteamLink:
    """Implements `port.Link`."""

    def __init__(
        self,
        bridge: Bridge,
        listener: LinkListener,
        *,
        waiting: WaitingSessions,
        clock: SteamTime,
        log: FilteringBoundLogger,
        public_ips: dict[str, str] | None = None,
    ) -> None:
        """`waiting` and `public_ips` are shared by all links of the hub; see `HubLink`."""
        self._bridge = bridge
        self._clock = clock
        self._inbox = Inbox(listener)
        self._hub = HubLink(
            self._inbox,
            bridge,
            waiting=waiting,
            clock=clock,
            log=log,
            public_ips={} if public_ips is None else public_ips,
        )

    async def open(self, server: Server, trust: Trust, *, timeout_s: float) -> None:
        """See `SteamNetwork.open`."""
        try:
            await self._bridge.call(self._hub.open, server, trust, timeout_s)
        except BaseException:
            await self.close()
            raise

    def set_fence(self, at: float) -> None:
        """See `port.Link`."""
        with contextlib.suppress(SteamUnreachable):  # without a hub there is no session
            self._bridge.submit(self._hub.set_fence, at)

    async def authenticate(
        self,
        credential: Credential,
        guard_data: str | None,
        on_guard: GuardCallback,
        *,
        timeout_s: float,
        resume: AuthSession | None = None,
    ) -> AuthState:
        """See `port.Link`."""
        return await self._bridge.call(
            self._hub.authenticate, credential, guard_data, on_guard, timeout_s, resume
        )

    async def log_on(self, account: str, auth: AuthState, *, timeout_s: float) -> LoggedOn:
        """See `port.Link`."""
        return await self._bridge.call(self._hub.log_on, account, auth, timeout_s)

    async def renew_token(self, auth: AuthState, *, timeout_s: float) -> AuthState | None:
        """See `port.Link`."""
        return await self._bridge.call(self._hub.renew_token, auth, timeout_s)

    async def launch(self, *, timeout_s: float) -> None:
        """See `port.Link`."""
        await self._bridge.call(self._hub.launch, timeout_s)

    async def request_match(self, match_id: int, *, timeout_s: float, late_s: float = 0.0) -> bytes:
        """See `port.Link`."""
        self._refuse_if_closed()
        loop = asyncio.get_running_loop()
        probe_s = min(PROBE_S, timeout_s / 2)
        sent_at = self._clock.now()
        alarm = loop.call_later(timeout_s - probe_s, self._probe)
        with self._inbox.matches.add() as (job, answer):
            try:
                self._bridge.submit(self._hub.request_match, match_id, job)
                await asyncio.wait([answer], timeout=timeout_s)
            finally:
                alarm.cancel()
            if not answer.done() and probe_s >= LEAST_PROBE_S:
                await self._bridge.call(self._hub.die_if_silent_since, sent_at)
            if not answer.done() and late_s:
                await asyncio.wait([answer], timeout=None if late_s == math.inf else late_s)
            if not answer.done():
                raise TimeoutError
            return answer.result()

    async def request_profile(self, account_id: int, *, timeout_s: float) -> bytes:
        """See `port.Link`."""
        return await self._ask(self._inbox.cards, self._hub.request_card, account_id, timeout_s)

    async def request_aliases(self, steam_ids: tuple[int, ...], *, timeout_s: float) -> bytes:
        """See `port.Link`."""
        return await self._ask(self._inbox.names, self._hub.request_names, steam_ids, timeout_s)

    async def _ask(
        self,
        requests: PendingRequests,
        send: Callable[[Any, int], None],
        about: object,
        timeout_s: float,
    ) -> bytes:
        """Let the hub run `send(about, job)` and wait for the answer."""
        self._refuse_if_closed()
        with requests.add() as (job, answer):
            self._bridge.submit(send, about, job)
            async with asyncio.timeout(timeout_s):
                return await answer

    def _refuse_if_closed(self) -> None:
        if self._inbox.is_closed:
            raise SteamUnreachable("session", "the link is closed")

    async def log_off(self, *, timeout_s: float) -> None:
        """See `port.Link`."""
        self._inbox.is_closed = True
        with contextlib.suppress(SteamUnreachable):
            await self._bridge.call(self._hub.log_off, timeout_s)

    async def close(self) -> None:
        """See `port.Link`."""
        self._inbox.is_closed = True
        self._inbox.fail_all(SteamUnreachable("session", "closed by us"))
        with contextlib.suppress(SteamUnreachable):  # without a hub there is no connection
            # Not by `call`: a cancellation would revoke it and leave the connection open.
            self._bridge.submit(self._hub.close)
            await self._bridge.call(self._hub.wait_closed)

    def _probe(self) -> None:
        with contextlib.suppress(SteamUnreachable):  # all callers get that error themselves
            self._bridge.submit(self._hub.probe)
