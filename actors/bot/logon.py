"""Log-on of a checked-out account: waits for its turn, token first, then password.

Knows the order of things (what is stored before what is used) and nothing of the wire. New auth
state is in Redis, acknowledged, before it is relied on; while Redis is away it is held and retried.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final, Protocol

from structlog.typing import FilteringBoundLogger

from actors.accounts.auth_state import flaw_of
from actors.accounts.logon_limiter import Wait
from actors.accounts.models import Lease
from actors.accounts.names import steam_name
from actors.bot.eresults import LogonResult, verdict_on_token
from actors.bot.ports import BotPorts, KeepsAuth, Limiter, LogOnTimeouts
from actors.clock import Clock
from actors.errors import AccountError, LogOnRefused, SteamUnreachable, StoreUnavailable
from actors.steam.port import (
    AuthSession,
    AuthState,
    GuardCallback,
    Link,
    LinkListener,
    LoggedOn,
    Server,
)

LONGEST_TURN_S: Final = 30.0  # between two looks whether a log-on may start
TURN_JITTER_S: Final = 1.0


class LogOnTurn:
    """One turn of one bot: `wait` for it, then `pick` a CM and `open` a connection to it."""

    def __init__(self, bot_id: str, ports: BotPorts, *, with_password: bool) -> None:
        self._bot_id = bot_id
        self._ports = ports
        self._with_password = with_password

    async def wait(self, tell: Callable[[Wait], None]) -> None:
        """Return when a log-on may start; it is counted then. `tell` hears of each wait.

        Raises:
            StoreUnavailable, StoreMisused: see `redis.errors.translated`.
        """
        ports = self._ports
        while (wait := await ports.pacing.ask(with_password=self._with_password)) is not None:
            if wait.reason == "rate-limit":
                note_limit(self._bot_id, ports, wait)
            tell(wait)
            # Jitter: those who wait for the same moment must not ask in the same moment.
            pause = min(wait.seconds, LONGEST_TURN_S) + ports.rng.random() * TURN_JITTER_S
            await ports.clock.sleep(pause)

    async def pick(self) -> Server:
        """Return a CM; see `Directory`."""
        async with refunded_unless_reached(self._ports.pacing, with_password=self._with_password):
            return await self._ports.directory.pick()

    async def open(self, server: Server, listener: LinkListener, *, timeout_s: float) -> Link:
        """Return an open link; see `Steam`."""
        async with refunded_unless_reached(self._ports.pacing, with_password=self._with_password):
            return await self._ports.steam.open(server, listener, timeout_s=timeout_s)


def note_limit(bot_id: str, ports: BotPorts, wait: Wait) -> None:
    """Note that a bot may not log on, as Steam limits log-ons from its address."""
    now = ports.clock.wall()
    ports.causes.limited(bot_id, wait.address, now + wait.seconds, now)


@contextlib.asynccontextmanager
async def refunded_unless_reached(pacing: Limiter, *, with_password: bool) -> AsyncIterator[None]:
    """Return a turn when the block, which connects to Steam, fails: no log-on was tried."""
    try:
        yield
    except SteamUnreachable:
        with contextlib.suppress(StoreUnavailable):  # then it counts for nothing, for a while
            await pacing.refund(with_password=with_password)
        raise


STORE_RETRY_S: Final = 1.0  # between two tries to store while Redis is away
NOTE_AGAIN_S: Final = 5.0  # between two tries to note a log-on; twice as long each time
LONGEST_NOTE_PAUSE_S: Final = 300.0


class GivesBack(Protocol):
    """The one thing `give_back` needs of the store."""

    async def release(self, lease: Lease) -> None:
        """Return only after Redis acknowledged, also of what was still to be stored."""


class NotesSuccess(Protocol):
    """The one thing `note` needs of the pacing."""

    async def succeeded(self, ip: str | None) -> None:
        """Steam let us in, and said which IP we come from."""


class LogOn:
    """Logs accounts on over links that the caller has opened."""

    def __init__(
        self,
        store: KeepsAuth,
        on_guard: GuardCallback,
        *,
        clock: Clock,
        timeouts: LogOnTimeouts,
    ) -> None:
        self._store = store
        self._on_guard = on_guard
        self._clock = clock
        self._timeouts = timeouts

    async def run(
        self,
        link: Link,
        lease: Lease,
        auth: AuthState | None,
        *,
        resume: AuthSession | None = None,
    ) -> tuple[LoggedOn, AuthState]:
        """Log on with what is stored, `auth`; return what Steam said, and what it was shown.

        `resume`: an authentication that began over another connection, see `AuthInterrupted`.

        A refused token is forgotten before the refusal is raised: Steam closes the connection after
        it, and the next run finds no token and takes the password.

        Raises:
            LogOnRefused, NeedsHuman, SteamUnreachable: see `Link`.
            StoreUnavailable, LeaseLost: see the store.
        """
        fresh = needs_password(auth)
        if auth is None or fresh:
            guard_data = auth.guard_data if auth else None
            auth = await self._with_password(link, lease, guard_data, resume)
        try:
            return await link.log_on(
                steam_name(lease.account), auth, timeout_s=self._timeouts.token_s
            ), auth
        except LogOnRefused as refused:
            if verdict_on_token(refused.eresult) is not LogonResult.TOKEN_DEAD:
                raise
            await self._store.forget_token(lease)
            if fresh:  # not a loop of password logons: judged as a password that does not work
                raise LogOnRefused("credentials", refused.eresult) from refused
            raise

    async def _with_password(
        self, link: Link, lease: Lease, guard_data: str | None, resume: AuthSession | None
    ) -> AuthState:
        credential = await self._store.credential(lease)
        auth = await link.authenticate(
            credential,
            guard_data,
            self._on_guard,
            timeout_s=self._timeouts.credentials_s,
            resume=resume,
        )
        await self.store(lease, auth)
        return auth

    async def note(
        self, lease: Lease, logged_on: LoggedOn, pacing: NotesSuccess, *, log: FilteringBoundLogger
    ) -> None:
        """Tell Redis of a log-on, again until it takes it; the session does not wait for that."""
        pause_s = NOTE_AGAIN_S
        while True:
            try:
                await pacing.succeeded(logged_on.public_ip)
                return await self._store.note_logon(lease)
            except AccountError as error:
                log.debug("logon_not_noted", reason=str(error))
            await self._clock.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_NOTE_PAUSE_S)

    async def store(self, lease: Lease, auth: AuthState) -> None:
        """Return when new auth state is stored for good, however long Redis is away.

        Raises:
            LeaseLost: another holder has the account by now.
        """
        while True:
            try:
                await self._store.save_auth(lease, auth)
            except StoreUnavailable:
                await self._clock.sleep(STORE_RETRY_S)
            else:
                return


def usable_auth(auth: AuthState | None, now: float, log: FilteringBoundLogger) -> AuthState | None:
    """Return `auth` without a refresh token that Steam would refuse at `now` (UTC seconds)."""
    if auth is None or not auth.refresh_token or (flaw := flaw_of(auth, now)) is None:
        return auth
    log.info("token_unusable", reason=flaw)
    return AuthState(auth.steam_id, "", auth.guard_data)


def needs_password(auth: AuthState | None) -> bool:
    """Whether what is stored is not enough to log on with."""
    return auth is None or not auth.refresh_token


async def give_back(store: GivesBack, lease: Lease, *, for_s: float, clock: Clock) -> None:
    """Release `lease`; while Redis is away, try again until `for_s` seconds have passed.

    Raises:
        StoreUnavailable: it did not come back in that time.
    """
    until = clock.now() + for_s
    while True:
        try:
            return await store.release(lease)
        except StoreUnavailable:
            if clock.now() + STORE_RETRY_S > until:
                raise
        await clock.sleep(STORE_RETRY_S)
