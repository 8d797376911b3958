"""The store on a real Valkey with its model, and the invariants of both.

tests/property/test_accounts_machine.py has the rules.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import redis as sync_redis
from hypothesis.stateful import RuleBasedStateMachine, invariant

from actors.accounts.admin import AccountAdmin
from actors.accounts.models import Lease, QuotaLimits
from actors.accounts.store import AccountStore
from actors.errors import AccountInUse, LeaseLost, NoSuchAccount
from actors.redis.client import connect
from support.accounts_model import Account, Held, Model

T = TypeVar("T")
PREFIX = "machine"
NAMES = ("Axe", "axe", "bane")  # few, so that much happens to each; two are spellings of one name
HOLDERS = ("us/1", "us/2", "them/1")
IP = "192.0.2.1"
QUOTA = QuotaLimits(per_account=2, per_ip=2)
LEASE_S = 3600.0  # no example takes so long
PAST = 1  # ms since 1970
DAY_MS = 86_400_000


@dataclass
class Snapshot:
    """Everything in Redis at some moment, and the model of it."""

    dump: dict[bytes, bytes]
    model: Model


class CheckoutsUnderTest(RuleBasedStateMachine):
    """The store and the operator's view of it, under test."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        url = url.removesuffix("0") + "1"  # a database of its own, which is flushed
        # Their types do not say what decode_responses decides.
        self.raw: Any = sync_redis.Redis.from_url(url, decode_responses=True)
        self.bytes: Any = sync_redis.Redis.from_url(url)  # a dump is no text
        self.raw.flushdb()
        self.client = connect(url)
        self.store = self.new_store()
        self.admin = AccountAdmin(self.client, prefix=PREFIX, quota=QUOTA)
        self.model = Model(NAMES)
        self.issued: list[Lease] = []
        self.newest_issued = dict.fromkeys(NAMES, 0)
        # Leases that their holders believe to have; `in_doubt` until the next renewal.
        self.believers: set[Lease] = set()
        self.in_doubt: set[Lease] = set()
        self.snapshots: list[Snapshot] = []
        self.saved = 0

    def new_store(self) -> AccountStore:
        return AccountStore(self.client, prefix=PREFIX, quota=QUOTA, lease_s=LEASE_S)

    def teardown(self) -> None:
        self.runner.run(self.client.aclose())
        self.runner.close()
        self.raw.close()
        self.bytes.close()

    def run(self, call: Awaitable[T]) -> T:
        async def wait() -> T:
            return await call

        return self.runner.run(wait())

    def key(self, name: str) -> str:
        return f"{PREFIX}:{name}"

    def may(self, call: Awaitable[object]) -> bool:
        """Return whether the store lets the holder do it."""
        try:
            self.run(call)
        except LeaseLost:
            return False
        return True

    def any_lease(self, which: int) -> tuple[Lease, Account]:
        """Return one of the latest leases, valid or not."""
        lease = self.issued[-1 - which % min(3, len(self.issued))]
        return lease, self.model.accounts[lease.account]

    def is_held_by(self, name: str, holder: str) -> bool:
        held = self.model.accounts[name].held
        return held is not None and held.holder == holder

    @property
    def accounts(self) -> Iterator[tuple[str, Account]]:
        return iter(self.model.accounts.items())

    def leased(self, lease: Lease) -> None:
        """Record a new lease; only leases of the same holder or in doubt may still be believed."""
        assert lease.fencing_token > self.newest_issued[lease.account]
        self.newest_issued[lease.account] = lease.fencing_token
        others = {one for one in self.believers if one.account == lease.account} - self.in_doubt
        assert {one.holder for one in others} <= {lease.holder}
        self.believers -= others
        self.believers.add(lease)
        self.issued.append(lease)
        self.model.accounts[lease.account].lease(lease.fencing_token, lease.holder)

    @contextlib.contextmanager
    def only_one_of(self, lease: Lease) -> Iterator[None]:
        """Record that the holder of `lease` stops using its accounts whose checkouts end within."""
        held = {name for name, _ in self.accounts if self.is_held_by(name, lease.holder)}
        yield
        ended = {name for name in held if not self.is_held_by(name, lease.holder)}
        self.believers -= {
            one for one in self.believers if one.holder == lease.holder and one.account in ended
        }

    def doubt(self, name: str) -> None:
        """Record a change of the account that its holder does not know."""
        self.in_doubt |= {one for one in self.believers if one.account == name}

    def is_done(self, order: Awaitable[object], exists: bool, allowed: bool) -> bool:  # noqa: FBT001 - two facts
        try:
            self.run(order)
        except NoSuchAccount:
            assert not exists
            return False
        except AccountInUse:
            assert exists
            assert not allowed
            return False
        assert exists
        assert allowed
        return True

    def now_ms(self) -> int:
        seconds, micros = self.raw.time()
        return int(seconds * 1000 + micros // 1000)

    # -- invariants -------------------------------------------------------------------------

    @invariant()
    def at_most_one_uses_an_account(self) -> None:
        sure = [one.account.casefold() for one in self.believers - self.in_doubt]
        assert len(sure) == len(set(sure))

    @invariant()
    def redis_holds_what_the_model_holds(self) -> None:
        now = self.now_ms()
        scores = dict(self.raw.zrange(self.key("checkouts"), 0, -1, withscores=True))
        leases = dict(self.raw.zrange(self.key("leases"), 0, -1, withscores=True))
        entries = self.raw.hgetall(self.key("holders"))
        sentries = self.raw.hgetall(self.key("sentries"))
        assert scores.keys() | leases.keys() | entries.keys() <= set(NAMES)
        for name, account in self.accounts:
            assert scores.get(name) == account.score
            assert held_in(entries.get(name), leases.get(name), now) == account.held
            token = None if account.auth is None else f'"refresh_token":"{account.auth}"'
            assert (token or "") in sentries.get(name, "")
            assert (name in sentries) == (account.auth is not None)

    @invariant()
    def an_operator_sees_the_same(self) -> None:
        rows = {row.account: row for row in self.run(self.admin.overview())}
        assert list(rows) == [
            name for name, one in self.accounts if one.score is not None or one.has_password
        ]
        for name, row in rows.items():
            account = self.model.accounts[name]
            assert row.state is account.state(QUOTA.per_account)
            assert row.used == account.spent <= QUOTA.per_account
            assert (row.cooldown_s is not None) == account.is_cooling
        assert (
            self.raw.zcount(self.key(f"quota:ip:{IP}"), self.now_ms() - DAY_MS, "inf")
            <= QUOTA.per_ip
        )


def held_in(entry: str | None, lease_ends: float | None, now: int) -> Held | None:
    """Read the entries in `holders` and `leases`, which both have an account or neither."""
    assert (entry is None) == (lease_ends is None)
    if entry is None or lease_ends is None:
        return None
    token, _, holder = entry.split(" ", 2)
    return Held(int(token), holder, lease_ends > now)
