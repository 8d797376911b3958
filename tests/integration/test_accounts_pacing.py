"""Polite log-ons on a real Valkey: a bucket and a circuit per egress IP, for all instances."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis
from support.valkey import prefix, redis, valkey_url  # noqa: F401 - fixtures

from actors.accounts.keys import Keys
from actors.accounts.logon_limiter import LogonLimiter, LogonLimits, Wait
from actors.errors import StoreMisused

pytestmark = pytest.mark.integration

IP = "192.0.2.1"


class World:
    """Containers behind one IP, and the hands of Redis's clock."""

    def __init__(self, redis: Redis, prefix: str) -> None:  # noqa: F811 - fixtures have this name
        self.redis = redis
        self.prefix = prefix

    async def container(self, limits: LogonLimits, ip: str | None = IP) -> LogonLimiter:
        pacing = LogonLimiter(self.redis, prefix=self.prefix, limits=limits)
        if ip is not None:
            await pacing.succeeded(ip)
        return pacing

    async def pass_time(self, seconds: float) -> None:
        """Move what is stored into the past: for the scripts that is time going by."""
        for key in await self.redis.keys(f"{self.prefix}:logons:*"):
            for field in ("at", "until", "probe_until"):
                value = await self.redis.hget(key, field)
                if value is not None:
                    await self.redis.hset(key, field, str(float(value) - seconds * 1000))


@pytest.fixture
def world(redis: Redis, prefix: str) -> World:  # noqa: F811 - fixtures have these names
    return World(redis, prefix)


LIMITS = LogonLimits(per_minute=6, burst=5, rate_limit_pause_s=1800)


async def test_a_burst_goes_at_once_and_then_one_every_ten_seconds(world: World) -> None:
    pacing = await world.container(LIMITS)
    assert [await pacing.ask(with_password=False) for _ in range(5)] == [None] * 5
    wait = await pacing.ask(with_password=False)
    assert wait is not None
    assert wait.reason == "pacing"
    assert wait.seconds == pytest.approx(10, abs=1)
    await world.pass_time(10)
    assert await pacing.ask(with_password=False) is None
    assert isinstance(await pacing.ask(with_password=False), Wait)


async def test_an_instance_without_pacing_leaves_the_bucket_of_the_others_as_it_is(
    world: World,
) -> None:
    paced, free = await world.container(LIMITS), await world.container(LogonLimits(per_minute=0))
    for _ in range(LIMITS.burst):
        assert await paced.ask(with_password=False) is None
    key = Keys(world.prefix).logon_bucket(IP)
    before = await world.redis.hgetall(key)
    lives_ms = await world.redis.pttl(key)
    assert await free.ask(with_password=False) is None
    assert await world.redis.hgetall(key) == before
    assert await world.redis.pttl(key) > lives_ms - 5000
    assert isinstance(await paced.ask(with_password=False), Wait)


async def test_containers_behind_one_ip_share_what_there_is(world: World) -> None:
    first, second = await world.container(LIMITS), await world.container(LIMITS)
    elsewhere = await world.container(LIMITS, ip="192.0.2.2")
    for pacing in (first, second, first, second, first):
        assert await pacing.ask(with_password=False) is None
    assert isinstance(await second.ask(with_password=False), Wait)
    assert await elsewhere.ask(with_password=False) is None


async def test_who_learns_the_ip_has_no_second_burst(world: World) -> None:
    pacing = await world.container(LIMITS, ip=None)
    assert [await pacing.ask(with_password=False) for _ in range(4)] == [None] * 4
    await pacing.succeeded(IP)
    assert await pacing.ask(with_password=False) is None
    assert isinstance(await pacing.ask(with_password=False), Wait)


async def test_who_learns_the_ip_late_has_no_more_than_the_others_left(world: World) -> None:
    others = await world.container(LIMITS)
    for _ in range(5):
        await others.ask(with_password=False)
    late = await world.container(LIMITS, ip=None)
    assert await late.ask(with_password=False) is None  # the limit was not known yet
    await late.succeeded(IP)
    assert isinstance(await late.ask(with_password=False), Wait)
    await world.pass_time(10)
    assert await others.ask(with_password=False) is None
    assert isinstance(await late.ask(with_password=False), Wait)


async def test_a_rested_ip_is_not_held_back_by_what_was_asked_long_ago(world: World) -> None:
    pacing = await world.container(LIMITS, ip=None)
    for _ in range(5):
        await pacing.ask(with_password=False)
    await world.pass_time(50)
    await pacing.succeeded(IP)
    assert [await pacing.ask(with_password=False) for _ in range(5)] == [None] * 5


async def test_what_is_no_bucket_is_refused_before_anything_is_changed(world: World) -> None:
    pacing = await world.container(LIMITS)
    await pacing.was_limited()
    before = await world.redis.keys(f"{world.prefix}:logons:*")
    await world.redis.set(Keys(world.prefix).logon_bucket(IP), "no hash")
    with pytest.raises(StoreMisused):
        await pacing.succeeded(IP)
    assert set(before) <= set(await world.redis.keys(f"{world.prefix}:logons:*"))


