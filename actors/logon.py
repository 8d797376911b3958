"""From a checked-out account to a logged-on session, and back: token first, password if it must be.

Knows the order of things (what is stored before what is used) and nothing of the wire. New auth
state is in Redis, acknowledged, before it is relied on; while Redis is away it is held and retried.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from structlog.typing import FilteringBoundLogger

from actors.accounts.lease import Lease
from actors.accounts.names import steam_name
from actors.accounts.refresh_token import flaw_of
from actors.clock import Clock
from actors.errors import AccountError, LogOnRefused, StoreUnavailable
from actors.steam.port import (
    AuthSession,
    AuthState,
    Credential,
    GuardCallback,
    Link,
    LoggedOn,
)
from actors.verdicts import Verdict, verdict_on_token

STORE_RETRY_S: Final = 1.0  # between two tries to store while Redis is away
NOTE_AGAIN_S: Final = 5.0  # between two tries to note a log-on; twice as long each time
LONGEST_NOTE_PAUSE_S: Final = 300.0


class KeepsAuth(Protocol):
    """What the logon needs of the store; every call is fenced by the lease."""

    async def credential(self, lease: Lease) -> Credential:
        """Return the password and, where there is one, the shared secret."""

    async def load_auth(self, lease: Lease) -> AuthState | None:
        """Return what Steam gave us last time, if anything."""

    async def save_auth(self, lease: Lease, auth: AuthState) -> None:
        """Return only after Redis acknowledged."""

    async def forget_token(self, lease: Lease) -> None:
        """Drop the refresh token, keep the guard data."""

    async def note_logon(self, lease: Lease) -> None:
        """Remember when the account was logged on last, and that it works."""


@dataclass(frozen=True, slots=True)
class LogOnTimeouts:
    """Seconds for each part; the credential flow may wait for a TOTP window (30 s)."""

    token_s: float = 10.0
    credentials_s: float = 60.0


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
            if verdict_on_token(refused.eresult) is not Verdict.TOKEN_DEAD:
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
