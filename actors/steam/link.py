"""One link: the asyncio side's handle on one connection, session and GC session in the hub.

`_HubLink` lives in the hub's thread and `SteamLink` on the loop; what passes between them goes through
the bridge. What is asked of a ready session takes the short way: no greenlet, its time limit is a timer
of the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import gevent
from structlog.typing import FilteringBoundLogger

from actors.errors import GcUnavailable, PlayingElsewhere, RequestDropped, SteamUnreachable
from actors.steam.auth import Authenticator
from actors.steam.bridge import Bridge
from actors.steam.connection import Connection, Services
from actors.steam.gc import GcSession, NameHistories
from actors.steam.gc_hello import WaitingSessions
from actors.steam.pending import Unanswered
from actors.steam.port import (
    FENCED_S,
    AuthInterrupted,
    AuthSession,
    AuthState,
    Credential,
    Dropped,
    GcLost,
    GcReady,
    GuardCallback,
    GuardRequest,
    LinkEvent,
    LinkListener,
    LoggedOn,
    Server,
    Transport,
)
from actors.steam.protocol.envelope import NO_JOB
from actors.steam.session import Session, renew
from actors.steam.steam_time import SteamTime
from actors.steam.transport.base import Transport as TransportInUse
from actors.steam.transport.tcp import TcpTransport
from actors.steam.transport.trust import Trust
from actors.steam.transport.websocket import WebSocketTransport

# How long before the end of an unanswered request the server is made to say something. Whether it does
# tells a GC that is silent from a connection that is dead without knowing it (half-open).
PROBE_S: Final = 1.5
LEAST_PROBE_S: Final = 0.5  # with less time left, a slow answer to the probe would pass for none

MOST_PENDING: Final = 256  # match requests of one connection, late ones included

# How long after its fence a link leaves the log-off to the loop, which also tells what comes of it.
LOOP_FIRST_S: Final = 1.0
# Between two looks at the clock: it goes on while the machine sleeps, and gevent's timers do not.
LONGEST_LOOK_S: Final = 5.0

# Steam's job ids are one name space: those of service calls count from 1, in the hub.
FIRST_STEAM_JOB: Final = 1 << 32


class SteamLink:
    """The side of a link on the loop; implements `port.Link`."""

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
        """`waiting`: the GC sessions of all links of the hub; `public_ips`: see `Session`."""
        self._bridge = bridge
        self._listener = listener
        self._clock = clock
        gc_jobs = itertools.count(1)
        self.matches, self.cards = Unanswered(gc_jobs, most=MOST_PENDING), Unanswered(gc_jobs)
        self.names = Unanswered(itertools.count(FIRST_STEAM_JOB))
        self._hub = _HubLink(
            self, bridge, waiting=waiting, clock=clock, log=log, public_ips=public_ips
        )
        self._closed = False

    def set_fence(self, at: float) -> None:
        """See `port.Link`."""
        with contextlib.suppress(SteamUnreachable):  # no hub, no session
            self._bridge.submit(self._hub.set_fence, at)

    async def open(self, server: Server, trust: Trust, *, timeout_s: float) -> None:
        """Connect; see `port.Steam.open`."""
        try:
            await self._bridge.call(self._hub.open, server, trust, timeout_s)
        except BaseException:
            await self.close()
            raise

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
        with self.matches.one() as (job, answer):
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
        return await self._ask(self.cards, self._hub.request_card, account_id, timeout_s)

    async def request_aliases(self, steam_ids: tuple[int, ...], *, timeout_s: float) -> bytes:
        """See `port.Link`."""
        return await self._ask(self.names, self._hub.request_names, steam_ids, timeout_s)

    async def _ask(
        self,
        unanswered: Unanswered,
        request: Callable[[Any, int], None],
        about: object,
        timeout_s: float,
    ) -> bytes:
        """Let the hub send `request(about, job)`, and wait for the answer."""
        self._refuse_if_closed()
        with unanswered.one() as (job, answer):
            self._bridge.submit(request, about, job)
            async with asyncio.timeout(timeout_s):
                return await answer

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise SteamUnreachable("session", "the link is closed")

    async def log_off(self, *, timeout_s: float) -> None:
        """See `port.Link`."""
        self._closed = True  # what happens from here on is no news
        try:
            await self._bridge.call(self._hub.log_off, timeout_s)
        except SteamUnreachable:
            return

    async def close(self) -> None:
        """See `port.Link`."""
        self._closed = True
        self._refuse_all(SteamUnreachable("session", "closed by us"))
        with contextlib.suppress(SteamUnreachable):  # no hub, no link
            # Not by `call`, which a cancellation would take back: then the link would live for ever.
            self._bridge.submit(self._hub.close)
            await self._bridge.call(self._hub.wait_closed)

    def _probe(self) -> None:
        with contextlib.suppress(SteamUnreachable):  # no hub: all callers get that error anyway
            self._bridge.submit(self._hub.probe)

    # -- from the hub --------------------------------------------------------------------------

    def deliver_event(self, event: LinkEvent) -> None:
        """Handle an event of the hub; fail the requests that it leaves without an answer."""
        if isinstance(event, Dropped):
            self._refuse_all(SteamUnreachable("session", event.reason, event.eresult))
        elif isinstance(event, GcLost):
            self.matches.refuse_all(GcUnavailable(event.reason))
            self.cards.refuse_all(GcUnavailable(event.reason))
        if not self._closed:
            self._listener(event)

    def deliver_dropped(self, job: int) -> None:
        """The GC threw a request away; without a job id it is taken for the oldest match request."""
        if job == NO_JOB:
            self.matches.refuse_oldest(RequestDropped())
        else:
            self.matches.refuse(job, RequestDropped())
            self.cards.refuse(job, RequestDropped())

    def _refuse_all(self, error: Exception) -> None:
        for unanswered in (self.matches, self.cards, self.names):
            unanswered.refuse_all(error)


class _HubLink:
    """The part in the hub's thread; all but the requests and `probe` run in greenlets of their own."""

    def __init__(
        self,
        owner: SteamLink,
        bridge: Bridge,
        *,
        waiting: WaitingSessions,
        clock: SteamTime,
        log: FilteringBoundLogger,
        public_ips: dict[str, str] | None,
    ) -> None:
        self._owner = owner
        self._public_ips = public_ips
        self._bridge = bridge
        self._waiting = waiting
        self._clock = clock
        self._log = log
        self._connection: Connection | None = None
        self._session: Session | None = None
        self._services: Services | None = None
        self._gc: GcSession | None = None
        self._names: NameHistories | None = None
        self._authenticating: Any = None  # the greenlet of the credential flow, while there is one
        self._fence_at = math.inf
        self._guard: Any = None  # the greenlet that ends the session at the fence
        self._is_closed = False

    def open(self, server: Server, trust: Trust, timeout_s: float) -> None:
        kind = WebSocketTransport if server.transport is Transport.WEBSOCKET else TcpTransport
        transport: TransportInUse | None = None
        with gevent.Timeout(timeout_s, exception=False):
            try:
                transport = kind(server, trust)
            except (OSError, ValueError) as error:  # ValueError: garbage, or a host that is no name
                raise SteamUnreachable("connect", f"{server.endpoint}: {error}") from None
        if transport is None:
            raise SteamUnreachable("connect", f"{server.endpoint}: no answer in time")
        connection = Connection(transport, self._on_death, clock=self._clock, log=self._log)
        self._connection = connection
        self._session = Session(connection, self._clock.learn_from_cm, self._public_ips)
        self._services = Services(connection)
        self._gc = GcSession(
            connection,
            on_body=partial(self._bridge.post, self._owner.matches.answer),
            on_card=partial(self._bridge.post, self._owner.cards.answer),
            on_dropped=partial(self._bridge.post, self._owner.deliver_dropped),
            on_lost=self._on_gc_lost,
            on_ready=lambda: self._post(GcReady()),
            waiting=self._waiting,
            clock=self._clock,
            log=self._log,
        )
        on_names = partial(self._bridge.post, self._owner.names.answer)
        self._names = NameHistories(connection, on_body=on_names)
        self._session.hello()

    def authenticate(
        self,
        credential: Credential,
        guard_data: str | None,
        on_guard: GuardCallback,
        timeout_s: float,
        resume: AuthSession | None,
    ) -> AuthState:
        def ask(request: GuardRequest) -> str | None:
            return self._bridge.ask_loop(on_guard, request)

        _, services, _, _ = self._parts()
        flow = Authenticator(services, credential, ask, clock=self._clock)
        self._authenticating = gevent.getcurrent()
        try:
            with gevent.Timeout(timeout_s, exception=False):
                return flow.run(guard_data, resume)
        except SteamUnreachable as broken:
            if flow.session is None:
                raise
            raise AuthInterrupted(flow.session, broken) from broken
        finally:
            self._authenticating = None
        raise flow.out_of_time()

    def log_on(self, account: str, auth: AuthState, timeout_s: float) -> LoggedOn:
        session, _, _, _ = self._parts()
        with gevent.Timeout(timeout_s, exception=False):
            return session.log_on(account, auth)
        raise SteamUnreachable("logon", "no answer in time")

    def renew_token(self, auth: AuthState, timeout_s: float) -> AuthState | None:
        _, services, _, _ = self._parts()
        with gevent.Timeout(timeout_s, exception=False):
            return renew(services, auth)
        raise SteamUnreachable("renewal", "no answer in time")

    def launch(self, timeout_s: float) -> None:
        _, _, gc, _ = self._parts()
        with gevent.Timeout(timeout_s, exception=False):
            gc.launch()
            return
        raise gc.why_not_ready()

    def request_match(self, match_id: int, job: int) -> None:
        if (why := self._why_not()) is not None:
            self._bridge.post(self._owner.matches.refuse, job, why)
        elif self._gc is not None:
            self._gc.request_match(match_id, job)

    def request_card(self, account_id: int, job: int) -> None:
        if (why := self._why_not()) is not None:
            self._bridge.post(self._owner.cards.refuse, job, why)
        elif self._gc is not None:
            self._gc.request_card(account_id, job)

    def request_names(self, steam_ids: tuple[int, ...], job: int) -> None:
        if (why := self._why_not(gc=False)) is not None:
            self._bridge.post(self._owner.names.refuse, job, why)
        elif self._names is not None:
            self._names.request(steam_ids, job)

    def _why_not(self, *, gc: bool = True) -> Exception | None:
        """Say why nothing can be asked of Steam (and the GC) now, if that is so."""
        connection = self._connection
        if connection is None or connection.death is not None or not connection.session_id:
            return SteamUnreachable("session", "there is no session")
        if gc and (self._gc is None or not self._gc.is_ready):
            return GcUnavailable("no session")
        return None

    def probe(self) -> None:
        if self._connection is not None:
            self._connection.probe()

    def die_if_silent_since(self, instant: float) -> None:
        """Raises SteamUnreachable when the connection is dead."""
        _, _, _, connection = self._parts()
        connection.die_if_silent_since(instant)
        if connection.death is not None:
            raise connection.death

    def log_off(self, timeout_s: float) -> None:
        if self._session is not None:
            self._session.log_off(timeout_s)

    def set_fence(self, at: float) -> None:
        """Runs in the hub itself."""
        self._fence_at = at
        if self._connection is None or self._is_closed:
            return
        self._connection.end_at = at + FENCED_S
        if self._guard is None:
            self._guard = gevent.spawn(self._end_at_fence)

    def _end_at_fence(self) -> None:
        """Wait for the fence, and end the session then if the loop does not; see `port.Link.set_fence`.

        The loop's own limit comes first. It fails to keep it when it is blocked, e.g. by a system call:
        then the leases lapse while the heartbeats of this thread would keep the sessions.
        """
        while (left_s := self._fence_at + LOOP_FIRST_S - self._clock.now()) > 0:
            gevent.sleep(min(left_s, LONGEST_LOOK_S))
        session, _, _, connection = self._parts()
        left_s = max(0.0, connection.end_at - self._clock.now())
        connection.ending = SteamUnreachable("session", "the lease was not renewed in time")
        if session.is_logging_off:  # the loop is only slow
            gevent.sleep(left_s)
        else:
            session.log_off(left_s)
        self.close()

    def close(self) -> None:
        """Runs in the hub itself: nothing here waits."""
        self._is_closed = True
        if self._guard is not None:
            self._guard.kill(block=False)
        if self._gc is not None:
            self._gc.close()
        if self._connection is not None:
            self._connection.close()

    def wait_closed(self) -> None:
        if self._connection is not None:
            self._connection.wait_closed()

    def _parts(self) -> tuple[Session, Services, GcSession, Connection]:
        if not (self._session and self._services and self._gc and self._connection):
            raise SteamUnreachable("session", "the link is not open")
        return self._session, self._services, self._gc, self._connection

    def _on_death(self, why: SteamUnreachable) -> None:
        # It may be waiting for a person, or for the time of day.
        if self._authenticating is not None:
            self._authenticating.kill(exception=why, block=False)
        self._post(Dropped(why.reason, why.eresult))

    def _on_gc_lost(self, why: GcUnavailable) -> None:
        self._post(GcLost(why.reason, plays_elsewhere=isinstance(why, PlayingElsewhere)))

    def _post(self, event: LinkEvent) -> None:
        self._bridge.post(self._owner.deliver_event, event)
