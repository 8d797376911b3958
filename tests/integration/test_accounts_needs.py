"""Accounts that need a person, on a real Valkey: left alone until one acts, whoever and however."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis
from support.valkey import prefix, redis, valkey_url  # noqa: F401 - fixtures

from actors.accounts.admin import AccountAdmin, AccountRow, AccountState
from actors.accounts.encryption import Encryption
from actors.accounts.models import BUDGET_SPENT, NEED, UNTIL_ACTED_S, Lease, QuotaLimits
from actors.accounts.store import AccountStore
from actors.errors import CannotDecrypt, NeedsHuman, NoAccountFree

pytestmark = pytest.mark.integration

REASON = f"{NEED}the right password"
HALF_HOUR_S = 1800.0


class World:
    """One account, "axe", of one or several processes."""

    def __init__(self, redis: Redis, prefix: str) -> None:  # noqa: F811 - fixtures have this name
        self.redis = redis
        self.prefix = prefix
        self.admin = AccountAdmin(redis, prefix=prefix, quota=QuotaLimits())

    def key(self, name: str) -> str:
        return f"{self.prefix}:{name}"

    def store(self, encryption: Encryption | None = None) -> AccountStore:
        """Return the view of one more process."""
        return AccountStore(
            self.redis, prefix=self.prefix, quota=QuotaLimits(), lease_s=60.0, encryption=encryption
        )

    async def lease(self, store: AccountStore) -> Lease:
        lease = await store.acquire("us")
        with contextlib.suppress(CannotDecrypt, NeedsHuman):
            await store.credential(lease)
        return lease

    async def refused(
        self,
        seconds: float = UNTIL_ACTED_S,
        reason: str = REASON,
        repeated_s: float | None = UNTIL_ACTED_S,
    ) -> None:
        """Let a process try the account, and cool it down."""
        store = self.store()
        lease = await self.lease(store)
        await store.cool_down(lease, seconds, reason, repeated_s=repeated_s)
        await store.release(lease)

    async def cooldown_over(self) -> None:
        await self.redis.zadd(self.key("cooldowns"), {"axe": 1}, xx=True)

    async def cools_for(self) -> float | None:
        """Return the seconds that are left; None: it may be used."""
        ends = await self.redis.zscore(self.key("cooldowns"), "axe")
        seconds, _ = await self.redis.time()
        return None if ends is None else ends / 1000 - seconds

    async def row(self) -> AccountRow:
        (row,) = await self.admin.overview()
        return row

    async def is_free(self) -> bool:
        """Whether another process would check it out now."""
        store = self.store()
        try:
            await store.release(await store.acquire("another"))
        except NoAccountFree:
            return False
        return True


@pytest.fixture
async def world(redis: Redis, prefix: str) -> World:  # noqa: F811 - fixtures have these names
    made = World(redis, prefix)
    await made.store().add("axe", "wrong", "c2VjcmV0")
    return made


async def test_it_is_nobodys_for_years_and_the_list_says_why_and_no_end(world: World) -> None:
    await world.refused()
    assert not await world.is_free()
    assert await world.cools_for() == pytest.approx(UNTIL_ACTED_S, abs=5)
    row = await world.row()
    assert (row.state, row.cooldown_s) == (AccountState.COOLING_DOWN, None)
    assert row.cooldown_reason == REASON


async def test_the_list_is_shown_by_a_redis_that_cannot_write(world: World) -> None:
    await world.refused()
    await world.redis.hset(world.key("passwords"), "axe", "other")
    await world.redis.config_set("min-replicas-to-write", 1)
    try:
        row = await world.row()
    finally:
        await world.redis.config_set("min-replicas-to-write", 0)
    assert row.state is AccountState.COOLING_DOWN
    assert (await world.row()).state is AccountState.FREE


async def test_a_cooldown_with_an_end_shows_it(world: World) -> None:
    await world.refused(HALF_HOUR_S)
    assert (await world.row()).cooldown_s == pytest.approx(HALF_HOUR_S, abs=5)


Act = Callable[[World], Awaitable[object]]


async def add_again(world: World) -> None:
    await world.store().add("axe", "right")


async def add_sealed(world: World) -> None:
    """The very same password, typed once more: a person wants it to be tried."""
    await world.store(Encryption((bytes(range(32)),))).add("axe", "wrong")


async def add_other_spelling(world: World) -> None:
    assert await world.store().add("AXE", "right") == "axe"


async def hset_as_the_seed(world: World) -> None:
    await world.redis.hset(world.key("passwords"), "axe", "right")


async def hset_secret(world: World) -> None:
    await world.redis.hset(world.key("secrets"), "axe", "b3RoZXI=")


async def hset_no_text(world: World) -> None:
    await world.redis.hset(world.key("passwords"), "axe", b"\xff\x00right")


async def reset(world: World) -> None:
    await world.admin.reset("axe")


async def log_on_by_hand(world: World) -> None:
    lease = await world.admin.checkout("axe", "me", lease_s=60.0)
    store = world.store()
    await store.note_logon(lease)
    await store.release(lease)


async def remove_and_add(world: World) -> None:
    await world.admin.remove("axe")
    await world.store().add("axe", "wrong")


ACTS: tuple[Act, ...] = (
    *(add_again, add_sealed, add_other_spelling, hset_as_the_seed, hset_secret, hset_no_text),
    *(reset, log_on_by_hand, remove_and_add),
)


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("is_seen_by", ["checkout", "list"])
async def test_whatever_a_person_does_lets_it_be_tried(
    world: World, act: Act, is_seen_by: str
) -> None:
    await world.refused()
    await act(world)
    if is_seen_by == "list":
        assert (await world.row()).state is AccountState.FREE
        assert await world.cools_for() is None
    assert await world.is_free()
    assert await world.redis.hlen(world.key("refused-credentials")) == 0
    await world.refused(HALF_HOUR_S)  # and what was refused before says nothing any more
    assert await world.cools_for() == pytest.approx(HALF_HOUR_S, abs=5)


@pytest.mark.parametrize("act", [add_again, hset_as_the_seed, hset_secret])
@pytest.mark.parametrize("reason", [BUDGET_SPENT, "Steam refused the logon with result 87"])
async def test_new_credentials_end_nothing_that_the_old_ones_did_not_lead_to(
    world: World, act: Act, reason: str
) -> None:
    await world.refused(HALF_HOUR_S)
    await world.cooldown_over()
    await world.refused(HALF_HOUR_S, reason, repeated_s=None)
    await act(world)
    assert not await world.is_free()
    assert (await world.row()).cooldown_reason == reason


async def test_the_same_credentials_are_tried_once_more_by_whatever_process(world: World) -> None:
    await world.refused(HALF_HOUR_S)
    assert await world.cools_for() == pytest.approx(HALF_HOUR_S, abs=5)
    await world.cooldown_over()
    await world.refused(HALF_HOUR_S)
    assert await world.cools_for() == pytest.approx(UNTIL_ACTED_S, abs=5)
    await hset_as_the_seed(world)
    await world.refused(HALF_HOUR_S)
    assert await world.cools_for() == pytest.approx(HALF_HOUR_S, abs=5)


async def test_credentials_that_change_while_the_old_ones_are_tried_are_tried_too(
    world: World,
) -> None:
    store = world.store()
    lease = await world.lease(store)
    await hset_as_the_seed(world)
    await store.cool_down(lease, UNTIL_ACTED_S, REASON, repeated_s=UNTIL_ACTED_S)
    await store.release(lease)
    assert await world.is_free()


async def test_a_need_without_a_password_shown_is_about_what_is_stored(world: World) -> None:
    """A token was refused, say, for an agreement: no password was read."""
    store = world.store()
    lease = await store.acquire("us")
    await store.cool_down(lease, UNTIL_ACTED_S, REASON, repeated_s=UNTIL_ACTED_S)
    await store.release(lease)
    assert not await world.is_free()
    await hset_as_the_seed(world)
    assert await world.is_free()


async def test_a_need_that_all_accounts_share_is_forgotten_with_its_cooldown(world: World) -> None:
    await world.refused(HALF_HOUR_S)
    await world.store().lift_cooldown("axe", REASON)
    await world.refused(HALF_HOUR_S)
    assert await world.cools_for() == pytest.approx(HALF_HOUR_S, abs=5)


async def test_a_success_is_no_reason_to_stop_the_next_time(world: World) -> None:
    await world.refused(HALF_HOUR_S)
    await world.cooldown_over()
    store = world.store()
    lease = await world.lease(store)
    await store.note_logon(lease)
    await store.release(lease)
    await world.refused(HALF_HOUR_S)
    assert await world.cools_for() == pytest.approx(HALF_HOUR_S, abs=5)


async def test_a_cooldown_of_an_older_version_is_ended_by_adding_the_account_again(
    world: World,
) -> None:
    """It notes no credentials: new ones by HSET alone cannot be told there."""
    await world.refused(HALF_HOUR_S)
    await world.redis.delete(world.key("refused-credentials"))
    assert not await world.is_free()
    await add_again(world)
    assert await world.is_free()
