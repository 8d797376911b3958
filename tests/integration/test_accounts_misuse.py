"""Changes to Redis by hand: the store refuses or repairs them, and loses nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import pytest
from redis.asyncio import Redis
from support.valkey import prefix, redis, valkey_url  # noqa: F401 - fixtures

from actors.accounts.admin import AccountAdmin, AccountState
from actors.accounts.models import Lease, QuotaLimits
from actors.accounts.store import AccountStore
from actors.errors import AccountError, NoAccountFree, NoSuchAccount, StoreMisused
from actors.redis.client import connect
from actors.steam.port import AuthState

pytestmark = pytest.mark.integration

JUNK: Final = b"\xff\xfe \x00 no text"


class Env:
    """A store with one leased and one free account, and the raw keys."""

    def __init__(self, client: Redis, prefix: str) -> None:  # noqa: F811 - a fixture has this name
        self.redis: Any = client
        self.prefix = prefix
        quota = QuotaLimits()
        self.store = AccountStore(client, prefix=prefix, quota=quota, lease_s=600.0)
        self.admin = AccountAdmin(client, prefix=prefix, quota=quota)

    async def begin(self) -> Lease:
        for name in ("axe", "bane"):
            await self.store.add(name, "pw", "c2VjcmV0")
        lease = await self.store.acquire("us/bot-1")
        await self.store.save_auth(lease, AuthState(7, "token", None))
        await self.store.note_logon(lease)
        await self.store.cool_down(lease, 1.0, "a reason")
        await self.store.reserve(lease.account, lease.fencing_token, "192.0.2.1")
        await self.redis.zadd(self.key("hints"), {"absent": 0})
        return lease

    def key(self, name: str) -> str:
        return f"{self.prefix}:{name}"

    async def content(self) -> dict[str, object]:
        """Return what is in all keys."""
        found: dict[str, object] = {}
        for key in await self.redis.keys(f"{self.prefix}:*"):
            match await self.redis.type(key):
                case "hash":
                    found[key] = await self.redis.hgetall(key)
                case "zset":
                    found[key] = await self.redis.zrange(key, 0, -1, withscores=True)
        return found

    def calls(self, lease: Lease) -> dict[str, Callable[[], Awaitable[object]]]:
        """Everything that changes a checkout, ready to be called."""
        return {
            "acquire": lambda: self.store.acquire("us/bot-2"),
            "take back": lambda: self.store.acquire("us/bot-1", before=lease.account),
            "renew": lambda: self.store.renew(lease),
            "release": lambda: self.store.release(lease),
            "release_all": lambda: self.store.release_all("us/"),
            "cool_down": lambda: self.store.cool_down(lease, 60.0, "a reason"),
            "reserve": lambda: self.store.reserve(lease.account, lease.fencing_token, "192.0.2.1"),
            "take": lambda: self.admin.checkout("bane", "me", lease_s=60.0),
            "free": lambda: self.admin.release("axe", force=True),
            "reset": lambda: self.admin.reset("axe"),
            "remove": lambda: self.admin.remove("axe", force=True),
        }


@pytest.fixture
async def env(valkey_url: str, prefix: str) -> AsyncIterator[Env]:  # noqa: F811 - fixtures
    client = connect(valkey_url)
    yield Env(client, prefix)
    await client.aclose()


async def test_a_call_that_fails_on_a_key_of_the_wrong_type_has_changed_nothing(env: Env) -> None:
    """For every key and every call: refused as a whole, or done as usual."""
    refused = 0
    await env.begin()
    for key in sorted(await env.content()):
        for call in env.calls(Lease("axe", 0, "us/bot-1")):
            await env.redis.delete(*(await env.redis.keys(f"{env.prefix}:*")))
            lease = await env.begin()
            await env.redis.rename(key, "aside")
            await env.redis.set(key, "oops")
            before = await env.content()
            if await is_refused(env.calls(lease)[call]()):
                refused += 1
                assert await env.content() == before, f"{call} with a wrong {key}"
            await env.redis.delete("aside")
    assert refused > 50


async def is_refused(call: Awaitable[object]) -> bool:
    try:
        await call
    except StoreMisused as error:
        return "WRONGTYPE" in str(error)
    return False


@pytest.mark.parametrize("score", [-1, -7, float("-inf")])
async def test_a_score_below_0_is_a_free_account(env: Env, score: float) -> None:
    for name in ("axe", "bane"):
        await env.store.add(name, "pw")
        await env.redis.zadd(env.key("checkouts"), {name: score})
    assert {row.state for row in await env.admin.overview()} == {AccountState.FREE}
    first = await env.store.acquire("us/bot-1")
    second = await env.admin.checkout("bane", "me", lease_s=60.0)
    assert {first.account, second.account} == {"axe", "bane"}
    scores = await env.redis.zrange(env.key("checkouts"), 0, -1, withscores=True)
    assert [tuple(one) for one in scores] == [("axe", 1), ("bane", 1)]


async def test_a_reset_by_hand_does_not_free_a_leased_account(env: Env) -> None:
    lease = await env.begin()
    await env.redis.zadd(env.key("checkouts"), {lease.account: -1})
    assert (await env.store.acquire("us/bot-2")).account != lease.account
    await env.store.renew(lease)
    assert await env.redis.zscore(env.key("checkouts"), lease.account) == 1


async def test_an_account_removed_by_hand_does_not_return_when_it_is_released(
    env: Env,
) -> None:
    lease = await env.begin()
    await env.redis.zrem(env.key("checkouts"), lease.account)
    await env.store.release(lease)
    assert await env.redis.zscore(env.key("checkouts"), lease.account) is None


async def test_a_forced_release_outlasts_a_renewal_that_is_under_way(env: Env) -> None:
    lease = await env.begin()
    await env.admin.release(lease.account, force=True)
    with pytest.raises(AccountError, match="is lost"):
        await env.store.renew(lease)
    assert await env.redis.zscore(env.key("checkouts"), lease.account) == 0


async def test_values_of_other_clients_stop_nothing(env: Env) -> None:
    lease = await env.begin()
    for key in ("holders", "sentries", "cooldown-reasons"):
        for account in ("bane", JUNK):
            await env.redis.hset(env.key(key), account, JUNK)
    with pytest.raises(NoAccountFree):  # a holder without a lease gets one: it may be alive
        await env.store.acquire("us/bot-2")
    await env.redis.zadd(env.key("leases"), {"bane": 1, JUNK: 1})  # and it was not
    await env.redis.zadd(env.key("checkouts"), {JUNK: 0})
    await env.redis.hset(env.key("passwords"), JUNK, "pw")
    assert await env.store.held_by("us/") == {"us/bot-1": lease.account}
    assert len(await env.admin.overview()) == 3
    other = await env.store.acquire("us/bot-2")
    assert other.account == "bane"
    assert await env.store.load_auth(other) is None
    with pytest.raises(NoAccountFree):
        await env.store.acquire("us/bot-3")
    await env.store.release(other)
    assert await env.redis.zscore(env.key("checkouts"), JUNK) == 0


@pytest.mark.parametrize("command", ["release", "reset", "remove"])
async def test_no_command_creates_an_unknown_account(env: Env, command: str) -> None:
    with pytest.raises(NoSuchAccount, match="there is no account absent"):
        await getattr(env.admin, command)("absent")
    with pytest.raises(NoSuchAccount):
        await env.admin.checkout("absent", "me", lease_s=60.0)
    assert await env.content() == {}
