"""What a bot depends on: the services that all bots share, its limits, and its last account."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.accounts.logon_limiter import LogonLimiter
from actors.accounts.models import ANY_HELD
from actors.accounts.store import AccountStore
from actors.bot.failure_counter import FailureCounter
from actors.bot.log import BotLog
from actors.bot.metrics import LogonMetrics
from actors.bot.registry import BotRegistry
from actors.bot.shared_causes import SharedCauses
from actors.clock import Clock
from actors.steam.directory import CmDirectory
from actors.steam.link import SteamNetwork
from actors.steam.port import GuardCallback
from actors.steam.steam_time import SteamTime

LOG_OFF_S: Final = 4.0  # as in node-steam-user
LOG_AGAIN_S: Final = 10.0  # checks that follow sooner have the same cause, which is logged once


@dataclass(frozen=True, slots=True)
class LogOnTimeouts:
    """Seconds for each part; the credential flow may wait for a TOTP window (30 s)."""

    token_s: float = 10.0
    credentials_s: float = 60.0


@dataclass(slots=True)
class BotMemory:
    """What a bot keeps from run to run: its last account, taken back if it is still leased to this bot.

    "": none; ANY_HELD: at first, and after a checkout without an answer.
    """

    account: str = ANY_HELD


@dataclass(frozen=True, slots=True)
class BotPolicy:
    """Limits of a bot, in seconds.

    Attributes:
        fence_margin_s: how long before the end of a lease that cannot be renewed the bot stops.
        launch_s: without a GC welcome for this long a bot logs on again; each run draws up to twice as
            much, so that an outage of the GC does not bring all bots to Steam at once.
        blocked_s: the same while another session of the account plays.
    """

    lease_s: float
    fence_margin_s: float
    connect_s: float = 15.0
    launch_s: float = 330.0
    blocked_s: float = 60.0
    log_on: LogOnTimeouts = field(default_factory=LogOnTimeouts)


class LeaseChecks:
    """Makes all lease renewers of a process renew at once. Used on the asyncio loop only."""

    def __init__(self, *, clock: Clock, log: FilteringBoundLogger) -> None:
        self.count = 0
        self._clock = clock
        self._log = log.bind(actor="leases")
        self._waiting: set[asyncio.Event] = set()
        self._lost_at: float | None = None

    def ask(self, reason: str, *, is_loss: bool = True) -> None:
        """Make every renewer renew now: Redis may have lost leases, or its clock may have stepped.

        `is_loss`: a lease was lost, which is logged; a lost connection alone is not.
        """
        if is_loss:
            now = self._clock.now()
            is_news = self._lost_at is None or now - self._lost_at >= LOG_AGAIN_S
            if is_news and self._waiting:
                self._log.warning("leases_checked", reason=reason)
            self._lost_at = now
        else:
            self._log.debug("leases_checked", reason=reason)
        self.count += 1
        for event in self._waiting:
            event.set()

    async def wait(self, seen: int, until: float) -> None:
        """Return at `until` (clock seconds), or as soon as `count` differs from `seen`."""
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


@dataclass(frozen=True, slots=True)
class BotPorts:
    """Services that all bots of a process share."""

    store: AccountStore
    limiter: LogonLimiter
    network: SteamNetwork
    directory: CmDirectory
    on_guard: GuardCallback
    registry: BotRegistry
    clock: Clock
    steam_time: SteamTime
    rng: random.Random
    log: FilteringBoundLogger
    bot_log: BotLog
    metrics: LogonMetrics
    lease_checks: LeaseChecks
    failures: FailureCounter = field(default_factory=FailureCounter)
    causes: SharedCauses = field(default_factory=SharedCauses)
    logged: set[object] = field(default_factory=set)  # keys of the lines that are logged once
