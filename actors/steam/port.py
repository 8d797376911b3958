"""The small interface through which a bot sees Steam; no gevent in sight.

A bot opens one `Link` per connection attempt, logs on, launches Dota 2, asks for matches, logs off
and closes. The real implementation is `actors.steam.network.SteamNetwork`; unit tests bring a fake.
Everything here is called on the asyncio loop; only frozen values and bytes cross to the hub.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from actors.errors import SteamUnreachable


class Transport(enum.StrEnum):
    """How a CM is spoken to; the values are the directory's `type` (steam-protocol, section 1.1)."""

    WEBSOCKET = "websockets"
    TCP = "netfilter"


@dataclass(frozen=True, slots=True)
class Server:
    """One connection manager (CM), already resolved.

    `address` is a numeric IP (DNS never happens in the hub) and `others` are the further ones of the same
    name, tried in order when it does not accept; `host` is used for TLS and the WebSocket upgrade;
    `endpoint` is what the directory called it, e.g. ``cmp1-sgp1.steamserver.net:443``.
    """

    endpoint: str
    host: str
    address: str
    port: int
    transport: Transport
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Credential:
    """What a person knows about an account. Never logged: the repr hides the secrets."""

    account: str
    password: str = field(repr=False)
    shared_secret: str | None = field(default=None, repr=False)  # base64, for TOTP codes


@dataclass(frozen=True, slots=True)
class AuthState:
    """What Steam gave us to log on with again (steam-protocol, sections 3.4 and 4)."""

    steam_id: int
    refresh_token: str = field(repr=False)
    guard_data: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class LoggedOn:
    """A logon that Steam accepted."""

    steam_id: int
    public_ip: str | None  # our egress IP as Steam sees it; None where the answer does not say
    cell_id: int
    heartbeat_s: float
    egress_ip: str  # whose budget is charged: `public_ip`, or what stands for it (see `Session`)


@dataclass(frozen=True, slots=True)
class AuthSession:
    """An authentication that Steam has begun and not decided; usable over any connection.

    `confirmations`: what Steam accepts as a second proof, as (EAuthSessionGuardType, hint), see section
    3.3 of steam-protocol. `attempt`: number of the next code that a person gives.
    """

    client_id: int  # changes now and then
    request_id: bytes = field(repr=False)
    steam_id: int
    interval_s: float  # between two polls
    confirmations: tuple[tuple[int, str], ...]
    attempt: int = 1


class AuthInterrupted(SteamUnreachable):
    """The connection broke during an authentication, which `session` continues over another one."""

    def __init__(self, session: AuthSession, broken: SteamUnreachable) -> None:
        super().__init__(broken.phase, broken.reason, broken.eresult)
        self.session = session


class GuardKind(enum.StrEnum):
    """Which Steam Guard code is wanted."""

    EMAIL = "email"
    DEVICE = "device"


@dataclass(frozen=True, slots=True)
class GuardRequest:
    """Steam wants a code that only a person (or the mailbox) knows."""

    account: str
    kind: GuardKind
    hint: str  # e.g. the mail domain
    attempt: int  # 1 for the first; larger when the code before was wrong
    is_renewed: bool = (
        False  # the code that was wanted before has expired, and Steam has sent a new one
    )


# Returns the code, or None when no code is available (the logon then ends with NeedsHuman).
GuardCallback = Callable[[GuardRequest], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class Dropped:
    """The connection is gone, for whatever reason; the link is dead and only `close` is left.

    `eresult` is what ClientLoggedOff said, or None when the socket just went away.
    """

    reason: str
    eresult: int | None = None


@dataclass(frozen=True, slots=True)
class GcLost:
    """The GC session is gone while Steam is still there; the link tries to get it back by itself.

    `plays_elsewhere`: another session of the account plays; as long as it does there is no GC session.
    """

    reason: str
    plays_elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class GcReady:
    """The GC (again) welcomed us: match details can be asked for."""


LinkEvent = Dropped | GcLost | GcReady
LinkListener = Callable[[LinkEvent], None]  # called on the asyncio loop, in order


# How long after its fence a session may still log off. Shorter than what is left of the lease then.
FENCED_S: Final = 4.0


class Link(Protocol):
    """One connection to Steam for one account.

    Every method raises `SteamUnreachable` when the connection breaks or the time is over.
    Cancelling the await stops the work on the other side of the border too.
    """

    def set_fence(self, at: float) -> None:
        """Let the session end at the instant `at` (clock seconds), unless a later call moves that.

        The link keeps to it by itself, also while the event loop is blocked: it logs off shortly after
        `at` if nothing else has, and from `FENCED_S` after `at` it sends nothing more.
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

        While `on_guard` is awaited Steam is polled: an approval elsewhere ends the wait.

        Args:
            credential: name, password and, where there is one, the shared secret.
            guard_data: what Steam gave for this machine before, if anything.
            on_guard: asked for a code that is not made here.
            timeout_s: for all of it, a person included.
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
        """Ask for a refresh token newer than the one this session was opened with.

        Returns None when Steam keeps the old one. Otherwise the old one is dead already: what is returned
        must not be lost.

        Raises:
            LogOnRefused: with phase ``"renewal"``; the session goes on.
        """

    async def launch(self, *, timeout_s: float) -> None:
        """Play Dota 2 and say hello until the GC welcomes us.

        Raises:
            GcUnavailable: no welcome in time, or playing is blocked by another session.
        """

    async def request_match(self, match_id: int, *, timeout_s: float, late_s: float = 0.0) -> bytes:
        """Return the body of CMsgGCMatchDetailsResponse exactly as the GC sent it.

        Args:
            match_id: the match.
            timeout_s: when the connection is checked. Where there was time enough to probe (a second),
                it is known to be alive after that; a dead one is SteamUnreachable.
            late_s: for how much longer an answer is accepted; inf: as long as the GC session lives.

        Raises:
            TimeoutError: no answer came in all that time, or too many younger requests wait.
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
        """Say goodbye and wait for Steam to close; never raises for a dead connection."""

    async def close(self) -> None:
        """Close the socket and end every greenlet of this link. Harmless when repeated."""


class Steam(Protocol):
    """Opens links. Owned by the tree, used by every bot."""

    async def open(self, server: Server, listener: LinkListener, *, timeout_s: float) -> Link:
        """Connect to `server` (transport, TLS or channel encryption, ClientHello).

        Raises:
            SteamUnreachable: with phase ``"connect"``.
        """


class Directory(Protocol):
    """Knows the CMs. Owned by the tree, used by every bot."""

    async def pick(self) -> Server:
        """Return a CM to try next.

        Raises:
            SteamUnreachable: with phase ``"directory"``; no list could ever be had.
        """

    def mark_bad(self, server: Server) -> None:
        """Avoid `server` for a while (2 min), unless all are bad."""
