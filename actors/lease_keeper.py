"""Keeps one lease alive, and says so in time when it cannot (self-fencing).

Renews every third of the lease. The end of the lease is reckoned from *before* the last successful
call was sent, on our own monotonic clock, so that it never lies later than what Redis believes; the
keeper gives up a margin before that, which leaves time to log off while the account is still ours.
"""

from __future__ import annotations

import asyncio
from typing import Final, NoReturn, Protocol

from actors.accounts.lease import Lease
from actors.clock import Clock
from actors.errors import AccountError, LeaseLost

RETRY_S: Final = 1.0  # between two tries while Redis is away


class RenewsLeases(Protocol):
    """The one thing the keeper needs of the store."""

    async def renew(self, lease: Lease) -> None:
        """Raises LeaseLost or StoreUnavailable."""


class LeaseKeeper:
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
        self._fence_at = asked_at + lease_s - margin_s

    @property
    def fence_at(self) -> float:
        """The instant (clock seconds) from which the account must not be used any more."""
        return self._fence_at

    async def keep(self) -> NoReturn:
        """Renew for ever.

        Raises:
            LeaseLost: somebody else has the account, or Redis could not be asked in time.
        """
        pause = self._lease_s / 3
        while True:
            await self._clock.sleep(min(pause, max(0.0, self._fence_at - self._clock.now())))
            pause = self._lease_s / 3 if await self._renew() else RETRY_S

    async def _renew(self) -> bool:
        asked_at = self._clock.now()
        left = self._fence_at - asked_at
        if left <= 0:
            raise LeaseLost(self._lease.account, self._lease.fencing_token)
        try:
            async with asyncio.timeout(left):
                await self._store.renew(self._lease)
        except LeaseLost:
            raise
        except (AccountError, TimeoutError):  # Redis is away, or not itself: time will tell
            return False
        self._fence_at = asked_at + self._lease_s - self._margin_s
        return True
