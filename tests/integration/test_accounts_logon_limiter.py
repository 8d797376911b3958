"""LogonLimiter on a real Valkey: a bucket and a circuit per egress IP, shared by all instances."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis
from support.valkey import prefix, redis, valkey_url  # noqa: F401 - fixtures

from actors.accounts.keys import Keys
from actors.accounts.logon_limiter import LogonLimiter, LogonLimits, Wait
from actors.errors import StoreMisused

pytestmark = pytest.mark.integration

IP = "192.0.2.1"


class Env:
    """Instances behind one IP, and a way to move Redis's time."""

    def __init__(self, redis: Redis, prefix: str) -> None:  # noqa: F811 - fixtures have this name
        self.redis = redis
        self.prefix = prefix

    async def instance(self, limits: LogonLimits, ip: str | None = IP) -> LogonLimiter:
        limiter = LogonLimiter(self.redis, prefix=self.prefix, limits=limits)
        if ip is not None:
            await limiter.succeeded(ip)
        return limiter

    async def pass_time(self, seconds: float) -> None:
        """Move all stored times into the past, as if time had passed."""
        for key in await self.redis.keys(f"{self.prefix}:logons:*"):
            for field in ("at", "until", "probe_until"):
                value = await self.redis.hget(key, field)
                if value is not None:
                    await self.redis.hset(key, field, str(float(value) - seconds * 1000))


@pytest.fixture
def env(redis: Redis, prefix: str) -> Env:  # noqa: F811 - fixtures have these names
    return Env(redis, prefix)


LIMITS = LogonLimits(per_minute=6, burst=5, rate_limit_pause_s=1800)


async def test_a_burst_goes_at_once_and_then_one_every_ten_seconds(env: Env) -> None:
    limiter = await env.instance(LIMITS)
    assert [await limiter.ask(with_password=False) for _ in range(5)] == [None] * 5
    wait = await limiter.ask(with_password=False)
    assert wait is not None
    assert wait.reason == "pacing"
    assert wait.seconds == pytest.approx(10, abs=1)
    await env.pass_time(10)
    assert await limiter.ask(with_password=False) is None
    assert isinstance(await limiter.ask(with_password=False), Wait)


async def test_an_instance_without_a_limit_leaves_the_bucket_of_the_others_unchanged(
    env: Env,
) -> None:
    paced, free = await env.instance(LIMITS), await env.instance(LogonLimits(per_minute=0))
    for _ in range(LIMITS.burst):
        assert await paced.ask(with_password=False) is None
    key = Keys(env.prefix).logon_bucket(IP)
    before = await env.redis.hgetall(key)
    lives_ms = await env.redis.pttl(key)
    assert await free.ask(with_password=False) is None
    assert await env.redis.hgetall(key) == before
    assert await env.redis.pttl(key) > lives_ms - 5000
    assert isinstance(await paced.ask(with_password=False), Wait)


async def test_instances_behind_one_ip_share_its_bucket(env: Env) -> None:
    first, second = await env.instance(LIMITS), await env.instance(LIMITS)
    elsewhere = await env.instance(LIMITS, ip="192.0.2.2")
    for limiter in (first, second, first, second, first):
        assert await limiter.ask(with_password=False) is None
    assert isinstance(await second.ask(with_password=False), Wait)
    assert await elsewhere.ask(with_password=False) is None


async def test_an_instance_that_learns_its_ip_has_no_second_burst(env: Env) -> None:
    limiter = await env.instance(LIMITS, ip=None)
    assert [await limiter.ask(with_password=False) for _ in range(4)] == [None] * 4
    await limiter.succeeded(IP)
    assert await limiter.ask(with_password=False) is None
    assert isinstance(await limiter.ask(with_password=False), Wait)


async def test_an_instance_that_learns_its_ip_late_has_only_the_tokens_that_are_left(
    env: Env,
) -> None:
    others = await env.instance(LIMITS)
    for _ in range(5):
        await others.ask(with_password=False)
    late = await env.instance(LIMITS, ip=None)
    assert await late.ask(with_password=False) is None  # from the bucket of the unknown IP
    await late.succeeded(IP)
    assert isinstance(await late.ask(with_password=False), Wait)
    await env.pass_time(10)
    assert await others.ask(with_password=False) is None
    assert isinstance(await late.ask(with_password=False), Wait)


async def test_old_log_ons_do_not_delay_an_idle_ip(env: Env) -> None:
    limiter = await env.instance(LIMITS, ip=None)
    for _ in range(5):
        await limiter.ask(with_password=False)
    await env.pass_time(50)
    await limiter.succeeded(IP)
    assert [await limiter.ask(with_password=False) for _ in range(5)] == [None] * 5


async def test_a_bucket_of_another_type_is_refused_before_any_write(env: Env) -> None:
    limiter = await env.instance(LIMITS)
    await limiter.was_limited()
    before = await env.redis.keys(f"{env.prefix}:logons:*")
    await env.redis.set(Keys(env.prefix).logon_bucket(IP), "no hash")
    with pytest.raises(StoreMisused):
        await limiter.succeeded(IP)
    assert set(before) <= set(await env.redis.keys(f"{env.prefix}:logons:*"))