async def test_a_password_weighs_as_much_as_three_tokens(world: World) -> None:
    pacing = await world.container(LIMITS)
    assert await pacing.ask(with_password=True) is None
    wait = await pacing.ask(with_password=True)
    assert wait is not None
    assert wait.seconds == pytest.approx(10, abs=1)
    assert await pacing.ask(with_password=False) is None


async def test_a_password_goes_through_the_smallest_bucket(world: World) -> None:
    pacing = await world.container(LogonLimits(per_minute=6, burst=1))
    assert await pacing.ask(with_password=True) is None
    assert isinstance(await pacing.ask(with_password=True), Wait)


async def test_without_pacing_nobody_waits(world: World) -> None:
    pacing = await world.container(LogonLimits(per_minute=0))
    assert [await pacing.ask(with_password=True) for _ in range(50)] == [None] * 50


async def test_a_rate_limit_stops_everybody_behind_the_ip_and_then_one_tries(world: World) -> None:
    first, second = await world.container(LIMITS), await world.container(LIMITS)
    elsewhere = await world.container(LIMITS, ip="192.0.2.2")
    await first.was_limited()
    for pacing in (first, second):
        wait = await pacing.ask(with_password=False)
        assert wait is not None
        assert wait.reason == "rate-limit"
        assert wait.seconds == pytest.approx(1800, abs=2)
    assert await elsewhere.ask(with_password=False) is None
    await world.pass_time(1801)
    assert await second.ask(with_password=False) is None  # the probe
    for pacing in (first, second):
        wait = await pacing.ask(with_password=False)
        assert wait is not None
        assert wait.seconds <= 60
    await second.succeeded(IP)
    assert await first.ask(with_password=False) is None


async def test_a_probe_that_is_limited_again_starts_the_pause_anew(world: World) -> None:
    pacing = await world.container(LIMITS)
    await pacing.was_limited()
    await world.pass_time(1801)
    assert await pacing.ask(with_password=False) is None
    await pacing.was_limited()
    wait = await pacing.ask(with_password=False)
    assert wait is not None
    assert wait.seconds == pytest.approx(1800, abs=2)


async def test_a_probe_whose_process_died_makes_way_for_another(world: World) -> None:
    first, second = await world.container(LIMITS), await world.container(LIMITS)
    await first.was_limited()
    await world.pass_time(1801)
    assert await first.ask(with_password=False) is None
    await world.pass_time(61)
    assert await second.ask(with_password=False) is None


async def test_a_circuit_opened_before_the_ip_was_known_is_closed_by_the_first_success(
    world: World,
) -> None:
    pacing = await world.container(LIMITS, ip=None)
    await pacing.was_limited()
    await world.pass_time(1801)
    assert await pacing.ask(with_password=False) is None
    await pacing.succeeded(IP)
    newcomer = await world.container(LIMITS, ip=None)
    assert await newcomer.ask(with_password=False) is None


async def test_log_ons_that_never_reached_steam_leave_the_bucket_as_it_was(world: World) -> None:
    pacing = await world.container(LIMITS)
    for with_password in (False, True) * 10:
        assert await pacing.ask(with_password=with_password) is None
        await pacing.refund(with_password=with_password)
    assert [await pacing.ask(with_password=False) for _ in range(5)] == [None] * 5
    assert isinstance(await pacing.ask(with_password=False), Wait)


async def test_a_refund_never_overfills_the_bucket(world: World) -> None:
    pacing = await world.container(LIMITS)
    for _ in range(10):
        await pacing.refund(with_password=True)
    assert [await pacing.ask(with_password=False) for _ in range(5)] == [None] * 5
    assert isinstance(await pacing.ask(with_password=False), Wait)


async def test_a_password_takes_back_what_it_took_of_the_smallest_bucket(world: World) -> None:
    pacing = await world.container(LogonLimits(per_minute=6, burst=1))
    assert await pacing.ask(with_password=True) is None
    await pacing.refund(with_password=True)
    assert await pacing.ask(with_password=True) is None


async def test_without_pacing_there_is_nothing_to_take_back(world: World) -> None:
    pacing = await world.container(LogonLimits(per_minute=0))
    await pacing.refund(with_password=True)
    assert await pacing.ask(with_password=True) is None


async def test_a_probe_that_never_reached_steam_makes_way_for_another_and_fills_no_bucket(
    world: World,
) -> None:
    first, second = await world.container(LIMITS), await world.container(LIMITS)
    for _ in range(5):
        await first.ask(with_password=False)
    limited = await first.was_limited()
    assert limited == Wait(1800, "rate-limit", IP)
    await world.pass_time(1800)
    assert await first.ask(with_password=False) is None
    wait = await second.ask(with_password=False)
    assert wait is not None
    assert (wait.reason, wait.address) == ("rate-limit", IP)
    await first.refund(with_password=False)
    assert await second.ask(with_password=False) is None
    assert isinstance(await first.ask(with_password=False), Wait)
