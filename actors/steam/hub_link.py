"""Hub side of a link: one connection with its Steam session and GC session.

Every public method runs in a greenlet of its own, except the ones that say "does not wait": those run
in the hub itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import gevent
from structlog.typing import FilteringBoundLogger

from actors.errors import GcUnavailable, SteamUnreachable
from actors.steam.auth import Authenticator
from actors.steam.bridge import Bridge
from actors.steam.connection import Connection, Services
from actors.steam.gc import GcSession, NameHistories, WaitingSessions
from actors.steam.pending import Inbox, PendingRequests
from actors.steam.port import (
    FENCED_S,
    AuthInterrupted,
    AuthSession,
    AuthState,
    Credential,
    Dropped,
    GuardCallback,
    GuardRequest,
    LoggedOn,
    Server,
    TransportKind,
)
from actors.steam.session import Session, renew
from actors.steam.steam_time import SteamTime
from actors.steam.transport.base import Transport
from actors.steam.transport.tcp import TcpTransport
from actors.steam.transport.trust import Trust
from actors.steam.transport.websocket import WebSocketTransport

# Seconds after the fence that the log-off is left to the event loop, which also reports its outcome.
LOOP_FIRST_S: Final = 1.0
# Longest sleep before the clock is read again: unlike gevent's timers it runs while the machine sleeps.
LONGEST_SLEEP_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class _Parts:
    """What an open link consists of."""

    connection: Connection
    session: Session
    services: Services
    gc: GcSession
    names: NameHistories


class HubLink:
    """Used in the hub's thread only; posts answers and events to `inbox` on the loop."""

    def __init__(
        self,
        inbox: Inbox,
        bridge: Bridge,
        *,
        waiting: WaitingSessions,
        clock: SteamTime,
        log: FilteringBoundLogger,
        public_ips: dict[str, str],
    ) -> None:
        """`waiting`: GC sessions of all links of the hub; `public_ips`: see `Session`."""
        self._inbox = inbox
        self._bridge = bridge
        self._waiting = waiting
        self._clock = clock
        self._log = log
        self._public_ips = public_ips
        self._parts: _Parts | None = None
        self._authenticating: Any = None  # the greenlet that runs the credential flow
        self._fence_at = math.inf
        self._guard: Any = None  # the greenlet that ends the session at the fence
        self._is_closed = False

    def open(self, server: Server, trust: Trust, timeout_s: float) -> None:
        """Connect and say hello. Raises SteamUnreachable with phase ``"connect"``."""
        transport = _connect(server, trust, timeout_s)
        connection = Connection(transport, self._on_death, clock=self._clock, log=self._log)
        gc = GcSession(
            connection,
            self._inbox,
            self._bridge,
            waiting=self._waiting,
            clock=self._clock,
            log=self._log,
        )
        self._parts = _Parts(
            connection,
            Session(connection, self._clock, self._public_ips),
            Services(connection),
            gc,
            NameHistories(connection, self._inbox, self._bridge),
        )
        self._parts.session.hello()

    def authenticate(
        self,
        credential: Credential,
        guard_data: str | None,
        on_guard: GuardCallback,
        timeout_s: float,
        resume: AuthSession | None,
    ) -> AuthState:
        """See `port.Link`."""

        def ask(request: GuardRequest) -> str | None:
            return self._bridge.ask_loop(on_guard, request)

        flow = Authenticator(self._opened().services, credential, ask, clock=self._clock)
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
        """See `port.Link`."""
        with gevent.Timeout(timeout_s, exception=False):
            return self._opened().session.log_on(account, auth)
        raise SteamUnreachable("logon", "no answer in time")

    def renew_token(self, auth: AuthState, timeout_s: float) -> AuthState | None:
        """See `port.Link`."""
        with gevent.Timeout(timeout_s, exception=False):
            return renew(self._opened().services, auth)
        raise SteamUnreachable("renewal", "no answer in time")

    def launch(self, timeout_s: float) -> None:
        """See `port.Link`."""
        gc = self._opened().gc
        with gevent.Timeout(timeout_s, exception=False):
            gc.launch()
            return
        raise gc.why_not_ready()

    def request_match(self, match_id: int, job: int) -> None:
        """Send a request or fail it; does not wait."""
        if (parts := self._ready_for(self._inbox.matches, job)) is not None:
            parts.gc.request_match(match_id, job)

    def request_card(self, account_id: int, job: int) -> None:
        """Send a request or fail it; does not wait."""
        if (parts := self._ready_for(self._inbox.cards, job)) is not None:
            parts.gc.request_card(account_id, job)

    def request_names(self, steam_ids: tuple[int, ...], job: int) -> None:
        """Send a request or fail it; does not wait."""
        if (parts := self._ready_for(self._inbox.names, job, needs_gc=False)) is not None:
            parts.names.request(steam_ids, job)

    def _ready_for(
        self, requests: PendingRequests, job: int, *, needs_gc: bool = True
    ) -> _Parts | None:
        """Return the parts of a link with a session; without one, fail the request."""
        parts = self._parts
        if parts is None or parts.connection.death is not None or not parts.connection.session_id:
            no_session = SteamUnreachable("session", "there is no session")
            self._bridge.post(requests.fail, job, no_session)
        elif needs_gc and not parts.gc.is_ready:
            self._bridge.post(requests.fail, job, GcUnavailable("no session"))
        else:
            return parts
        return None

    def probe(self) -> None:
        """Make the server send something; does not wait."""
        if self._parts is not None:
            self._parts.connection.probe()

    def die_if_silent_since(self, instant: float) -> None:
        """Raise SteamUnreachable when the connection is dead."""
        connection = self._opened().connection
        connection.die_if_silent_since(instant)
        if connection.death is not None:
            raise connection.death

    def log_off(self, timeout_s: float) -> None:
        """See `port.Link`."""
        if self._parts is not None:
            self._parts.session.log_off(timeout_s)

    def set_fence(self, at: float) -> None:
        """See `port.Link`; does not wait."""
        self._fence_at = at
        if self._parts is None or self._is_closed:
            return
        self._parts.connection.end_at = at + FENCED_S
        if self._guard is None:
            self._guard = gevent.spawn(self._end_at_fence)

    def _end_at_fence(self) -> None:
        """Wait for the fence and end the session if the loop has not done so.

        The loop's own limit comes first. A blocked loop misses it; without this guard the lease would
        lapse while the heartbeats of this thread keep the session alive.
        """
        while (left_s := self._fence_at + LOOP_FIRST_S - self._clock.now()) > 0:
            gevent.sleep(min(left_s, LONGEST_SLEEP_S))
        parts = self._opened()
        left_s = max(0.0, parts.connection.end_at - self._clock.now())
        parts.connection.ending = SteamUnreachable("session", "the lease was not renewed in time")
        if parts.session.is_logging_off:  # the loop is only slow
            gevent.sleep(left_s)
        else:
            parts.session.log_off(left_s)
        self.close()

    def close(self) -> None:
        """Close the socket and end every greenlet; does not wait."""
        self._is_closed = True
        if self._guard is not None:
            self._guard.kill(block=False)
        if self._parts is not None:
            self._parts.gc.close()
            self._parts.connection.close()

    def wait_closed(self) -> None:
        """Wait until the greenlets of the connection have ended."""
        if self._parts is not None:
            self._parts.connection.wait_closed()

    def _opened(self) -> _Parts:
        if self._parts is None:
            raise SteamUnreachable("session", "the link is not open")
        return self._parts

    def _on_death(self, why: SteamUnreachable) -> None:
        # The credential flow may be waiting for a person or for the next TOTP code.
        if self._authenticating is not None:
            self._authenticating.kill(exception=why, block=False)
        self._bridge.post(self._inbox.on_event, Dropped(why.reason, why.eresult))


def _connect(server: Server, trust: Trust, timeout_s: float) -> Transport:
    kind = WebSocketTransport if server.transport is TransportKind.WEBSOCKET else TcpTransport
    with gevent.Timeout(timeout_s, exception=False):
        try:
            return kind(server, trust)
        except (OSError, ValueError) as error:  # ValueError: ParseError, or an invalid host name
            raise SteamUnreachable("connect", f"{server.endpoint}: {error}") from None
    raise SteamUnreachable("connect", f"{server.endpoint}: no answer in time")
