"""Leases: each is renewed while its bot runs; those of the instance are taken over and released."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.accounts.models import Lease
from actors.accounts.store import AccountStore
from actors.bot.ports import BotMemory, BotPolicy, BotPorts
from actors.clock import Clock
from actors.errors import AccountError, LeaseLost, StoreUnavailable
from actors.steam.port import Link

RETRY_S: Final = 1.0  # between two tries while Redis is unavailable, and between two checks


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
        self._lease_s = policy.lease_s
        self._lease = lease
        self._checks_seen = self._checks.count
        self._checked_at: float | None = None
        self._usable_s = policy.lease_s - policy.fence_margin_s  # after each renewal
        self.fence_at = acquired_at + self._usable_s  # from then on the account must not be used
        self._link: Link | None = None

    def fence(self, link: Link) -> None:
        """Tell `link` the fence now and after each renewal.

        So the link can end by itself when this renewer does not run in time, e.g. in a blocked loop.
        """
        self._link = link
        link.set_fence(self.fence_at)

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
        return max(0.0, self.fence_at - self._clock.now())

    async def _wait_until_due(self) -> None:
        due_at = self._clock.now() + min(self._lease_s / 3, self._left_s)
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
        left = self.fence_at - sent_at
        if left <= 0:
            raise LeaseLost(self._lease.account, self._lease.fencing_token)
        try:
            async with asyncio.timeout(left):
                was_lost = await self._store.renew(self._lease)
        except LeaseLost:
            raise
        except (AccountError, TimeoutError):
            return False
        self.fence_at = sent_at + self._usable_s
        if self._link is not None:
            self._link.set_fence(self.fence_at)
        if was_lost:
            self._checks.ask(f"Redis had lost the lease on {self._lease.account}")
        return True


async def release(store: AccountStore, lease: Lease, *, for_s: float, clock: Clock) -> None:
    """Release `lease`; retry for `for_s` seconds while Redis is unavailable, then raise its error."""
    until = clock.now() + for_s
    while True:
        try:
            return await store.release(lease)
        except StoreUnavailable:
            if clock.now() + RETRY_S > until:
                raise
        await clock.sleep(RETRY_S)


class InstanceLeases:
    """Child that takes over leases before the fleet starts, and releases the rest after its end.

    They are leases that no running bot holds: those of a crashed predecessor with the same instance id,
    and those of bots that kept an account over a broken connection and had no further run.
    """

    def __init__(
        self,
        store: AccountStore,
        holder_prefix: str,
        memories: MutableMapping[str, BotMemory],
        *,
        log: FilteringBoundLogger,
    ) -> None:
        """`memories`: of the bots, by holder."""
        self._store = store
        self._holder_prefix = holder_prefix
        self._memories = memories
        self._log = log.bind(actor="leases")
        self._stop_asked = asyncio.Event()

    async def start(self) -> None:
        """Write the accounts of a predecessor into the memories of the bots."""
        try:
            held = await self._store.held_by(self._holder_prefix)
        except AccountError as error:  # the leases expire by themselves
            self._log.warning("predecessor_unknown", reason=str(error))
            return
        for holder, account in held.items():
            self._memories[holder].account = account
        if held:
            self._log.info("accounts_inherited", accounts=sorted(held.values()))

    async def run(self) -> None:
        """Wait for the stop, which follows the end of the last bot; then release the rest."""
        await self._stop_asked.wait()
        try:
            released = await self._store.release_all(self._holder_prefix)
        except AccountError as error:
            self._log.warning("release_failed", reason=str(error))
            return
        if released:
            self._log.info("accounts_released", accounts=released)

    def stop(self) -> None:
        """Let `run` release the rest and return. Harmless when repeated."""
        self._stop_asked.set()
