"""Daily budgets on a real Valkey: counted before the request, never exceeded, freed in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
import structlog
from redis.asyncio import Redis
from support.valkey import prefix, redis, valkey_url  # noqa: F401 - fixtures

from actors.accounts.models import Lease, QuotaLimits, Refused, Reserved, Window
from actors.accounts.store import AccountStore
from actors.errors import NoAccountFree, StoreMisused
from actors.matches.match import NoMatch, NoMatchReason
from actors.matches.store import Claim, Locked, MatchStore
from actors.redis.client import connect

pytestmark = pytest.mark.integration

DAY_MS = 86_400_000
IP = "192.0.2.1"


class Env:
    """A store with two leased accounts."""

    def __init__(self, redis: Redis, prefix: str) -> None:  # noqa: F811 - fixtures have this name
        self.redis = redis
        self.prefix = prefix

    async def store(
        self, per_account: int = 3, per_ip: int = 100, window: Window = "rolling-24h"
    ) -> tuple[AccountStore, list[Lease]]:
        quota = QuotaLimits(per_account, per_ip, window)
        store = AccountStore(self.redis, prefix=self.prefix, quota=quota, lease_s=60.0)
        for name in ("axe", "bane"):
            await store.add(name, "pw")
        return store, [await store.acquire("us"), await store.acquire("us")]

    async def now_ms(self) -> int:
        seconds, micros = await self.redis.time()
        return int(seconds * 1000 + micros // 1000)

    async def used_at(self, name: str, *when_ms: float) -> None:
        key = f"{self.prefix}:quota:account:{name}"
        await self.redis.zadd(key, {f"test{n}": at for n, at in enumerate(when_ms)})

    async def day_count(self, name: str) -> float | None:
        today = datetime.fromtimestamp(await self.now_ms() / 1000, UTC).date().isoformat()
        return await self.redis.zscore(f"{self.prefix}:{today}-api-requests", name)


@pytest.fixture
def env(redis: Redis, prefix: str) -> Env:  # noqa: F811 - fixtures have these names
    return Env(redis, prefix)


async def test_a_budget_counts_down_and_then_refuses(env: Env) -> None:
    store, (lease, _) = await env.store()
    answers = [await store.reserve("axe", lease.fencing_token, IP) for _ in range(4)]
    assert answers[:3] == [Reserved(2, 99), Reserved(1, 98), Reserved(0, 97)]
    refused = answers[3]
    assert isinstance(refused, Refused)
    assert refused.scope == "account"
    assert refused.retry_after == pytest.approx(86_400, abs=5)
    assert await env.day_count("axe") == 3


async def test_two_hundred_at_once_never_exceed_a_budget(env: Env) -> None:
    store, (lease, _) = await env.store(per_account=50)
    answers = await asyncio.gather(
        *(store.reserve("axe", lease.fencing_token, IP) for _ in range(200))
    )
    assert sum(isinstance(one, Reserved) for one in answers) == 50
    assert await env.day_count("axe") == 50


@pytest.fixture
async def matches(
    valkey_url: str,  # noqa: F811 - fixtures have this name
    prefix: str,  # noqa: F811 - as above
) -> AsyncIterator[MatchStore]:
    store = MatchStore(connect(valkey_url, raw=True), prefix=prefix, log=structlog.get_logger())
    yield store
    await store.close()


async def test_a_request_is_counted_with_a_lookup_only_when_that_claims_the_match(
    env: Env, matches: MatchStore
) -> None:
    store, (lease, _) = await env.store()

    async def lookup(claim: Claim) -> object:
        charge = store.charge("axe", lease.fencing_token, IP)
        return await matches.lookup(claim, charge=charge)

    theirs, ours = Claim(7), Claim(7)
    assert await matches.lookup(theirs) == theirs
    assert await lookup(ours) == Locked(0)
    known = NoMatch(7, NoMatchReason.BLOCKED, 0.0, 9e9)
    await matches.publish(theirs, known, ttl_s=60.0)
    assert await lookup(ours) == known
    assert await env.day_count("axe") is None
    assert await env.redis.keys(f"{env.prefix}:quota:*") == []
    assert await env.redis.keys(f"{env.prefix}:flight:*") == []
    other = Claim(8)
    assert await lookup(other) == Reserved(2, 99)
    assert await env.day_count("axe") == 1
    assert await lookup(Claim(8)) == Locked(0)
    assert await lookup(other) == Reserved(1, 98)  # its own claim is no hindrance
    assert await env.day_count("axe") == 2


async def test_a_lookup_claims_the_match_though_the_budget_is_spent_or_the_lease_is_gone(
    env: Env, matches: MatchStore
) -> None:
    store, (lease, _) = await env.store(per_account=1)
    await store.reserve("axe", lease.fencing_token, IP)
    for number, (token, scope) in enumerate([(lease.fencing_token, "account"), (1, "lease")]):
        claim = Claim(number)
        found = await matches.lookup(claim, charge=store.charge("axe", token, IP))
        assert isinstance(found, Refused)
        assert found.scope == scope
        assert await matches.renew(claim)
    assert await env.day_count("axe") == 1


async def test_a_lookup_whose_request_cannot_be_counted_is_misused_and_counts_nothing(
    env: Env, matches: MatchStore
) -> None:
    store, (lease, _) = await env.store()
    await env.redis.set(f"{env.prefix}:quota:account:axe", "rubbish")
    claim = Claim(7)
    with pytest.raises(StoreMisused):
        await matches.lookup(claim, charge=store.charge("axe", lease.fencing_token, IP))
    assert await env.redis.keys(f"{env.prefix}:quota:ip:*") == []
    assert await matches.lookup(claim) == claim  # and the match can be claimed


async def test_a_lookup_with_a_request_works_with_a_hash_tag_and_after_a_script_flush(
    valkey_url: str,  # noqa: F811 - a fixture
    prefix: str,  # noqa: F811 - a fixture
) -> None:
    tagged = "{" + prefix + "}"
    client, raw = connect(valkey_url), connect(valkey_url, raw=True)
    store, (lease, _) = await Env(client, tagged).store()
    matches = MatchStore(raw, prefix=tagged, log=structlog.get_logger())
    charge = store.charge("axe", lease.fencing_token, None)
    keys = [*charge.keys, *(f"{tagged}:{kind}:7" for kind in ("match", "flight"))]
    assert {key[: len(tagged)] for key in keys} == {tagged}  # one slot of a cluster
    await client.script_flush()
    assert await matches.lookup(Claim(7), charge=charge) == Reserved(2, None)
    await store.close()
    await matches.close()


async def test_accounts_share_the_budget_of_their_ip(env: Env) -> None:
    store, leases = await env.store(per_ip=4)
    answers = [
        await store.reserve(lease.account, lease.fencing_token, IP)
        for lease in [*leases, *leases, *leases]
    ]
    assert [isinstance(one, Reserved) for one in answers] == [True] * 4 + [False] * 2
    refused = answers[4]
    assert isinstance(refused, Refused)
    assert refused.scope == "ip"
    assert isinstance(await store.reserve("axe", leases[0].fencing_token, "192.0.2.2"), Reserved)


async def test_a_refusal_charges_no_budget(env: Env) -> None:
    store, (lease, _) = await env.store(per_ip=1)
    assert isinstance(await store.reserve("axe", lease.fencing_token, IP), Reserved)
    assert isinstance(await store.reserve("axe", lease.fencing_token, IP), Refused)
    assert await env.day_count("axe") == 1
    assert await env.redis.zcard(f"{env.prefix}:quota:account:axe") == 1


async def test_an_unknown_ip_charges_the_account_alone(env: Env) -> None:
    store, (lease, _) = await env.store()
    assert await store.reserve("axe", lease.fencing_token, None) == Reserved(2, None)
    assert await env.redis.keys(f"{env.prefix}:quota:ip:*") == []


async def test_requests_of_a_day_ago_do_not_count(env: Env) -> None:
    store, (lease, _) = await env.store()
    now = await env.now_ms()
    await env.used_at("axe", now - DAY_MS - 1, now - DAY_MS + 60_000, now - 1000)
    assert await store.reserve("axe", lease.fencing_token, None) == Reserved(0, None)
    refused = await store.reserve("axe", lease.fencing_token, None)
    assert isinstance(refused, Refused)
    assert refused.retry_after == pytest.approx(60, abs=5)


async def test_a_utc_day_begins_at_midnight(env: Env) -> None:
    store, (lease, _) = await env.store(window="utc-day")
    now = await env.now_ms()
    midnight = now - now % DAY_MS
    await env.used_at("axe", midnight - 2, midnight - 1)
    for left in (2, 1, 0):
        assert await store.reserve("axe", lease.fencing_token, None) == Reserved(left, None)
    refused = await store.reserve("axe", lease.fencing_token, None)
    assert isinstance(refused, Refused)
    assert refused.retry_after == pytest.approx((midnight + DAY_MS - now) / 1000, abs=5)


async def test_a_spent_account_is_not_checked_out(env: Env) -> None:
    store, (lease, other) = await env.store()
    for _ in range(3):
        await store.reserve("axe", lease.fencing_token, None)
    for one in (lease, other):
        await store.release(one)
    assert (await store.acquire("us")).account == "bane"
    with pytest.raises(NoAccountFree) as none:
        await store.acquire("us")
    assert none.value.budget_frees_in == pytest.approx(86_400, abs=5)


async def test_counters_expire(env: Env) -> None:
    store, (lease, _) = await env.store()
    await store.reserve("axe", lease.fencing_token, IP)
    for pattern, longest in (("quota:*", 86_400), ("*-api-requests", 8 * 86_400)):
        keys = await env.redis.keys(f"{env.prefix}:{pattern}")
        assert keys
        for key in keys:
            assert 0 < await env.redis.ttl(key) <= longest


@pytest.mark.parametrize(
    "day", ["1970-01-01", "1999-12-31", "2000-02-29", "2024-02-29", "2026-11-24", "2100-03-01"]
)
async def test_the_date_computed_in_lua_is_the_calendars(env: Env, day: str) -> None:
    """The script's own arithmetic, with a given time."""
    from importlib import resources  # noqa: PLC0415 - for this test alone

    text = (resources.files("actors.accounts") / "lua" / "reserve.lua").read_text()
    arithmetic = text[text.index("local z =") : text.index("local day_key")]
    at = int(datetime.fromisoformat(f"{day}T23:59:59+00:00").timestamp() * 1000)
    script = f"local DAY_MS = 86400000 local now = {at} {arithmetic}"
    script += " return string.format('%04d-%02d-%02d', year, month, day)"
    assert await env.redis.eval(script, 0) == day
