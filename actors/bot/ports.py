"""Protocols that a bot depends on, and the limits it runs by."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from actors.accounts.logon_limiter import Wait
from actors.accounts.models import ANY_HELD, Lease
from actors.bot.failure_counter import FailureCounter, OwnFaults, UnknownResults
from actors.bot.log import BotLog
from actors.bot.messages import BotChanged
from actors.bot.renewals import LeaseChecks
from actors.bot.shared_causes import SharedCauses
from actors.clock import WallClock
from actors.steam.port import (
    AuthState,
    Credential,
    Directory,
    GuardCallback,
    Steam,
)


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


@dataclass(slots=True)
class BotMemory:
    """What one bot remembers from life to life; only its present life touches it."""

    # The last one checked out: taken back if it is still leased to us; "" for none. Unknown at first, and
    # after a checkout without an answer.
    account: str = ANY_HELD


class Limiter(Protocol):
    """Who may log on when."""

    async def ask(self, *, with_password: bool) -> Wait | None:
        """Return None when a log-on may start now; it is counted then."""

    async def refund(self, *, with_password: bool) -> None:
        """Take back a log-on that was counted and never reached Steam."""

    async def succeeded(self, ip: str | None) -> None:
        """Steam let us in, and said which IP we come from."""

    async def was_limited(self) -> Wait:
        """Steam said "too many log-ons"; return for how long nothing more is to be tried."""


class BotStore(KeepsAuth, Protocol):
    """What a bot needs of the store."""

    async def acquire(self, holder: str, *, before: str | None = None) -> Lease:
        """Check out an account. Raises NoAccountFree or StoreUnavailable."""

    async def renew(self, lease: Lease) -> bool:
        """Return whether the lease had lapsed or was lost. Raises LeaseLost or StoreUnavailable."""

    async def release(self, lease: Lease) -> None:
        """Give the account back; harmless when the lease is not ours any more."""

    async def cool_down(
        self, lease: Lease, seconds: float, reason: str, *, repeated_s: float | None = None
    ) -> None:
        """Keep the account out of every checkout for a while; see `Accounts.cool_down`."""

    async def lift_cooldown(self, account: str, reason: str) -> None:
        """End the cooldown of an account if it still has this reason."""

    def avoid(self, account: str, seconds: float, reason: str) -> None:
        """Check the account out no more for a while, in this process alone."""


@dataclass(frozen=True, slots=True)
class BotPolicy:
    """The numbers a bot lives by, in seconds."""

    lease_s: float
    fence_margin_s: (
        float  # how long before the lease's end to leave an account that cannot be renewed
    )
    connect_s: float = 15.0
    # Without a welcome of the GC for so long a bot logs on again; each life draws up to twice as much, so
    # that an outage of the GC does not bring all bots to Steam together.
    launch_s: float = 330.0
    blocked_s: float = 60.0  # the same while another session of the account plays
    log_on: LogOnTimeouts = field(default_factory=LogOnTimeouts)


@dataclass(frozen=True, slots=True)
class BotPorts:
    """What a bot stands on."""

    store: BotStore
    steam: Steam
    directory: Directory
    pacing: Limiter
    on_guard: GuardCallback
    publish: Callable[[BotChanged], None]
    clock: WallClock
    wall: Callable[[], float]  # UTC seconds at Steam; tokens expire by it
    rng: random.Random
    log: FilteringBoundLogger
    bot_log: BotLog
    lease_checks: LeaseChecks
    strikes: FailureCounter = field(default_factory=FailureCounter)
    causes: SharedCauses = field(default_factory=SharedCauses)
    unknown_results: UnknownResults = field(default_factory=UnknownResults)
    own_faults: OwnFaults = field(default_factory=OwnFaults)
