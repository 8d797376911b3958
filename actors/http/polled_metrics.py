"""Gauges that are read from their sources for each scrape.

Redis is read at most every few seconds. The values of a source that does not answer in time are removed:
old values would look current.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable
from typing import Final

from actors.accounts.admin import AccountAdmin, AccountRow, AccountState
from actors.accounts.models import BUDGET_SPENT
from actors.actor import Address
from actors.bot.registry import BotRegistry
from actors.bot.shared_causes import CauseKind
from actors.bot.states import BotState
from actors.clock import Clock
from actors.dashboard.cause_log import LastingCauses
from actors.dashboard.snapshot import need_of_row
from actors.errors import AccountError, LocalProtocolError
from actors.metrics import Instruments
from actors.router.messages import GetRouter, RouterMessage

ASK_S: Final = 2.0
ACCOUNTS_S: Final = 10.0  # between two reads of Redis
MOST_IPS: Final = 50  # egress addresses that have a series
NO_USE: Final = frozenset(
    {AccountState.NO_PASSWORD, AccountState.NOT_LISTED, AccountState.UNUSABLE}
)


class PolledMetrics:
    """Polls its sources and sets the gauges."""

    def __init__(
        self,
        registry: BotRegistry,
        router: Address[RouterMessage],
        accounts: AccountAdmin,
        causes: LastingCauses,
        instruments: Instruments,
        *,
        names_accounts: bool,
        clock: Clock,
    ) -> None:
        """`names_accounts`: whether each account has a series of its own."""
        self._registry = registry
        self._router = router
        self._admin = accounts
        self._shared_causes = causes
        self._names_accounts = names_accounts
        self._clock = clock
        self._read_accounts_at = -math.inf
        self._ips: dict[str, None] = {}  # egress addresses, in the order of their first use
        gauge = instruments.gauge
        self._up = gauge(
            "botapi_source_up", "Whether a source of the scrape answered: 1, or 0.", "source"
        )
        self._causes = gauge(
            "botapi_shared_cause", "Whether a cause that many bots share lasts: 1, or 0.", "kind"
        )
        self._bots = gauge("botapi_bots", "Bots, by state.", "state")
        self._waiting = gauge("botapi_requests_waiting", "Matches that wait for a bot.")
        self._in_flight = gauge(
            "botapi_flights", "Matches that are asked for, waiting ones included."
        )
        self._accounts = gauge("botapi_accounts", "Accounts in Redis, by state.", "state")
        self._limit = gauge(
            "botapi_quota_limit", "Requests per day that the settings allow.", "scope"
        )
        self._usable = gauge(
            "botapi_accounts_usable",
            "Accounts that can be used today, or were until they were spent.",
        )
        self._left = gauge(
            "botapi_quota_left", "Requests that all usable accounts have left today, together."
        )
        self._worst = gauge(
            "botapi_quota_left_worst_account", "The same, of the usable account with the fewest."
        )
        self._ip_left = gauge(
            "botapi_ip_quota_left", "Requests that an egress address has left today.", "ip"
        )
        self._needy = gauge(
            "botapi_accounts_needing_human", "Accounts that wait for a person, each in its own way."
        )
        self._account_left = gauge(
            "botapi_account_quota_left",
            "Requests that an account has left today (only with metrics.accounts).",
            "account",
        )

    def reconfigure(self, *, names_accounts: bool) -> None:
        """Change whether each account has a series of its own."""
        self._names_accounts = names_accounts

    async def refresh(self) -> None:
        """Poll all sources and set the gauges."""
        bots = self._registry.reports()
        states = Counter(bot.state for bot in bots)
        for state in BotState:
            self._bots.labels(state).set(states[state])
        self._ips |= dict.fromkeys(bot.ip for bot in bots if bot.ip is not None)
        await asyncio.gather(
            self._poll("router", self._poll_router()), self._poll("redis", self._poll_accounts())
        )
        lasting = {cause.kind for cause in self._shared_causes.active()}
        for kind in CauseKind:
            self._causes.labels(kind).set(kind in lasting)

    async def _poll(self, source: str, poll: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(ASK_S):
                await poll
        except (TimeoutError, AccountError, LocalProtocolError):
            self._clear(source)
            self._up.labels(source).set(0)
        else:
            self._up.labels(source).set(1)

    async def _poll_router(self) -> None:
        router = await self._router.ask(GetRouter(), deadline=self._clock.now() + ASK_S)
        self._waiting.set(router.waiting)
        self._in_flight.set(router.in_flight)

    async def _poll_accounts(self) -> None:
        quota = self._admin.quota
        self._limit.labels("account").set(quota.per_account)
        self._limit.labels("ip").set(quota.per_ip)
        now = self._clock.now()
        if now - self._read_accounts_at < ACCOUNTS_S:
            return
        rows = await self._admin.overview()
        budgets = await self._admin.ip_budgets(list(self._ips)[-MOST_IPS:])
        self._read_accounts_at = now
        self._ip_left.clear()
        for budget in budgets:
            self._ip_left.labels(budget.ip).set(budget.left)
        states = Counter(row.state for row in rows)
        for state in AccountState:
            self._accounts.labels(state).set(states[state])
        # Nothing can be spent of an account while it cools down.
        usable = [
            0 if row.state is AccountState.COOLING_DOWN else row.left
            for row in rows
            if _is_usable(row)
        ]
        self._usable.set(len(usable))
        self._needy.set(sum(need_of_row(row) is not None for row in rows))
        self._left.set(sum(usable))
        self._worst.set(min(usable, default=0))
        self._account_left.clear()
        if self._names_accounts:
            for row in rows:
                self._account_left.labels(row.account).set(row.left)

    def _clear(self, source: str) -> None:
        """Remove the values of a source that does not answer."""
        if source == "router":
            self._waiting.set(math.nan)
            self._in_flight.set(math.nan)
            return
        self._read_accounts_at = -math.inf
        for by_label in (self._accounts, self._ip_left, self._account_left):
            by_label.clear()
        for gauge in (self._needy, self._usable, self._left, self._worst):
            gauge.set(math.nan)


def _is_usable(row: AccountRow) -> bool:
    """Whether nothing is wrong with an account but that its budget may be spent."""
    if row.state is AccountState.COOLING_DOWN:
        return row.cooldown_reason == BUDGET_SPENT
    return row.state not in NO_USE
