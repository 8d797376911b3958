"""Model of the scripts of actors/accounts/lua in plain Python, without Redis.

Times are booleans: a lease is valid or not, a cooldown lasts or not, a request counts or
not.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from actors.accounts.admin import AccountState
from actors.accounts.models import Lease


@dataclass
class Held:
    """An entry in `leases` and `holders`; one that is not alive has lapsed and not ended yet."""

    token: int
    holder: str
    is_alive: bool = True


@dataclass
class Account:
    """The state of one name; `score` None: not in `checkouts`."""

    score: float | None = None
    has_password: bool = False
    held: Held | None = None
    newest: int = 0  # fencing token; of an ended lease one more
    used: int = 0
    is_cooling: bool = False
    auth: str | None = None
    twins: list[Account] = field(default_factory=list, repr=False)  # other spellings of the name

    @property
    def is_free(self) -> bool:
        """Whether the score says free; a double reset leaves one below 0."""
        return self.score is not None and self.score <= 0

    @property
    def is_leased(self) -> bool:
        return self.held is not None and self.held.is_alive

    @property
    def is_in_use(self) -> bool:
        """For an operator: leased, or checked out by an old client."""
        return self.is_leased or (self.held is None and (self.score or 0) > 0)

    @property
    def uses_the_session(self) -> bool:
        """Whether no other spelling of its name may be used now."""
        return self.is_leased or (self.score or 0) > 0

    @property
    def rests(self) -> bool:
        """Whether another spelling of its name is in use."""
        return any(one.uses_the_session for one in self.twins)

    @property
    def spent(self) -> int:
        """What counts against its budget: one for all spellings."""
        return self.used + sum(one.used for one in self.twins)

    def is_usable(self, budget: int) -> bool:
        """Whether the next checkout may have it."""
        return (
            self.is_free
            and self.has_password
            and not self.is_leased
            and not self.is_cooling
            and not self.rests
            and self.spent < budget
        )

    def frees_some_day(self, budget: int) -> bool:
        """Whether waiting alone may make it usable."""
        spent = self.has_password and not self.rests and self.spent >= budget
        return self.is_free and not self.is_leased and (self.is_cooling or spent)

    def is_held_with(self, token: int) -> bool:
        return self.held is not None and self.held.token == token

    def reap(self) -> None:
        if self.held is not None and not self.held.is_alive:
            self.end_checkout()

    def lease(self, token: int, holder: str) -> None:
        self.held = Held(token, holder)
        self.newest = token
        self.demand()

    def demand(self) -> None:
        """Set the score, for clients of the first BotAPI."""
        if self.is_free:
            self.score = 1

    def renew(self, lease: Lease) -> bool:
        """Return whether the lease is valid."""
        if self.held is not None and self.held.token == lease.fencing_token:
            self.held.is_alive = True
            self.demand()
            return True
        if self.held is not None or self.score is None or self.newest > lease.fencing_token:
            return False
        if self.newest < lease.fencing_token and not self.is_free:
            return False
        if self.rests:
            return False
        self.lease(lease.fencing_token, lease.holder)
        return True

    def end_checkout(self) -> None:
        """End the checkout, so that it cannot be renewed."""
        self.newest = max(self.newest, self.held.token if self.held else 0) + 1
        self.held = None
        self.score = None if self.score is None else 0

    def forget(self) -> None:
        self.end_checkout()
        self.score, self.has_password, self.auth = None, False, None
        for one in self.twins:
            if one.score is not None:
                one.used += self.used
        self.used, self.is_cooling = 0, False

    def state(self, budget: int) -> AccountState:
        """Return the state as an operator sees it."""
        states = (
            (self.score is None, AccountState.NOT_LISTED),
            (self.is_leased, AccountState.IN_USE),
            (self.held is not None, AccountState.LAPSED),
            (not self.is_free, AccountState.CHECKED_OUT),
            (self.rests, AccountState.UNUSABLE),
            (not self.has_password, AccountState.NO_PASSWORD),
            (self.is_cooling, AccountState.COOLING_DOWN),
            (self.spent >= budget, AccountState.SPENT),
        )
        return next((state for holds, state in states if holds), AccountState.FREE)


@dataclass
class Model:
    """All accounts, and the budget of the one IP."""

    names: tuple[str, ...]
    accounts: dict[str, Account] = field(default_factory=dict)
    ip_used: int = 0

    def __post_init__(self) -> None:
        self.accounts = {name: Account() for name in self.names}
        for name, account in self.accounts.items():
            account.twins = [
                one
                for other, one in self.accounts.items()
                if other != name and other.casefold() == name.casefold()
            ]

    def reap(self) -> None:
        for account in self.accounts.values():
            account.reap()

    def renew(self, lease: Lease) -> bool:
        """Return whether the lease is valid; if Redis had lost it, the holder's other leases end."""
        account = self.accounts[lease.account]
        was_lost = not (account.is_leased and account.is_held_with(lease.fencing_token))
        may = account.renew(lease)
        if may and was_lost:
            self.end_others(lease)
        return may

    def end_others(self, lease: Lease) -> None:
        """End all other checkouts of a holder."""
        for name, other in self.accounts.items():
            if name != lease.account and other.held and other.held.holder == lease.holder:
                other.end_checkout()
