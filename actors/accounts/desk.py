"""Account operations of the admin API.

The command line does the same to the same Redis without us; nothing is remembered here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, assert_never

from actors.accounts.admin import AccountRow
from actors.accounts.import_file import NewAccount
from actors.actor import Actor, Address, Ask, Envelope
from actors.clock import Clock
from actors.errors import PasswordNeeded, ServiceError


@dataclass(frozen=True, slots=True)
class ListAccounts(Ask[tuple[AccountRow, ...]]):
    """Every account, by name."""


@dataclass(frozen=True, slots=True)
class AddAccounts(Ask[tuple[str, ...]]):
    """Add accounts; those that are there already get the new password.

    The answer: the names under which they are stored; another one where it was a second spelling. Fails
    with PasswordNeeded, and stores none, where one has no password, here or in Redis.
    """

    accounts: tuple[NewAccount, ...]


@dataclass(frozen=True, slots=True)
class ReleaseAccount(Ask[None]):
    """Free an account. Fails with NoSuchAccount, and AccountInUse without `force`."""

    account: str
    force: bool = False


@dataclass(frozen=True, slots=True)
class ResetAccount(Ask[None]):
    """End an account's cooldown and give it its whole budget. Fails with NoSuchAccount."""

    account: str


@dataclass(frozen=True, slots=True)
class RemoveAccount(Ask[None]):
    """Forget an account. Fails with NoSuchAccount, and AccountInUse without `force`."""

    account: str
    force: bool = False


AccountOrder = ListAccounts | AddAccounts | ReleaseAccount | ResetAccount | RemoveAccount


class KeepsAccounts(Protocol):
    """What the desk needs of the store."""

    async def add(
        self, account: str, password: str | None, shared_secret: str | None = None
    ) -> str:
        """Add one, or change its password; return its stored name. Raises StoreUnavailable."""

    async def without_password(self, accounts: Iterable[str]) -> tuple[str, ...]:
        """Return those for which no password is stored. Raises StoreUnavailable."""


async def add_all(store: KeepsAccounts, accounts: Sequence[NewAccount]) -> tuple[str, ...]:
    """Add accounts, or change their passwords; return their stored names.

    Raises:
        PasswordNeeded: some have no password, here or in Redis. None is added then.
        StoreUnavailable, StoreMisused: some may be added.
    """
    bare = [one.name for one in accounts if one.password is None]
    if bare and (lacking := await store.without_password(bare)):
        raise PasswordNeeded(lacking)
    return tuple([await store.add(one.name, one.password, one.shared_secret) for one in accounts])


class LooksAfterAccounts(Protocol):
    """What the desk needs of the operator's view of it."""

    async def overview(self) -> list[AccountRow]:
        """Return every account, by name. Raises StoreUnavailable, as all of these."""

    async def release(self, account: str, *, force: bool = False) -> None:
        """Free an account."""

    async def reset(self, account: str) -> None:
        """End its cooldown, give its budget back."""

    async def remove(self, account: str, *, force: bool = False) -> None:
        """Forget it."""


class AccountDesk(Actor[AccountOrder]):
    """Actor that runs the account orders of the admin API, one at a time."""

    def __init__(
        self,
        store: KeepsAccounts,
        admin: LooksAfterAccounts,
        *,
        address: Address[AccountOrder],
        clock: Clock,
    ) -> None:
        super().__init__(address, clock=clock)
        self._store = store
        self._admin = admin

    async def handle(self, envelope: Envelope[AccountOrder]) -> None:
        """Carry out one order; what Redis or its state forbids is the answer."""
        try:
            answer = await self._carry_out(envelope.message)
        except ServiceError as error:
            if envelope.reply is not None:
                envelope.reply.fail(error)
        else:
            if envelope.reply is not None:
                envelope.reply.set(answer)

    async def _carry_out(self, order: AccountOrder) -> Any:
        match order:
            case ListAccounts():
                return tuple(await self._admin.overview())
            case AddAccounts(accounts=accounts):
                return await add_all(self._store, accounts)
            case ReleaseAccount(account=account, force=force):
                await self._admin.release(account, force=force)
            case ResetAccount(account=account):
                await self._admin.reset(account)
            case RemoveAccount(account=account, force=force):
                await self._admin.remove(account, force=force)
            case other:
                assert_never(other)
        return None
