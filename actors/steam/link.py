"""Links to Steam, and the network that opens them.

A `SteamLink` runs on the asyncio loop, its `HubLink` in the hub's thread. A request to a ready session
needs no greenlet: the hub only sends it, and its time limit is a timer of the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from typing import Any, Final

import gevent
from steam.protobufs.steammessages_clientserver_pb2 import CMsgClientAMGetPersonaNameHistory
from structlog.typing import FilteringBoundLogger

from actors.errors import GcUnavailable, SteamUnreachable
from actors.steam.auth import Authenticator
from actors.steam.bridge import Bridge
from actors.steam.connection import Connection
from actors.steam.gc import GcSession, WaitingSessions
from actors.steam.hub import Hub
from actors.steam.pending import Inbox, PendingRequests
from actors.steam.port import (
    FENCED_S,
    AuthSession,
    AuthState,
    Credential,
    Dropped,
    GuardCallback,
    Link,
    LinkListener,
    LoggedOn,
    Server,
    TransportKind,
)
from actors.steam.protocol import emsg
from actors.steam.protocol.envelope import Message
from actors.steam.session import Session, renew
from actors.steam.steam_time import SteamTime
from actors.steam.transport.base import Trust
from actors.steam.transport.tcp import TcpTransport
from actors.steam.transport.websocket import WebSocketTransport

# Seconds before the time limit of an unanswered request at which the server is probed. The reply tells
# a silent GC from a connection that is dead without being closed (half-open).
PROBE_S: Final = 1.5
LEAST_PROBE_S: Final = 0.5  # with less time, a slow reply to the probe would count as none
# Seconds after the fence that the log-off is left to the event loop, which also reports its outcome.
LOOP_FIRST_S: Final = 1.0
# Longest sleep before the clock is read again: unlike gevent's timers it runs while the machine sleeps.
LONGEST_SLEEP_S: Final = 5.0


class SteamNetwork:
    """Opens the links of all bots and holds what they share. One per process."""

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
        self.trust = trust
        self.clock = clock
        self.log = log.bind(actor="steam")
        # Used in the hub's thread only.
        self.waiting = WaitingSessions(rng)
        self.public_ips: dict[str, str] = {}  # by local address

    @property
    def bridge(self) -> Bridge:
        """The bridge to the hub, which must have been started."""
        return self._hub.bridge

    async def open(self, server: Server, listener: LinkListener, *, timeout_s: float) -> Link:
        """Connect to `server`: transport, TLS or channel encryption, ClientHello.

        Raises:
            SteamUnreachable: with phase ``"connect"``.
        """
        link = SteamLink(self, listener)
        await link.open(server, timeout_s=timeout_s)
        return link


class SteamLink:
    """Implements `port.Link`."""

    def __init__(self, network: SteamNetwork, listener: LinkListener) -> None:
        self._bridge = network.bridge
        self._clock = network.clock
        self._inbox = Inbox(listener)
        self._hub = HubLink(network, self._inbox)

    async def open(self, server: Server, *, timeout_s: float) -> None:
        """See `SteamNetwork.open`."""
        try:
            await self._bridge.call(self._hub.open, server, timeout_s)
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
        flow = Authenticator(self._hub.connection, self._bridge, credential, clock=self._clock)
        return await self._bridge.call(flow.run, guard_data, on_guard, timeout_s, resume)

    async def log_on(self, account: str, auth: AuthState, *, timeout_s: float) -> LoggedOn:
        """See `port.Link`."""
        return await self._bridge.call(self._hub.session.log_on, account, auth, timeout_s)

    async def renew_token(self, auth: AuthState, *, timeout_s: float) -> AuthState | None:
        """See `port.Link`."""
        return await self._bridge.call(renew, self._hub.connection, auth, timeout_s)

    async def launch(self, *, timeout_s: float) -> None:
        """See `port.Link`."""
        await self._bridge.call(self._hub.gc.launch, timeout_s)

    async def request_match(self, match_id: int, *, timeout_s: float, late_s: float = 0.0) -> bytes:
        """See `port.Link`."""
        self._refuse_if_closed()
        loop = asyncio.get_running_loop()
        probe_s = min(PROBE_S, timeout_s / 2)
        sent_at = self._clock.now()
        alarm = loop.call_later(timeout_s - probe_s, self._probe)
        matches = self._inbox.matches
        with matches.add() as (job, answer):
            try:
                self._bridge.submit(
                    self._hub.request_gc, matches, emsg.GC_MATCH_DETAILS_REQUEST, match_id, job
                )
                await asyncio.wait([answer], timeout=timeout_s)
            finally:
                alarm.cancel()
            if not answer.done() and probe_s >= LEAST_PROBE_S:
                await self._bridge.call(self._hub.connection.die_if_silent_since, sent_at)
            if not answer.done() and late_s:
                await asyncio.wait([answer], timeout=None if late_s == math.inf else late_s)
            if not answer.done():
                raise TimeoutError
            return answer.result()

    async def request_profile(self, account_id: int, *, timeout_s: float) -> bytes:
        """See `port.Link`."""
        self._refuse_if_closed()
        cards = self._inbox.cards
        with cards.add() as (job, answer):
            self._bridge.submit(
                self._hub.request_gc, cards, emsg.GC_PROFILE_CARD_REQUEST, account_id, job
            )
            async with asyncio.timeout(timeout_s):
                return await answer

    async def request_aliases(self, steam_ids: tuple[int, ...], *, timeout_s: float) -> bytes:
        """See `port.Link`."""
        self._refuse_if_closed()
        with self._inbox.names.add() as (job, answer):
            self._bridge.submit(self._hub.request_names, steam_ids, job)
            async with asyncio.timeout(timeout_s):
                return await answer

    def _refuse_if_closed(self) -> None:
        if self._inbox.is_closed:
            raise SteamUnreachable("session", "the link is closed")

    async def log_off(self, *, timeout_s: float) -> None:
        """See `port.Link`."""
        self._inbox.is_closed = True
        with contextlib.suppress(SteamUnreachable):
            await self._bridge.call(self._hub.session.log_off, timeout_s)

    async def close(self) -> None:
        """See `port.Link`."""
        self._inbox.is_closed = True
        self._inbox.fail_all(SteamUnreachable("session", "closed by us"))
        with contextlib.suppress(SteamUnreachable):  # without a hub there is no connection
            # Not by `call`: a cancellation would revoke it and leave the connection open.
            self._bridge.submit(self._hub.close)
            await self._bridge.call(self._hub.connection.wait_closed)

    def _probe(self) -> None:
        with contextlib.suppress(SteamUnreachable):  # all callers get that error themselves
            self._bridge.submit(self._hub.connection.probe)


class HubLink:
    """The hub's side of a link; posts answers and events to `inbox` on the loop.

    `open` waits and runs in a greenlet of its own; the other methods do not wait.
    """

    def __init__(self, network: SteamNetwork, inbox: Inbox) -> None:
        self._inbox = inbox
        self._bridge = network.bridge
        self._clock = network.clock
        self._trust = network.trust
        self.connection = Connection(clock=network.clock, log=network.log)
        self.session = Session(self.connection, network.clock, network.public_ips)
        self.gc = GcSession(
            self.connection,
            inbox,
            network.bridge,
            waiting=network.waiting,
            clock=network.clock,
            log=network.log,
        )
        self._fence_at = math.inf
        self._guard: Any = None  # the greenlet that ends the session at the fence
        self.connection.on(emsg.CLIENT_PERSONA_NAME_HISTORY_RESPONSE, self._on_names)

    def open(self, server: Server, timeout_s: float) -> None:
        """Connect and say hello. Raises SteamUnreachable with phase ``"connect"``."""
        is_websocket = server.transport is TransportKind.WEBSOCKET
        connect = WebSocketTransport if is_websocket else TcpTransport
        late = SteamUnreachable("connect", f"{server.endpoint}: no answer in time")
        try:
            with gevent.Timeout(timeout_s, late):
                self.connection.open(connect(server, self._trust))
        except (OSError, ValueError) as error:  # ValueError: ParseError, or an invalid host name
            raise SteamUnreachable("connect", f"{server.endpoint}: {error}") from None
        self.connection.ended.rawlink(self._on_death)
        self.session.hello()

    def request_gc(
        self, requests: PendingRequests, message_type: int, number: int, job: int
    ) -> None:
        """Send a GC request with one field, or fail it."""
        if self._has_session(requests, job):
            if self.gc.is_ready:
                self.gc.request(message_type, number, job)
            else:
                self._bridge.post(requests.fail, job, GcUnavailable("no session"))

    def request_names(self, steam_ids: tuple[int, ...], job: int) -> None:
        """Send a request for the former names of players, or fail it."""
        if self._has_session(self._inbox.names, job):
            request = CMsgClientAMGetPersonaNameHistory(id_count=len(steam_ids))
            for steam_id in steam_ids:
                request.Ids.add().steamid = steam_id
            self.connection.send(emsg.CLIENT_GET_PERSONA_NAME_HISTORY, request, jobid_source=job)

    def _has_session(self, requests: PendingRequests, job: int) -> bool:
        """Return whether Steam has accepted a log-on; fail the request if not."""
        if self.connection.death is None and self.connection.session_id:
            return True
        no_session = SteamUnreachable("session", "there is no session")
        self._bridge.post(requests.fail, job, no_session)
        return False

    def _on_names(self, message: Message) -> None:
        self._bridge.post(self._inbox.names.resolve, message.job_target, message.body)

    def set_fence(self, at: float) -> None:
        """See `port.Link`."""
        if self.connection.death is not None:
            return
        self._fence_at = at
        self.connection.end_at = at + FENCED_S
        if self._guard is None:
            self._guard = gevent.spawn(self._end_at_fence)

    def _end_at_fence(self) -> None:
        """Wait for the fence and end the session if the loop has not done so.

        The loop's own limit comes first. A blocked loop misses it; without this guard the lease would
        lapse while the heartbeats of this thread keep the session alive.
        """
        while (left_s := self._fence_at + LOOP_FIRST_S - self._clock.now()) > 0:
            gevent.sleep(min(left_s, LONGEST_SLEEP_S))
        left_s = max(0.0, self.connection.end_at - self._clock.now())
        self.connection.ending = SteamUnreachable("session", "the lease was not renewed in time")
        if self.session.is_logging_off:  # the loop is only slow
            gevent.sleep(left_s)
        else:
            self.session.log_off(left_s)
        self.close()

    def close(self) -> None:
        """Close the socket and end every greenlet."""
        if self._guard is not None:
            self._guard.kill(block=False)
        self.gc.close()
        self.connection.close()

    def _on_death(self, _ended: object) -> None:
        why = self.connection.death
        if why is not None:
            self._bridge.post(self._inbox.on_event, Dropped(why.reason, why.eresult))
