"""Interface between bots and Steam: the `Link` protocol and its values, without gevent.

A bot opens one link per run, logs on, launches Dota 2, requests matches, logs off and closes. Links are
used on the asyncio loop; only frozen values and bytes cross to the hub.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from actors.errors import SteamUnreachable


class TransportKind(enum.StrEnum):
    """Transport to a CM; the values are the directory's `type` (steam-protocol, section 1.1)."""

    WEBSOCKET = "websockets"
    TCP = "netfilter"


@dataclass(frozen=True, slots=True)
class Server:
    """One connection manager (CM), resolved: the hub does no DNS.

    Attributes:
        endpoint: as the directory has it, e.g. ``cmp1-sgp1.steamserver.net:443``.
        host: for TLS and the WebSocket upgrade.
        address: numeric IP.
        others: further addresses of the same name, tried in order.
    """

    endpoint: str
    host: str
    address: str
    port: int
    transport: TransportKind
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Credential:
    """Name and secrets of an account; the repr hides the secrets."""

    account: str
    password: str = field(repr=False)
    shared_secret: str | None = field(default=None, repr=False)  # base64, for TOTP codes


@dataclass(frozen=True, slots=True)
class AuthState:
    """What Steam issued for the next log-on (steam-protocol, sections 3.4 and 4)."""

    steam_id: int
    refresh_token: str = field(repr=False)
    guard_data: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class LoggedOn:
    """An accepted log-on."""

    steam_id: int
    public_ip: str | None  # the egress IP as Steam sees it; None where the answer lacks it
    cell_id: int
    heartbeat_s: float
    egress_ip: str  # the IP whose budget is charged: `public_ip`, or its substitute (see `Session`)


@dataclass(frozen=True, slots=True)
class AuthSession:
    """An authentication in progress, which can continue over any connection.

    Attributes:
        interval_s: seconds between two polls.
        confirmations: accepted kinds of Steam Guard confirmation, as (EAuthSessionGuardType, hint); see
            steam-protocol, section 3.3.
        attempt: number of the next code that a person enters.
    """

    client_id: int  # may change with a poll
    request_id: bytes = field(repr=False)
    steam_id: int
    interval_s: float
    confirmations: tuple[tuple[int, str], ...]
    attempt: int = 1


class AuthInterrupted(SteamUnreachable):
    """The connection broke during an authentication; `session` continues it over another one."""

    def __init__(self, session: AuthSession, broken: SteamUnreachable) -> None:
        super().__init__(broken.phase, broken.reason, broken.eresult)
        self.session = session


class GuardKind(enum.StrEnum):
    """Kind of a Steam Guard code."""

    EMAIL = "email"
    DEVICE = "device"


@dataclass(frozen=True, slots=True)
class GuardRequest:
    """Request for a Steam Guard code that a person has to enter."""

    account: str
    kind: GuardKind
    hint: str  # e.g. the mail domain
    attempt: int  # 1 for the first; larger when the code before was wrong
    is_renewed: bool = False  # the code requested before has expired, and Steam has sent a new one


# Returns the code, or None when there is none: the log-on then ends with NeedsHuman.
GuardCallback = Callable[[GuardRequest], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class Dropped:
    """The connection is gone; the link can only be closed.

    `eresult`: of ClientLoggedOff; None when the socket closed without it.
    """

    reason: str
    eresult: int | None = None


@dataclass(frozen=True, slots=True)
class GcLost:
    """The GC session is gone while the Steam session lasts; the link tries to restore it by itself.

    `plays_elsewhere`: another session of the account plays, which excludes a GC session.
    """

    reason: str
    plays_elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class GcReady:
    """The GC has welcomed the session: it accepts requests."""


LinkEvent = Dropped | GcLost | GcReady
LinkListener = Callable[[LinkEvent], None]  # called on the asyncio loop, in order


# Seconds after its fence in which a session may still log off; shorter than the rest of the lease.
FENCED_S: Final = 4.0


class Link(Protocol):
    """One connection to Steam for one account.

    Every method raises `SteamUnreachable` when the connection breaks or the time is over. Cancelling
    the await also stops the work in the hub.
    """

    def set_fence(self, at: float) -> None:
        """End the session at the instant `at` (clock seconds), unless a later call moves it.

        The hub enforces this even while the event loop is blocked: it logs off shortly after `at` if the
        loop has not, and sends nothing from `FENCED_S` after `at`.
        """

    async def authenticate(
        self,
        credential: Credential,
        guard_data: str | None,
        on_guard: GuardCallback,
        *,
        timeout_s: float,
        resume: AuthSession | None = None,
    ) -> AuthState:
        """Run the credential flow and return a fresh refresh token.

        While `on_guard` is awaited Steam is polled; an approval elsewhere ends the wait.

        Args:
            credential: name, password and, where there is one, the shared secret.
            guard_data: issued by Steam for this machine earlier, if any.
            on_guard: called for a code that the shared secret does not give.
            timeout_s: for the whole flow, including the wait for a person.
            resume: an authentication that began over another connection; None begins one.

        Raises:
            LogOnRefused: with phase ``"credentials"``.
            NeedsHuman: a code is needed and `on_guard` returned None, or the time is over.
            AuthInterrupted: the connection broke after the authentication had begun.
        """

    async def log_on(self, account: str, auth: AuthState, *, timeout_s: float) -> LoggedOn:
        """Log on with a refresh token.

        Raises:
            LogOnRefused: with phase ``"logon"``.
        """

    async def renew_token(self, auth: AuthState, *, timeout_s: float) -> AuthState | None:
        """Request a newer refresh token; return None while Steam keeps the old one.

        A new token invalidates the old one at once, so the result must not be lost.

        Raises:
            LogOnRefused: with phase ``"renewal"``; the session continues.
        """

    async def launch(self, *, timeout_s: float) -> None:
        """Play Dota 2 and say hello until the GC welcomes the session.

        Raises:
            GcUnavailable: no welcome in time, or playing is blocked by another session.
        """

    async def request_match(self, match_id: int, *, timeout_s: float, late_s: float = 0.0) -> bytes:
        """Return the body of CMsgGCMatchDetailsResponse exactly as the GC sent it.

        Args:
            match_id: the match.
            timeout_s: after which the connection is checked with a probe (if it is a second or more); a
                dead connection raises SteamUnreachable.
            late_s: for how much longer an answer is accepted; inf: as long as the GC session lasts.

        Raises:
            TimeoutError: no answer in all that time, or too many younger requests are pending.
            GcUnavailable: the GC session ended while waiting.
        """

    async def request_profile(self, account_id: int, *, timeout_s: float) -> bytes:
        """Return the body of CMsgDOTAProfileCard exactly as the GC sent it.

        Raises:
            TimeoutError: no answer for `timeout_s`.
            GcUnavailable: the GC session ended while waiting.
        """

    async def request_aliases(self, steam_ids: tuple[int, ...], *, timeout_s: float) -> bytes:
        """Return the body of CMsgClientAMGetPersonaNameHistoryResponse exactly as Steam sent it.

        Raises:
            TimeoutError: no answer for `timeout_s`.
        """

    async def log_off(self, *, timeout_s: float) -> None:
        """Log off and wait for Steam to close; never raises for a dead connection."""

    async def close(self) -> None:
        """Close the socket and end every greenlet of this link. Harmless when repeated."""
