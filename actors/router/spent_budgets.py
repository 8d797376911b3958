"""Bots and IP addresses whose daily budget is spent, and accounts in cooldown.

Pure bookkeeping: instants are arguments, in clock seconds.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from actors.accounts.models import UNTIL_ACTED_S
from actors.bot.messages import BotChanged, ReadyBot
from actors.bot.states import BotState
from actors.errors import NotReady, QuotaExhausted


@dataclass(slots=True)
class _Address:
    """An egress address whose budget is spent, and the bots that leave from it, by bot id."""

    frees_at: float
    bots: dict[str, ReadyBot] = field(default_factory=dict)


class SpentBudgets:
    """The bots that wait for a budget, and when the first of what is spent frees."""

    def __init__(self) -> None:
        self._by_account: dict[str, tuple[ReadyBot, float]] = {}  # by bot id
        self._addresses: dict[str, _Address] = {}
        self._others_free_at: float | None = None

    def put_account(self, bot: ReadyBot, until: float) -> None:
        """Keep a bot whose account's budget frees then."""
        self._by_account[bot.bot_id] = (bot, until)

    def put_address(self, ip: str, bots: Collection[ReadyBot], until: float) -> None:
        """Keep the bots that leave from an address whose budget frees then."""
        address = self._addresses.setdefault(ip, _Address(until))
        address.frees_at = until
        address.bots.update((bot.bot_id, bot) for bot in bots)

    def free_address(self, ip: str) -> None:
        """Let `freed` return the bots of an address now."""
        if (address := self._addresses.get(ip)) is not None:
            address.frees_at = -math.inf

    def keep_back(self, bot: ReadyBot) -> bool:
        """Keep a bot if the budget of its address is spent; return whether it is."""
        address = self._addresses.get(bot.ip or "")
        if address is not None:
            address.bots[bot.bot_id] = bot
        return address is not None

    def note_account(self, until: float | None, now: float) -> None:
        """Remember when the budget of an account frees that no bot uses; None: no such account."""
        known = self._others_free_at
        if until is None or known is None or known <= now:
            self._others_free_at = until
        else:
            self._others_free_at = min(known, until)

    def freed(self, now: float) -> list[ReadyBot]:
        """Remove and return the bots whose budget has freed by now."""
        addresses = [ip for ip, one in self._addresses.items() if one.frees_at <= now]
        bots = [bot for ip in addresses for bot in self._addresses.pop(ip).bots.values()]
        bots += [bot for bot, until in self._by_account.values() if until <= now]
        for bot in bots:
            self.forget(bot.bot_id)
        return bots

    def forget(self, bot_id: str) -> None:
        """Remove a bot, if it is kept."""
        self._by_account.pop(bot_id, None)
        for address in self._addresses.values():
            address.bots.pop(bot_id, None)

    def holds(self, bot: ReadyBot) -> bool:
        """Whether this very bot waits for a budget."""
        kept, _ = self._by_account.get(bot.bot_id, (None, 0.0))
        waiting = (address.bots.get(bot.bot_id) for address in self._addresses.values())
        return kept is bot or any(one is bot for one in waiting)

    @property
    def addresses(self) -> Mapping[str, float]:
        """When the budget of each spent egress address frees."""
        return {ip: one.frees_at for ip, one in self._addresses.items()}

    @property
    def keeps_addresses(self) -> bool:
        """Whether a bot waits for the budget of its address."""
        return any(one.bots for one in self._addresses.values())

    def refusal(self, now: float) -> QuotaExhausted | None:
        """Return the error for a request while no bot can be used; None: nothing is spent."""
        addresses = {ip: one.frees_at for ip, one in self._addresses.items() if one.bots}
        frees_at = [*addresses.values(), *(until for _, until in self._by_account.values())]
        if self._others_free_at is not None:
            frees_at.append(self._others_free_at)
        if not frees_at:
            return None
        return QuotaExhausted(_reason(sorted(addresses)), max(0.0, min(frees_at) - now))


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
        """Return `error` with a better retry time, where one is known.

        It has no retry time where all accounts rest until an operator acts.
        """
        known = [at for at in self._usable_at.values() if at is not None]
        if known and not self._others:
            usable_in = min(known) - now
            if usable_in > UNTIL_ACTED_S / 2:
                return NotReady(f"{error}: no account is free, and those that rest need a person")
            if usable_in > (error.retry_after or 0.0):
                return NotReady(str(error), usable_in)
        return error


def _reason(addresses: list[str]) -> str:
    """Return which budget is spent; the accounts of a spent address may well have some left."""
    match addresses:
        case []:
            return "the daily budget of every account is spent"
        case [ip]:
            return f"the daily budget of the address {ip} is spent"
        case _:
            return f"the daily budgets of the addresses {', '.join(addresses)} are spent"
