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
    """An egress address whose budget is spent, and the seats that leave from it, by bot id."""

    frees_at: float
    seats: dict[str, ReadyBot] = field(default_factory=dict)


class SpentBudgets:
    """Which seats wait for a budget, and when the first of what is spent frees."""

    def __init__(self) -> None:
        self._by_account: dict[str, tuple[ReadyBot, float]] = {}  # by bot id
        self._addresses: dict[str, _Address] = {}
        self._others_free_at: float | None = None

    def put_account(self, seat: ReadyBot, until: float) -> None:
        """Keep a seat whose account's budget frees then."""
        self._by_account[seat.bot_id] = (seat, until)

    def put_address(self, ip: str, seats: Collection[ReadyBot], until: float) -> None:
        """Keep the seats that leave from an address whose budget frees then."""
        address = self._addresses.setdefault(ip, _Address(until))
        address.frees_at = until
        address.seats.update((seat.bot_id, seat) for seat in seats)

    def free_address(self, ip: str) -> None:
        """Let `freed` return the seats of an address now."""
        if (address := self._addresses.get(ip)) is not None:
            address.frees_at = -math.inf

    def keep_back(self, seat: ReadyBot) -> bool:
        """Keep a seat that may be used otherwise if the budget of its address is spent; return that."""
        address = self._addresses.get(seat.ip or "")
        if address is not None:
            address.seats[seat.bot_id] = seat
        return address is not None

    def note_account(self, until: float | None, now: float) -> None:
        """Remember when the budget of an account frees that no seat uses; None: no such account."""
        known = self._others_free_at
        if until is None or known is None or known <= now:
            self._others_free_at = until
        else:
            self._others_free_at = min(known, until)

    def freed(self, now: float) -> list[ReadyBot]:
        """Give up, and return, the seats whose budget has freed by now."""
        addresses = [ip for ip, one in self._addresses.items() if one.frees_at <= now]
        seats = [seat for ip in addresses for seat in self._addresses.pop(ip).seats.values()]
        seats += [seat for seat, until in self._by_account.values() if until <= now]
        for seat in seats:
            self.forget(seat.bot_id)
        return seats

    def forget(self, bot_id: str) -> None:
        """Give up the seat of a bot, if there is one."""
        self._by_account.pop(bot_id, None)
        for address in self._addresses.values():
            address.seats.pop(bot_id, None)

    def holds(self, seat: ReadyBot) -> bool:
        """Whether this very seat waits for a budget."""
        kept, _ = self._by_account.get(seat.bot_id, (None, 0.0))
        waiting = (address.seats.get(seat.bot_id) for address in self._addresses.values())
        return kept is seat or any(one is seat for one in waiting)

    @property
    def addresses(self) -> Mapping[str, float]:
        """When the budget of each spent egress address frees."""
        return {ip: one.frees_at for ip, one in self._addresses.items()}

    @property
    def keeps_addresses(self) -> bool:
        """Whether some seat waits for the budget of its address."""
        return any(one.seats for one in self._addresses.values())

    def refusal(self, now: float) -> QuotaExhausted | None:
        """Return what a request is refused with while no seat can be used; None: nothing is spent."""
        addresses = {ip: one.frees_at for ip, one in self._addresses.items() if one.seats}
        frees_at = [*addresses.values(), *(until for _, until in self._by_account.values())]
        if self._others_free_at is not None:
            frees_at.append(self._others_free_at)
        if not frees_at:
            return None
        return QuotaExhausted(_whose(sorted(addresses)), max(0.0, min(frees_at) - now))


class RestingAccounts:
    """When the first account may be used again, where no bot is on its way with one."""

    def __init__(self) -> None:
        self._usable_at: dict[str, float | None] = {}  # by bot that found no account
        self._others: set[str] = set()  # bots that do something else

    def note(self, changed: BotChanged, now: float) -> None:
        """Take note of one change of a bot."""
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
        """Return `error` with the truth about when to ask again, where that is known better.

        No time at all is said where all that rest do so until a person acts.
        """
        known = [at for at in self._usable_at.values() if at is not None]
        if known and not self._others:
            usable_in = min(known) - now
            if usable_in > UNTIL_ACTED_S / 2:
                return NotReady(f"{error}: no account is free, and those that rest need a person")
            if usable_in > (error.retry_after or 0.0):
                return NotReady(str(error), usable_in)
        return error


def _whose(addresses: list[str]) -> str:
    """Say whose budget is spent: where it is an address's, its accounts may well have some left."""
    match addresses:
        case []:
            return "the daily budget of every account is spent"
        case [ip]:
            return f"the daily budget of the address {ip} is spent"
        case _:
            return f"the daily budgets of the addresses {', '.join(addresses)} are spent"
