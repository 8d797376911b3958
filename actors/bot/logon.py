"""Log-on of a checked-out account with its token or else its password, and refresh of the token.

New auth state is stored in Redis before it is used; while Redis is unavailable the log-on waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Final, NoReturn

from structlog.typing import FilteringBoundLogger

from actors.accounts.auth_state import expires_at, flaw_of
from actors.accounts.formats import steam_name
from actors.accounts.logon_limiter import LogonLimiter, Wait
from actors.accounts.models import Lease
from actors.accounts.store import AccountStore
from actors.bot.eresults import LogonResult, classify_logon
from actors.bot.ports import BotPorts, LogOnTimeouts
from actors.clock import Clock, backoff_s
from actors.errors import AccountError, LogOnRefused, SteamUnreachable, StoreUnavailable
from actors.steam.port import AuthSession, AuthState, GuardCallback, Link, LoggedOn

LONGEST_WAIT_S: Final = 30.0  # before the limiter is asked again
WAIT_JITTER_S: Final = 1.0
STORE_RETRY_S: Final = 1.0  # between two tries while Redis is unavailable
RECORD_RETRY_S: Final = 5.0  # before a log-on is recorded again; doubled each time
LONGEST_RECORD_RETRY_S: Final = 300.0
DAY_S: Final = 86400.0
RENEW_BEFORE_S: Final = 30 * DAY_S  # of the 200 days of a token
RENEWAL_S: Final = 10.0  # for Steam's answer
FINISH_S: Final = 3.0


async def wait_for_turn(
    bot_id: str, ports: BotPorts, on_wait: Callable[[Wait], None], *, with_password: bool
) -> None:
    """Return when a log-on may start; the limiter has counted it then.

    Raises:
        StoreUnavailable, StoreMisused: see `LogonLimiter`.
    """
    while (wait := await ports.limiter.ask(with_password=with_password)) is not None:
        ports.metrics.waited(wait)
        if wait.reason == "rate-limit":
            note_limit(bot_id, ports, wait)
        on_wait(wait)
        # Jitter: bots that wait for the same instant must not ask together.
        pause = min(wait.seconds, LONGEST_WAIT_S) + ports.rng.random() * WAIT_JITTER_S
        await ports.clock.sleep(pause)
    ports.metrics.allowed()


def note_limit(bot_id: str, ports: BotPorts, wait: Wait) -> None:
    """Note that Steam limits the log-ons from this address."""
    now = ports.clock.wall()
    ports.metrics.limited(wait)
    ports.causes.limited(bot_id, wait.address, now + wait.seconds, now)


@contextlib.asynccontextmanager
async def refunded_unless_reached(
    limiter: LogonLimiter, *, with_password: bool
) -> AsyncIterator[None]:
    """Refund a counted log-on when the block fails to reach Steam."""
    try:
        yield
    except SteamUnreachable:
        with contextlib.suppress(StoreUnavailable):  # the lost refund matters for a minute
            await limiter.refund(with_password=with_password)
        raise


async def log_on(
    link: Link,
    lease: Lease,
    auth: AuthState | None,
    store: AccountStore,
    on_guard: GuardCallback,
    *,
    clock: Clock,
    timeouts: LogOnTimeouts,
    resume: AuthSession | None = None,
) -> tuple[LoggedOn, AuthState]:
    """Log on over an open link; return Steam's answer and the auth state that was used.

    A refused token is removed before the refusal is raised: Steam closes the connection after it, and the
    next run uses the password. `resume`: an authentication that began over another connection; see
    `AuthInterrupted`.

    Raises:
        LogOnRefused, NeedsHuman, SteamUnreachable: see `Link`.
        StoreUnavailable, LeaseLost: see `AccountStore`.
    """
    fresh = needs_password(auth)
    if auth is None or fresh:
        credential, guard_data = await store.credential(lease), auth.guard_data if auth else None
        auth = await link.authenticate(
            credential, guard_data, on_guard, timeout_s=timeouts.credentials_s, resume=resume
        )
        await save_auth(store, lease, auth, clock=clock)
    try:
        name = steam_name(lease.account)
        return await link.log_on(name, auth, timeout_s=timeouts.token_s), auth
    except LogOnRefused as refused:
        if classify_logon(refused.eresult, with_password=False) is not LogonResult.TOKEN_DEAD:
            raise
        await store.forget_token(lease)
        if fresh:  # classified as a wrong password, to prevent a loop of password log-ons
            raise LogOnRefused("credentials", refused.eresult) from refused
        raise


def usable_auth(auth: AuthState | None, now: float, log: FilteringBoundLogger) -> AuthState | None:
    """Return `auth`, without its refresh token if Steam would refuse that at `now` (UTC seconds)."""
    if auth is None or not auth.refresh_token or (flaw := flaw_of(auth, now)) is None:
        return auth
    log.info("token_unusable", reason=flaw)
    return AuthState(auth.steam_id, "", auth.guard_data)


def needs_password(auth: AuthState | None) -> bool:
    """Whether a log-on with this auth state needs the password."""
    return auth is None or not auth.refresh_token


async def record_logon(
    ports: BotPorts, lease: Lease, logged_on: LoggedOn, *, log: FilteringBoundLogger
) -> None:
    """Record a log-on in Redis, with retries; the session does not wait for it."""
    for attempt in itertools.count(1):
        try:
            await ports.limiter.succeeded(logged_on.public_ip)
            await ports.store.note_logon(lease)
        except AccountError as error:
            log.debug("logon_not_stored", reason=str(error))
        else:
            return
        pause_s = backoff_s(attempt, base=RECORD_RETRY_S, cap=LONGEST_RECORD_RETRY_S)
        await ports.clock.sleep(pause_s)


async def save_auth(store: AccountStore, lease: Lease, auth: AuthState, *, clock: Clock) -> None:
    """Store new auth state; retry for as long as Redis is unavailable. Raises LeaseLost."""
    while True:
        try:
            return await store.save_auth(lease, auth)
        except StoreUnavailable:
            await clock.sleep(STORE_RETRY_S)


class TokenRefresher:
    """Requests a newer refresh token once a day, from 30 days before the end of the present one.

    Steam decides when it issues one, and the old token is invalid from that moment. A renewal in progress
    is therefore completed even when the run ends.
    """

    def __init__(
        self,
        ports: BotPorts,
        link: Link,
        lease: Lease,
        auth: AuthState,
        *,
        log: FilteringBoundLogger,
    ) -> None:
        self._ports = ports
        self._link = link
        self._lease = lease
        self._auth = auth
        self._log = log
        self._renewing: asyncio.Task[None] | None = None

    async def run(self) -> NoReturn:
        """Refresh until cancelled; then `finish` completes a renewal in progress."""
        ports = self._ports
        while True:
            expires = expires_at(self._auth.refresh_token)
            if expires is not None and expires - ports.steam_time.wall() < RENEW_BEFORE_S:
                self._renewing = asyncio.create_task(self._renew(), name="token-renewal")
                await asyncio.shield(self._renewing)
            # Jitter: accounts that were added together are spread over the day.
            await ports.clock.sleep(DAY_S * (0.9 + 0.2 * ports.rng.random()))

    async def finish(self, within_s: float = FINISH_S) -> None:
        """Wait for a renewal in progress, at most `within_s`; call it before the link closes."""
        renewing = self._renewing
        if renewing is None or renewing.done():
            return
        clock = self._ports.clock
        alarm = clock.call_at(clock.now() + within_s, renewing.cancel)
        await asyncio.wait({renewing})
        alarm.cancel()

    async def _renew(self) -> None:
        try:
            newer = await self._link.renew_token(self._auth, timeout_s=RENEWAL_S)
            if newer is None:
                return
            self._auth = newer
            await save_auth(self._ports.store, self._lease, newer, clock=self._ports.clock)
        except (LogOnRefused, SteamUnreachable, AccountError) as error:
            self._log.warning("token_not_renewed", reason=str(error))
        else:
            self._log.info("token_renewed")
