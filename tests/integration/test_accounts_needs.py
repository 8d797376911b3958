"""Accounts that need an operator, on a real Valkey: not used until one acts, in any way."""

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


class Env:
    """One account, "axe", of one or several processes."""

    def __init__(self, redis: Redis, prefix: str) -> None:  # noqa: F811 - fixtures have this name
        self.redis = redis
        self.prefix = prefix
        self.admin = AccountAdmin(redis, prefix=prefix, quota=QuotaLimits())

    def key(self, name: str) -> str:
        return f"{self.prefix}:{name}"

    def store(self, encryption: Encryption | None = None) -> AccountStore:
        """Return the store of another process."""
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
        """Return the remaining seconds of the cooldown; None without one."""
        ends = await self.redis.zscore(self.key("cooldowns"), "axe")
        seconds, _ = await self.redis.time()
        return None if ends is None else ends / 1000 - seconds

    async def row(self) -> AccountRow:
        (row,) = await self.admin.overview()
        return row

    async def is_free(self) -> bool:
        """Return whether another process can check it out now."""
        store = self.store()
        try:
            await store.release(await store.acquire("another"))
        except NoAccountFree:
            return False
        return True


@pytest.fixture
async def env(redis: Redis, prefix: str) -> Env:  # noqa: F811 - fixtures have these names
    made = Env(redis, prefix)
    await made.store().add("axe", "wrong", "c2VjcmV0")
    return made


async def test_it_is_not_used_for_years_and_the_list_says_why_without_an_end(env: Env) -> None:
    await env.refused()
    assert not await env.is_free()
    assert await env.cools_for() == pytest.approx(UNTIL_ACTED_S, abs=5)
    row = await env.row()
    assert (row.state, row.cooldown_s) == (AccountState.COOLING_DOWN, None)
    assert row.cooldown_reason == REASON


async def test_the_list_is_shown_by_a_redis_that_cannot_write(env: Env) -> None:
    await env.refused()
    await env.redis.hset(env.key("passwords"), "axe", "other")
    await env.redis.config_set("min-replicas-to-write", 1)
    try:
        row = await env.row()
    finally:
        await env.redis.config_set("min-replicas-to-write", 0)
    assert row.state is AccountState.COOLING_DOWN
    assert (await env.row()).state is AccountState.FREE


async def test_a_cooldown_with_an_end_shows_it(env: Env) -> None:
    await env.refused(HALF_HOUR_S)
    assert (await env.row()).cooldown_s == pytest.approx(HALF_HOUR_S, abs=5)


Act = Callable[[Env], Awaitable[object]]


async def add_again(env: Env) -> None:
    await env.store().add("axe", "right")


async def add_sealed(env: Env) -> None:
    """The same password again: the operator wants another attempt."""
    await env.store(Encryption((bytes(range(32)),))).add("axe", "wrong")


async def add_other_spelling(env: Env) -> None:
    assert await env.store().add("AXE", "right") == "axe"


async def hset_as_the_seed(env: Env) -> None:
    await env.redis.hset(env.key("passwords"), "axe", "right")


async def hset_secret(env: Env) -> None:
    await env.redis.hset(env.key("secrets"), "axe", "b3RoZXI=")


async def hset_no_text(env: Env) -> None:
    await env.redis.hset(env.key("passwords"), "axe", b"\xff\x00right")


async def reset(env: Env) -> None:
    await env.admin.reset("axe")


async def log_on_by_hand(env: Env) -> None:
    lease = await env.admin.checkout("axe", "me", lease_s=60.0)
    store = env.store()
    await store.note_logon(lease)
    await store.release(lease)


async def remove_and_add(env: Env) -> None:
    await env.admin.remove("axe")
    await env.store().add("axe", "wrong")


ACTS: tuple[Act, ...] = (
    *(add_again, add_sealed, add_other_spelling, hset_as_the_seed, hset_secret, hset_no_text),
    *(reset, log_on_by_hand, remove_and_add),
)


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("is_seen_by", ["checkout", "list"])
async def test_every_action_of_an_operator_allows_another_attempt(
    env: Env, act: Act, is_seen_by: str
) -> None:
    await env.refused()
    await act(env)
    if is_seen_by == "list":
        assert (await env.row()).state is AccountState.FREE
        assert await env.cools_for() is None
    assert await env.is_free()
    assert await env.redis.hlen(env.key("refused-credentials")) == 0
    await env.refused(HALF_HOUR_S)  # the earlier refusal is forgotten
    assert await env.cools_for() == pytest.approx(HALF_HOUR_S, abs=5)


@pytest.mark.parametrize("act", [add_again, hset_as_the_seed, hset_secret])
@pytest.mark.parametrize("reason", [BUDGET_SPENT, "Steam refused the logon with result 87"])
async def test_new_credentials_end_only_cooldowns_of_the_old_ones(
    env: Env, act: Act, reason: str
) -> None:
    await env.refused(HALF_HOUR_S)
    await env.cooldown_over()
    await env.refused(HALF_HOUR_S, reason, repeated_s=None)
    await act(env)
    assert not await env.is_free()
    assert (await env.row()).cooldown_reason == reason


async def test_the_same_credentials_are_tried_once_more_by_any_process(env: Env) -> None:
    await env.refused(HALF_HOUR_S)
    assert await env.cools_for() == pytest.approx(HALF_HOUR_S, abs=5)
    await env.cooldown_over()
    await env.refused(HALF_HOUR_S)
    assert await env.cools_for() == pytest.approx(UNTIL_ACTED_S, abs=5)
    await hset_as_the_seed(env)
    await env.refused(HALF_HOUR_S)
    assert await env.cools_for() == pytest.approx(HALF_HOUR_S, abs=5)


async def test_credentials_that_change_while_the_old_ones_are_tried_are_tried_too(
    env: Env,
) -> None:
    store = env.store()
    lease = await env.lease(store)
    await hset_as_the_seed(env)
    await store.cool_down(lease, UNTIL_ACTED_S, REASON, repeated_s=UNTIL_ACTED_S)
    await store.release(lease)
    assert await env.is_free()


async def test_a_need_without_a_password_read_is_about_the_stored_one(env: Env) -> None:
    """E.g. a token was refused, so no password was read."""
    store = env.store()
    lease = await store.acquire("us")
    await store.cool_down(lease, UNTIL_ACTED_S, REASON, repeated_s=UNTIL_ACTED_S)
    await store.release(lease)
    assert not await env.is_free()
    await hset_as_the_seed(env)
    assert await env.is_free()


async def test_a_need_that_all_accounts_share_is_forgotten_with_its_cooldown(env: Env) -> None:
    await env.refused(HALF_HOUR_S)
    await env.store().lift_cooldown("axe", REASON)
    await env.refused(HALF_HOUR_S)
    assert await env.cools_for() == pytest.approx(HALF_HOUR_S, abs=5)


async def test_a_success_forgets_the_refused_credentials(env: Env) -> None:
    await env.refused(HALF_HOUR_S)
    await env.cooldown_over()
    store = env.store()
    lease = await env.lease(store)
    await store.note_logon(lease)
    await store.release(lease)
    await env.refused(HALF_HOUR_S)
    assert await env.cools_for() == pytest.approx(HALF_HOUR_S, abs=5)


async def test_a_cooldown_of_an_older_version_is_ended_by_adding_the_account_again(
    env: Env,
) -> None:
    """It records no credentials, so new ones by HSET alone are not noticed."""
    await env.refused(HALF_HOUR_S)
    await env.redis.delete(env.key("refused-credentials"))
    assert not await env.is_free()
    await add_again(env)
    assert await env.is_free()
