"""Applies changed settings to the running components; a part of tree.py, imports `actors` too.

Actors get a message; each plain object has one method that replaces its limits. A component that starts
later is built from the settings of that moment anyway.
"""

from __future__ import annotations

import asyncio
from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.accounts.pacing import LogOnPacing
from actors.accounts.store import Accounts
from actors.actor import Address
from actors.errors import AccountError, ActorStopped, MailboxFull
from actors.http.asking import MatchAsker
from actors.messages import Reconfigure, RouterMessage
from supervisor.clock import SystemClock
from supervisor.fleet import Fleet
from supervisor.front_door import FrontDoor
from supervisor.operators import Operators
from supervisor.policies import GOODBYE_S, log_on_limits, quota_limits, router_policy
from supervisor.settings import Settings

STORE_RETRY_S: Final = 5.0
MAILBOX_RETRY_S: Final = 0.05


class Reconfigurer:
    """Applies changed settings to the running components."""

    def __init__(
        self,
        *,
        accounts: Accounts,
        pacing: LogOnPacing,
        asker: MatchAsker,
        router: Address[RouterMessage],
        fleet: Fleet,
        door: FrontDoor,
        operators: Operators,
        clock: SystemClock,
        log: FilteringBoundLogger,
    ) -> None:
        self._accounts = accounts
        self._pacing = pacing
        self._asker = asker
        self._router = router
        self._fleet = fleet
        self._door = door
        self._operators = operators
        self._clock = clock
        self._log = log
        self._forgiving: asyncio.Task[None] | None = None

    async def apply(self, before: Settings, settings: Settings) -> None:
        """Change all running components from the settings `before` to `settings`."""
        quota_changed = before.quota != settings.quota
        self._pacing.change_limits(log_on_limits(settings))
        self._asker.change_deadline(settings.http.deadline)
        self._door.apply(settings.http)
        self._accounts.change_quota(quota_limits(settings))
        self._operators.change_quota(quota_limits(settings))
        await self._tell_router(Reconfigure(router_policy(settings), budgets_changed=quota_changed))
        if quota_changed:
            await self._stop_forgiving()
            self._forgiving = asyncio.create_task(self._forgive_spent(), name="forgive-spent")
        await self._fleet.apply(settings)

    async def close(self) -> None:
        """End what still goes on of the last change; the fleet's supervisor has ended before."""
        await self._stop_forgiving()
        await self._fleet.close()

    async def _tell_router(self, message: Reconfigure) -> None:
        while True:
            try:
                return self._router.tell(message)
            except MailboxFull:
                await self._clock.sleep(MAILBOX_RETRY_S)
            except ActorStopped:
                return None  # its next life starts with these settings

    async def _forgive_spent(self) -> None:
        """Let accounts that were spent by other budgets be tried, when Redis is there to say so.

        Twice: a bot that was on its way out just then puts its account aside a little later.
        """
        await self._forgive_once()
        await self._clock.sleep(GOODBYE_S)
        await self._forgive_once()

    async def _forgive_once(self) -> None:
        is_told = False
        while True:
            try:
                return await self._accounts.forgive_spent()
            except AccountError as error:
                if not is_told:
                    self._log.warning(
                        "budgets_unforgiven", reason=str(error), delay_s=STORE_RETRY_S
                    )
                    is_told = True
                await self._clock.sleep(STORE_RETRY_S)

    async def _stop_forgiving(self) -> None:
        if self._forgiving is not None:
            self._forgiving.cancel()
            await asyncio.wait({self._forgiving})
