"""Leases when Redis's time jumps, on a real Valkey: a holder that renews in time keeps its account.

The time of the last note is moved here; tests/integration/test_lease_events.py moves the clock itself.
"""

from __future__ import annotations

import pytest
from redis.asyncio import Redis
from support.valkey import prefix, redis, valkey_url  # noqa: F401 - fixtures

from actors.accounts.models import Lease, QuotaLimits
from actors.accounts.store import AccountStore
from actors.errors import LeaseLost, NoAccountFree

pytestmark = pytest.mark.integration

LEASE_S = 60.0
LONG_MS = 40_000  # without a record: longer than any pause of a running bot
SHORT_MS = 25_000  # a third of the lease, and some more


class Env:
    """A store with one account, and the times in Redis."""

    def __init__(self, redis: Redis, prefix: str) -> None:  # noqa: F811 - fixtures have these names
        self.redis = redis
        self._prefix = prefix
        self.store = self.new_store()

    def new_store(self) -> AccountStore:
        return AccountStore(self.redis, prefix=self._prefix, quota=QuotaLimits(), lease_s=LEASE_S)

    def key(self, name: str) -> str:
        return f"{self._prefix}:{name}"

    async def hold(self) -> Lease:
        await self.store.add("axe", "pw")
        return await self.store.acquire("us/bot-1")

    async def is_taken_by_others(self) -> bool:
        try:
            await self.new_store().acquire("them/bot-1")
        except NoAccountFree:
            return False
        return True

    async def jump(self, ms: int) -> None:
        """Make all times in Redis older, or younger if `ms` is below 0."""
        await self.redis.zincrby(self.key("leases"), -ms, "axe")
        noted = await self.redis.get(self.key("server-time"))
        if noted is not None:
            await self.redis.set(self.key("server-time"), int(noted) - ms)

    async def left_ms(self) -> float:
        seconds, micros = await self.redis.time()
        ends = await self.redis.zscore(self.key("leases"), "axe")
        assert ends is not None
        return float(ends) - (seconds * 1000 + micros // 1000)


@pytest.fixture
def env(redis: Redis, prefix: str) -> Env:  # noqa: F811 - fixtures have these names
    return Env(redis, prefix)


@pytest.mark.parametrize("ms", [LONG_MS, 3_600_000, 86_400_000])
async def test_a_jump_forward_takes_nothing_from_a_lease(env: Env, ms: int) -> None:
    lease = await env.hold()
    await env.jump(ms)
    assert not await env.is_taken_by_others()
    assert LEASE_S * 1000 - 5_000 < await env.left_ms() <= LEASE_S * 1000
    assert await env.store.renew(lease) is False  # it held all the time


async def test_the_renewal_of_one_keeps_the_leases_of_all(env: Env) -> None:
    await env.store.add("bane", "pw")
    other = await env.store.acquire("us/bot-2")
    lease = await env.hold()
    await env.jump(LONG_MS + 30_000)
    await env.redis.zincrby(env.key("leases"), -LONG_MS - 30_000, "bane")
    await env.store.renew(other)
    assert not await env.is_taken_by_others()
    await env.store.renew(lease)


async def test_after_the_jump_a_holder_that_does_not_renew_loses_it_in_its_time(env: Env) -> None:
    lease = await env.hold()
    await env.jump(3_600_000)
    assert not await env.is_taken_by_others()
    for _ in range(3):  # 75 s of instances that go on asking
        await env.jump(SHORT_MS)
        taken = await env.is_taken_by_others()
    assert taken
    with pytest.raises(LeaseLost):
        await env.store.renew(lease)


@pytest.mark.parametrize("ms", [-90_000, -3_600_000])
async def test_a_jump_back_makes_no_lease_longer(env: Env, ms: int) -> None:
    await env.hold()
    await env.jump(ms)
    assert await env.left_ms() > LEASE_S * 1000
    assert not await env.is_taken_by_others()
    assert 0 < await env.left_ms() <= LEASE_S * 1000


async def test_a_lease_that_an_older_version_renewed_after_the_jump_back_stays(env: Env) -> None:
    await env.hold()
    await env.jump(-3_600_000)
    seconds, _ = await env.redis.time()
    renewed = (seconds + LEASE_S) * 1000
    await env.redis.zadd(env.key("leases"), {"axe": renewed})
    assert not await env.is_taken_by_others()
    assert await env.redis.zscore(env.key("leases"), "axe") == renewed


async def test_with_older_versions_alone_a_lapsed_lease_is_taken_over_at_once(env: Env) -> None:
    """They record no time, so there is nothing to compare with."""
    await env.hold()
    await env.redis.delete(env.key("server-time"))
    await env.jump(LONG_MS + 30_000)
    assert await env.is_taken_by_others()


async def test_free_accounts_and_ones_own_do_not_wait_after_a_long_pause(env: Env) -> None:
    await env.hold()
    await env.jump(86_400_000)
    await env.store.add("bane", "pw")
    assert (await env.new_store().acquire("us/bot-1", before="axe")).account == "axe"
    assert (await env.new_store().acquire("us/bot-2")).account == "bane"


@pytest.mark.parametrize("noted", ["", "tomorrow"])
async def test_a_bad_value_in_the_record_stops_nothing(env: Env, noted: str) -> None:
    lease = await env.hold()
    await env.redis.set(env.key("server-time"), noted)
    assert await env.store.renew(lease) is False


@pytest.mark.parametrize("lost", [("leases",), ("leases", "holders")])
async def test_a_renewal_reports_that_the_lease_was_lost(env: Env, lost: tuple[str, ...]) -> None:
    lease = await env.hold()
    assert await env.store.renew(lease) is False
    await env.redis.delete(*(env.key(name) for name in lost))
    assert await env.store.renew(lease) is True
    assert await env.store.renew(lease) is False
    assert not await env.is_taken_by_others()


async def test_a_lapsed_lease_that_a_checkout_ended_cannot_be_renewed(env: Env) -> None:
    """An old client has the account now, so the score alone does not tell."""
    lease = await env.hold()
    await env.redis.zadd(env.key("leases"), {"axe": 1})
    await env.redis.zadd(env.key("cooldowns"), {"axe": 1e15})
    assert not await env.is_taken_by_others()
    assert await env.redis.zincrby(env.key("checkouts"), 1, "axe") == 1
    with pytest.raises(LeaseLost):
        await env.store.renew(lease)
