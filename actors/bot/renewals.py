"""Keeps the lease and the refresh token valid while a bot uses an account.

Renews every third of the lease. The end of the lease counts from *before* the last successful call was
sent, on the monotonic clock of this process, so that it never lies later than the end in Redis. The
keeper stops a margin before that end, which leaves time to log off while the lease still holds.

A sign that Redis may have lost leases (see `LeaseChecks.ask`) makes every keeper of the process renew
at once.

Steam decides when it hands out a newer one (somewhere near the end of a token's 200 days), so it is
asked once a day from 30 days before the end. From the moment it does, the old token is dead, and so a
renewal that has begun is seen to its end, whatever else ends meanwhile.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn, Protocol

from structlog.typing import FilteringBoundLogger

from actors.accounts.auth_state import expires_at
from actors.accounts.models import Lease
from actors.clock import Clock
from actors.errors import AccountError, LeaseLost, LogOnRefused, SteamUnreachable
from actors.steam.port import AuthState

RETRY_S: Final = 1.0  # between two tries while Redis is away, and between two checks
QUIET_S: Final = 10.0  # signs that follow one another sooner have one cause, which is logged once


class RenewsLeases(Protocol):
    """The one thing the keeper needs of the store."""

    async def renew(self, lease: Lease) -> bool:
        """Return whether the lease had lapsed or was lost. Raises LeaseLost or StoreUnavailable."""


class LeaseChecks:
    """Makes all lease keepers of a process renew at once. One per process, on its loop."""

    def __init__(self, *, clock: Clock, log: FilteringBoundLogger) -> None:
        self.count = 0
        self._clock = clock
        self._log = log.bind(actor="leases")
        self._waiting: set[asyncio.Event] = set()
        self._asked_at: float | None = None

    def ask(self, reason: str, *, is_loss: bool = True) -> None:
        """Let every keeper renew now: Redis may have lost a lease, or its clock may have stepped.

        `is_loss`: a lease was found lost, and not only a connection, which is no news.
        """
        if is_loss:
            now = self._clock.now()
            is_news = self._asked_at is None or now - self._asked_at >= QUIET_S
            if is_news and self._waiting:
                self._log.warning("leases_checked", reason=reason)
            self._asked_at = now
        else:
            self._log.debug("leases_checked", reason=reason)
        self.count += 1
        for event in self._waiting:
            event.set()

    async def wait(self, seen: int, until: float) -> None:
        """Return at `until` (clock seconds), or as soon as `count` is not `seen` any more."""
        if self.count != seen:
            return
        event = asyncio.Event()
        alarm = self._clock.call_at(until, event.set)
        self._waiting.add(event)
        try:
            await event.wait()
        finally:
            alarm.cancel()
            self._waiting.discard(event)


class Fenced(Protocol):
    """What must not use the account without the lease: a `Link`."""

    def set_fence(self, at: float) -> None:
        """End at the instant `at` (clock seconds), unless a later call moves that."""


class LeaseRenewer:
    """Renews `lease` until cancelled; `keep` ends only by LeaseLost."""

    def __init__(
        self,
        store: RenewsLeases,
        lease: Lease,
        *,
        asked_at: float,
        lease_s: float,
        margin_s: float,
        clock: Clock,
        checks: LeaseChecks,
    ) -> None:
        """Begin with a fresh lease.

        `asked_at`: clock seconds just before the checkout was sent to Redis; `margin_s`: how long before
        the lease's end to give up, which is the time to log off in.
        """
        self._store = store
        self._lease = lease
        self._lease_s = lease_s
        self._margin_s = margin_s
        self._clock = clock
        self._checks = checks
        self._checks_seen = checks.count
        self._checked_at: float | None = None
        self._fence_at = asked_at + lease_s - margin_s
        self._fenced: Fenced | None = None

    @property
    def lease(self) -> Lease:
        """The lease that is kept."""
        return self._lease

    def fence(self, fenced: Fenced) -> None:
        """Tell `fenced` from now on until when the lease allows its use.

        So it can leave by itself when this keeper does not run in time, e.g. in a blocked event loop.
        """
        self._fenced = fenced
        fenced.set_fence(self._fence_at)

    @property
    def fence_at(self) -> float:
        """The instant (clock seconds) from which the account must not be used any more."""
        return self._fence_at

    async def keep(self) -> NoReturn:
        """Renew until cancelled.

        Raises:
            LeaseLost: see `renewed`.
        """
        while True:
            await self.renewed()

    async def renewed(self) -> None:
        """Return after the next renewal: in a third of the lease, at once when a check is asked for.

        Raises:
            LeaseLost: another holder has the account, or Redis did not answer in time.
        """
        await self._wait_until_due()
        while not await self._renew():
            await self._clock.sleep(min(RETRY_S, self._left_s))

    @property
    def _left_s(self) -> float:
        return max(0.0, self._fence_at - self._clock.now())

    async def _wait_until_due(self) -> None:
        due_at = self._clock.now() + min(self._lease_s / 3, self._left_s)
        await self._checks.wait(self._checks_seen, due_at)
        if self._checks.count == self._checks_seen:
            return
        if (
            self._checked_at is not None
        ):  # a Redis that fails again and again is asked once a second
            pause_s = self._checked_at + RETRY_S - self._clock.now()
            if pause_s > 0:
                await self._clock.sleep(min(pause_s, self._left_s))
        self._checked_at = self._clock.now()
        self._checks_seen = self._checks.count

    async def _renew(self) -> bool:
        asked_at = self._clock.now()
        left = self._fence_at - asked_at
        if left <= 0:
            raise LeaseLost(self._lease.account, self._lease.fencing_token)
        try:
            async with asyncio.timeout(left):
                was_lost = await self._store.renew(self._lease)
        except LeaseLost:
            raise
        except (AccountError, TimeoutError):  # Redis is away, or not itself: time will tell
            return False
        self._fence_at = asked_at + self._lease_s - self._margin_s
        if self._fenced is not None:
            self._fenced.set_fence(self._fence_at)
        if was_lost:
            self._checks.ask(f"Redis had lost the lease on {self._lease.account}")
        return True


DAY_S: Final = 86400.0
RENEW_BEFORE_S: Final = 30 * DAY_S
ASK_S: Final = 10.0
FINISH_S: Final = 3.0


class RenewsTokens(Protocol):
    """What the keeper needs of the link."""

    async def renew_token(self, auth: AuthState, *, timeout_s: float) -> AuthState | None:
        """See `actors.steam.port.Link`."""


class TokenRefresher:
    """Keeps one account's token young; `keep` runs until it is cancelled."""

    def __init__(
        self,
        link: RenewsTokens,
        auth: AuthState,
        save: Callable[[AuthState], Awaitable[None]],
        *,
        clock: Clock,
        wall: Callable[[], float],
        rng: random.Random,
        log: FilteringBoundLogger,
    ) -> None:
        """`save` returns when the new state is stored for good; `wall` tells UTC seconds."""
        self._link = link
        self._auth = auth
        self._save = save
        self._clock = clock
        self._wall = wall
        self._rng = rng
        self._log = log
        self._renewing: asyncio.Task[None] | None = None

    async def keep(self) -> NoReturn:
        """Ask when it is time, for ever."""
        while True:
            expires = expires_at(self._auth.refresh_token)
            if expires is not None and expires - self._wall() < RENEW_BEFORE_S:
                self._renewing = asyncio.create_task(self._renew(), name="token-renewal")
                await asyncio.shield(self._renewing)
            # Jitter: accounts that were added together are not asked for together for ever.
            await self._clock.sleep(DAY_S * (0.9 + 0.2 * self._rng.random()))

    async def finish(self, within_s: float = FINISH_S) -> None:
        """End after a renewal that is under way; to be called before the link is given up."""
        renewing = self._renewing
        if renewing is None or renewing.done():
            return
        alarm = self._clock.call_at(self._clock.now() + within_s, lambda: _cancel(renewing))
        await asyncio.wait({renewing})
        alarm.cancel()

    async def _renew(self) -> None:
        try:
            newer = await self._link.renew_token(self._auth, timeout_s=ASK_S)
            if newer is None:
                return
            self._auth = newer
            await self._save(newer)
        except (LogOnRefused, SteamUnreachable, AccountError) as error:
            self._log.warning("token_not_renewed", reason=str(error))
        else:
            self._log.info("token_renewed")


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
