"""Keeps the lease and the refresh token of a logged-on account valid."""

from __future__ import annotations

import asyncio
from typing import Final, NoReturn

from structlog.typing import FilteringBoundLogger

from actors.accounts.auth_state import expires_at
from actors.accounts.models import Lease
from actors.bot.logon import save_auth
from actors.bot.ports import BotPolicy, BotPorts
from actors.errors import AccountError, LeaseLost, LogOnRefused, SteamUnreachable
from actors.steam.port import AuthState, Link

RETRY_S: Final = 1.0  # between two tries while Redis is unavailable, and between two checks
DAY_S: Final = 86400.0
RENEW_BEFORE_S: Final = 30 * DAY_S  # of the 200 days of a token
RENEWAL_S: Final = 10.0  # for Steam's answer
FINISH_S: Final = 3.0


class LeaseRenewer:
    """Renews a lease every third of its duration.

    The end of the lease counts from *before* the last successful call was sent, on the monotonic clock of
    this process, so that it is never later than the end in Redis. The fence is a margin before that end,
    which leaves time to log off while the lease still holds.
    """

    def __init__(
        self, ports: BotPorts, policy: BotPolicy, lease: Lease, *, acquired_at: float
    ) -> None:
        """`acquired_at`: clock seconds just before the checkout was sent to Redis."""
        self._store = ports.store
        self._clock = ports.clock
        self._checks = ports.lease_checks
        self._policy = policy
        self._lease = lease
        self._checks_seen = self._checks.count
        self._checked_at: float | None = None
        self._fence_at = self._fence_after(acquired_at)
        self._link: Link | None = None

    @property
    def fence_at(self) -> float:
        """The instant (clock seconds) from which the account must not be used."""
        return self._fence_at

    def fence(self, link: Link) -> None:
        """Tell `link` the fence now and after each renewal.

        So the link can end by itself when this renewer does not run in time, e.g. in a blocked loop.
        """
        self._link = link
        link.set_fence(self._fence_at)

    async def renew_next(self) -> None:
        """Return after the next renewal: in a third of the lease, or at once for a lease check.

        Raises:
            LeaseLost: another holder has the account, or Redis did not answer in time.
        """
        await self._wait_until_due()
        while not await self._renew():
            await self._clock.sleep(min(RETRY_S, self._left_s))

    @property
    def _left_s(self) -> float:
        return max(0.0, self._fence_at - self._clock.now())

    def _fence_after(self, sent_at: float) -> float:
        return sent_at + self._policy.lease_s - self._policy.fence_margin_s

    async def _wait_until_due(self) -> None:
        due_at = self._clock.now() + min(self._policy.lease_s / 3, self._left_s)
        await self._checks.wait(self._checks_seen, due_at)
        if self._checks.count == self._checks_seen:
            return
        if self._checked_at is not None:  # a Redis that fails repeatedly is asked once a second
            pause_s = self._checked_at + RETRY_S - self._clock.now()
            if pause_s > 0:
                await self._clock.sleep(min(pause_s, self._left_s))
        self._checked_at = self._clock.now()
        self._checks_seen = self._checks.count

    async def _renew(self) -> bool:
        """Try once; return False when Redis does not answer or fails."""
        sent_at = self._clock.now()
        left = self._fence_at - sent_at
        if left <= 0:
            raise LeaseLost(self._lease.account, self._lease.fencing_token)
        try:
            async with asyncio.timeout(left):
                was_lost = await self._store.renew(self._lease)
        except LeaseLost:
            raise
        except (AccountError, TimeoutError):
            return False
        self._fence_at = self._fence_after(sent_at)
        if self._link is not None:
            self._link.set_fence(self._fence_at)
        if was_lost:
            self._checks.ask(f"Redis had lost the lease on {self._lease.account}")
        return True


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
