"""How one bot is made, and how its supervisor's doings are told; a part of fleet.py, sees both halves."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.actor import Address
from actors.bot import Bot
from actors.bot_ports import BotMemory, BotPorts
from actors.bot_states import BotState
from actors.errors import AccountError, BudgetIsSpent, LocalProtocolError, SteamError
from actors.messages import BotExpected, RouterMessage, RouterToBot
from actors.roster import BotSupervised, RosterMessage
from supervisor.child import ChildSpec, ChildState, ChildStatus, GiveUp, Restart
from supervisor.clock import SystemClock
from supervisor.logs import without_secrets
from supervisor.policies import bot_backoff, bot_grace_s, bot_intensity, bot_policy
from supervisor.settings import Settings

PARK_FOR_S: Final = 300.0
# What a bot's life may end with without being a bug.
EXPECTED_ENDS: Final = (AccountError, SteamError, BudgetIsSpent)
# What the supervisor does with a bot between two lives, in the words of /status.
BETWEEN_LIVES: Final = {
    ChildState.BACKING_OFF: BotState.BACKING_OFF,
    ChildState.PARKED: BotState.PARKED,
    ChildState.STOPPED: BotState.STOPPED,
}


class BotSpecs:
    """The recipe of each bot by the settings of that moment."""

    def __init__(
        self,
        settings: Settings,
        ports: BotPorts,
        *,
        instance: str,
        roster: Address[RosterMessage],
        router: Address[RouterMessage],
        clock: SystemClock,
        log: FilteringBoundLogger,
    ) -> None:
        """`instance`: who this process is; signs the bots' checkouts."""
        self.settings = settings
        self.memories: dict[str, BotMemory] = defaultdict(BotMemory)  # by holder
        self._ports = ports
        self._instance = instance
        self._roster = roster
        self._router = router
        self._clock = clock
        self._log = log

    def spec(self, bot_id: str) -> ChildSpec:
        """Return the spec of one bot."""
        return ChildSpec(
            id=bot_id,
            factory=partial(self._make, bot_id, Address(bot_id)),
            restart=Restart.PERMANENT,
            intensity=bot_intensity(self.settings),
            backoff=bot_backoff(self.settings),
            grace=bot_grace_s(self.settings),
            give_up=GiveUp.PARK,
            park_for=PARK_FOR_S,
            expected=EXPECTED_ENDS,
        )

    def tell(self, status: ChildStatus) -> None:
        """Tell the roster, and the router where it matters, what the supervisor does with a bot."""
        next_try_in = None if status.next_try_at is None else status.next_try_at - self._clock.now()
        supervised = BotSupervised(
            bot_id=status.id,
            state=BETWEEN_LIVES.get(status.state),
            restarts=status.restarts,
            last_error=status.last_error and without_secrets(status.last_error),
            last_error_at=status.last_error_at,
            next_try_in=next_try_in,
        )
        try:
            self._roster.tell(supervised)
            if next_try_in is not None:
                self._router.tell(BotExpected(status.id, next_try_in))
        except LocalProtocolError as error:
            self._log.warning("change_untold", watcher="fleet", reason=str(error))

    def _make(self, bot_id: str, address: Address[RouterToBot]) -> Bot:
        holder = f"{self._instance}/{bot_id}"  # how its checkouts are signed in Redis
        return Bot(
            bot_id,
            holder,
            address=address,
            memory=self.memories[holder],
            ports=self._ports,
            policy=bot_policy(self.settings),
        )