async def test_a_password_log_on_costs_as_much_as_three_token_log_ons(env: Env) -> None:
    limiter = await env.instance(LIMITS)
    assert await limiter.ask(with_password=True) is None
    wait = await limiter.ask(with_password=True)
    assert wait is not None
    assert wait.seconds == pytest.approx(10, abs=1)
    assert await limiter.ask(with_password=False) is None


async def test_a_password_log_on_passes_the_smallest_bucket(env: Env) -> None:
    limiter = await env.instance(LogonLimits(per_minute=6, burst=1))
    assert await limiter.ask(with_password=True) is None
    assert isinstance(await limiter.ask(with_password=True), Wait)


async def test_without_a_limit_no_log_on_waits(env: Env) -> None:
    limiter = await env.instance(LogonLimits(per_minute=0))
    assert [await limiter.ask(with_password=True) for _ in range(50)] == [None] * 50


async def test_a_rate_limit_stops_all_instances_behind_the_ip_and_then_one_probes(env: Env) -> None:
    first, second = await env.instance(LIMITS), await env.instance(LIMITS)
    elsewhere = await env.instance(LIMITS, ip="192.0.2.2")
    await first.was_limited()
    for limiter in (first, second):
        wait = await limiter.ask(with_password=False)
        assert wait is not None
        assert wait.reason == "rate-limit"
        assert wait.seconds == pytest.approx(1800, abs=2)
    assert await elsewhere.ask(with_password=False) is None
    await env.pass_time(1801)
    assert await second.ask(with_password=False) is None  # the probe
    for limiter in (first, second):
        wait = await limiter.ask(with_password=False)
        assert wait is not None
        assert wait.seconds <= 60
    await second.succeeded(IP)
    assert await first.ask(with_password=False) is None


async def test_a_probe_that_is_limited_restarts_the_pause(env: Env) -> None:
    limiter = await env.instance(LIMITS)
    await limiter.was_limited()
    await env.pass_time(1801)
    assert await limiter.ask(with_password=False) is None
    await limiter.was_limited()
    wait = await limiter.ask(with_password=False)
    assert wait is not None
    assert wait.seconds == pytest.approx(1800, abs=2)


async def test_a_probe_of_a_dead_process_is_replaced(env: Env) -> None:
    first, second = await env.instance(LIMITS), await env.instance(LIMITS)
    await first.was_limited()
    await env.pass_time(1801)
    assert await first.ask(with_password=False) is None
    await env.pass_time(61)
    assert await second.ask(with_password=False) is None


async def test_a_circuit_opened_before_the_ip_was_known_is_closed_by_the_first_success(
    env: Env,
) -> None:
    limiter = await env.instance(LIMITS, ip=None)
    await limiter.was_limited()
    await env.pass_time(1801)
    assert await limiter.ask(with_password=False) is None
    await limiter.succeeded(IP)
    newcomer = await env.instance(LIMITS, ip=None)
    assert await newcomer.ask(with_password=False) is None


async def test_log_ons_that_never_reached_steam_leave_the_bucket_as_it_was(env: Env) -> None:
    limiter = await env.instance(LIMITS)
    for with_password in (False, True) * 10:
        assert await limiter.ask(with_password=with_password) is None
        await limiter.refund(with_password=with_password)
    assert [await limiter.ask(with_password=False) for _ in range(5)] == [None] * 5
    assert isinstance(await limiter.ask(with_password=False), Wait)


async def test_a_refund_never_overfills_the_bucket(env: Env) -> None:
    limiter = await env.instance(LIMITS)
    for _ in range(10):
        await limiter.refund(with_password=True)
    assert [await limiter.ask(with_password=False) for _ in range(5)] == [None] * 5
    assert isinstance(await limiter.ask(with_password=False), Wait)


async def test_a_password_log_on_is_refunded_to_the_smallest_bucket(env: Env) -> None:
    limiter = await env.instance(LogonLimits(per_minute=6, burst=1))
    assert await limiter.ask(with_password=True) is None
    await limiter.refund(with_password=True)
    assert await limiter.ask(with_password=True) is None


async def test_without_a_limit_there_is_nothing_to_refund(env: Env) -> None:
    limiter = await env.instance(LogonLimits(per_minute=0))
    await limiter.refund(with_password=True)
    assert await limiter.ask(with_password=True) is None


async def test_a_probe_that_never_reached_steam_is_replaced_and_fills_no_bucket(
    env: Env,
) -> None:
    first, second = await env.instance(LIMITS), await env.instance(LIMITS)
    for _ in range(5):
        await first.ask(with_password=False)
    limited = await first.was_limited()
    assert limited == Wait(1800, "rate-limit", IP)
    await env.pass_time(1800)
    assert await first.ask(with_password=False) is None
    wait = await second.ask(with_password=False)
    assert wait is not None
    assert (wait.reason, wait.address) == ("rate-limit", IP)
    await first.refund(with_password=False)
    assert await second.ask(with_password=False) is None
    assert isinstance(await first.ask(with_password=False), Wait)
