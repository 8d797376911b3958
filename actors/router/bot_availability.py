"""When a bot can be used again, and why none can now: spent budgets, cooldowns, bots on their way.

Pure bookkeeping: instants are arguments, in clock seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from actors.accounts.models import UNTIL_ACTED_S
from actors.bot.messages import BotChanged, ReadyBot
from actors.bot.states import BotState
from actors.errors import NotReady, QuotaExhausted

NOT_READY_RETRY_S: Final = 5.0  # when no better estimate exists
LOG_ON_S: Final = 2.0  # about what a bot needs from its first step to being ready
LONGEST_RETRY_S: Final = 30.0  # for what is overdue: it may be back any moment


class RestingAccounts:
    """When the first account may be used again, where no bot is on its way with one."""

    def __init__(self) -> None:
        self._usable_at: dict[str, float | None] = {}  # by bot that found no account
        self._others: set[str] = set()  # bots that do something else

    def note(self, changed: BotChanged, now: float) -> None:
        """Note one change of a bot."""
        if changed.nothing_free:
            usable_in = changed.usable_in
            self._usable_at[changed.bot_id] = None if usable_in is None else now + usable_in
            self._others.discard(changed.bot_id)
        elif changed.state is not BotState.WAITING_FOR_ACCOUNT:
            self.forget(changed.bot_id)
            if changed.state not in (BotState.PARKED, BotState.STOPPED):
                self._others.add(changed.bot_id)

    def forget(self, bot_id: str) -> None:
        """Forget a bot that has left."""
        self._usable_at.pop(bot_id, None)
        self._others.discard(bot_id)

    def corrected(self, error: NotReady, now: float) -> NotReady:
        """Return `error` with a better retry time, or with none where only an operator can help."""
        known = [at for at in self._usable_at.values() if at is not None]
        if known and not self._others:
            usable_in = min(known) - now
            if usable_in > UNTIL_ACTED_S / 2:
                return NotReady(f"{error}: no account is free, and those that rest need a person")
            if usable_in > (error.retry_after or 0.0):
                return NotReady(str(error), usable_in)
        return error


BudgetScope = Literal["account", "ip"]


@dataclass(slots=True)
class _SpentBudget:
    """The budget of an account or egress address, and the bots that wait for it, by bot id."""

    frees_at: float
    bots: dict[str, ReadyBot] = field(default_factory=dict)


class BotAvailability:
    """The bots that wait for a budget, and when the first bot can be used again.

    Attributes:
        resting: accounts in cooldown; told of every change of a bot.
        coming: when each bot that is on its way to be ready sets out (again), by bot id.
    """

    def __init__(self) -> None:
        self.resting = RestingAccounts()
        self.coming: dict[str, float] = {}
        self._spent: dict[tuple[BudgetScope, str], _SpentBudget] = {}  # by account or address
        self._others_free_at: float | None = None
        self._last_address: dict[str, str | None] = {}  # of each bot's last session

    def ready(self, bot: ReadyBot) -> None:
        """A bot became ready: another account of its name waits for nothing any more."""
        self.not_waiting(bot.bot_id)
        self.coming.pop(bot.bot_id, None)
        self._last_address[bot.bot_id] = bot.ip
        self._others_free_at = None

    def not_waiting(self, bot_id: str) -> None:
        """A bot does not wait for a budget (any more)."""
        for (scope, name), budget in list(self._spent.items()):
            budget.bots.pop(bot_id, None)
            if scope == "account" and not budget.bots:
                del self._spent[scope, name]

    def forget(self, bot_id: str) -> None:
        """A bot does not exist any more."""
        self.resting.forget(bot_id)
        self._last_address.pop(bot_id, None)

    @property
    def spent_addresses(self) -> Mapping[str, float]:
        """When the budget of each spent egress address frees."""
        return {name: one.frees_at for (scope, name), one in self._spent.items() if scope == "ip"}

    def spent(self, scope: BudgetScope, name: str, bots: list[ReadyBot], until: float) -> None:
        """Keep the bots of an account or egress address whose budget frees then."""
        budget = self._spent.setdefault((scope, name), _SpentBudget(until))
        budget.frees_at = until
        budget.bots.update((bot.bot_id, bot) for bot in bots)

    def keep_back(self, bot: ReadyBot) -> bool:
        """Keep a bot if the budget of its address is spent; return whether it is."""
        budget = self._spent.get(("ip", bot.ip or ""))
        if budget is not None:
            budget.bots[bot.bot_id] = bot
        return budget is not None

    def budget_frees(self, at: float, now: float) -> None:
        """Remember when the budget of an account frees that no bot uses."""
        known = self._others_free_at
        self._others_free_at = at if known is None or known <= now else min(known, at)

    def freed_address(self, ip: str) -> list[ReadyBot]:
        """Remove and return the bots of a spent address."""
        budget = self._spent.pop(("ip", ip), None)
        return [] if budget is None else list(budget.bots.values())

    def freed(self, by: float) -> list[ReadyBot]:
        """Remove and return the bots whose budget has freed by then."""
        free = [key for key, budget in self._spent.items() if budget.frees_at <= by]
        return [bot for key in free for bot in self._spent.pop(key).bots.values()]

    def all_freed(self) -> list[ReadyBot]:
        """Forget all budgets; return the bots that waited for one."""
        self._others_free_at = None
        return self.freed(math.inf)

    def holds(self, bot: ReadyBot) -> bool:
        """Whether this very bot waits for a budget."""
        return any(budget.bots.get(bot.bot_id) is bot for budget in self._spent.values())

    def error(self, now: float) -> NotReady | QuotaExhausted:
        """Return the error for a request while no bot can be used."""
        frees_at = [budget.frees_at for budget in self._spent.values() if budget.bots]
        if self._others_free_at is not None:
            frees_at.append(self._others_free_at)
        if frees_at and not self._is_budget_coming:
            return QuotaExhausted(_reason(self._awaited_addresses), max(0.0, min(frees_at) - now))
        error = NotReady("no bot is ready to ask the Game Coordinator", self._ready_in(now))
        return self.resting.corrected(error, now)

    @property
    def _awaited_addresses(self) -> list[str]:
        """The egress addresses for whose budget bots wait."""
        awaited = (key for key, budget in self._spent.items() if budget.bots)
        return sorted(name for scope, name in awaited if scope == "ip")

    @property
    def _is_budget_coming(self) -> bool:
        """Whether a bot is on its way that may have budget left.

        While bots wait for the budget of an address, one that last left from another address.
        """
        if not self._awaited_addresses:
            return bool(self.coming)
        spent = {None, *self.spent_addresses}
        return any(self._last_address.get(bot_id) not in spent for bot_id in self.coming)

    def _ready_in(self, now: float) -> float:
        """Return when it makes sense to ask again: when the first bot may be back."""
        if not self.coming:
            return NOT_READY_RETRY_S
        sets_out_in = min(self.coming.values()) - now
        if sets_out_in >= 0:
            return sets_out_in + LOG_ON_S
        # Overdue: Steam is slow or away. What has lasted for a while will last for about as long.
        return min(max(-sets_out_in, LOG_ON_S), LONGEST_RETRY_S)


def _reason(addresses: list[str]) -> str:
    """Return which budget is spent; the accounts of a spent address may well have some left."""
    match addresses:
        case []:
            return "the daily budget of every account is spent"
        case [ip]:
            return f"the daily budget of the address {ip} is spent"
        case _:
            return f"the daily budgets of the addresses {', '.join(addresses)} are spent"
