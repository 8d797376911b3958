"""What people do to Redis by hand: the store refuses or puts it right, and loses nothing."""

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


class Rig:
    """A store with one leased account and one free one, and the raw keys beside it."""

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
        await self.redis.zadd(self.key("hints"), {"nobody": 0})
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
async def rig(valkey_url: str, prefix: str) -> AsyncIterator[Rig]:  # noqa: F811 - fixtures
    client = connect(valkey_url)
    yield Rig(client, prefix)
    await client.aclose()


async def test_what_a_key_of_a_wrong_type_stops_has_changed_nothing(rig: Rig) -> None:
    """For every key and every call: refused as a whole, or done as if nothing were wrong."""
    refused = 0
    await rig.begin()
    for key in sorted(await rig.content()):
        for call in rig.calls(Lease("axe", 0, "us/bot-1")):
            await rig.redis.delete(*(await rig.redis.keys(f"{rig.prefix}:*")))
            lease = await rig.begin()
            await rig.redis.rename(key, "aside")
            await rig.redis.set(key, "oops")
            before = await rig.content()
            if await is_refused(rig.calls(lease)[call]()):
                refused += 1
                assert await rig.content() == before, f"{call} with a wrong {key}"
            await rig.redis.delete("aside")
    assert refused > 50


async def is_refused(call: Awaitable[object]) -> bool:
    try:
        await call
    except StoreMisused as error:
        return "WRONGTYPE" in str(error)
    return False


@pytest.mark.parametrize("score", [-1, -7, float("-inf")])
async def test_a_score_below_0_is_a_free_account(rig: Rig, score: float) -> None:
    for name in ("axe", "bane"):
        await rig.store.add(name, "pw")
        await rig.redis.zadd(rig.key("checkouts"), {name: score})
    assert {row.state for row in await rig.admin.overview()} == {AccountState.FREE}
    first = await rig.store.acquire("us/bot-1")
    second = await rig.admin.checkout("bane", "me", lease_s=60.0)
    assert {first.account, second.account} == {"axe", "bane"}
    scores = await rig.redis.zrange(rig.key("checkouts"), 0, -1, withscores=True)
    assert [tuple(one) for one in scores] == [("axe", 1), ("bane", 1)]


async def test_a_reset_behind_our_back_gives_the_account_to_nobody(rig: Rig) -> None:
    lease = await rig.begin()
    await rig.redis.zadd(rig.key("checkouts"), {lease.account: -1})
    assert (await rig.store.acquire("us/bot-2")).account != lease.account
    await rig.store.renew(lease)
    assert await rig.redis.zscore(rig.key("checkouts"), lease.account) == 1


async def test_an_account_removed_by_hand_does_not_come_back_when_it_is_given_back(
    rig: Rig,
) -> None:
    lease = await rig.begin()
    await rig.redis.zrem(rig.key("checkouts"), lease.account)
    await rig.store.release(lease)
    assert await rig.redis.zscore(rig.key("checkouts"), lease.account) is None


async def test_a_forced_release_outlasts_the_renewal_that_was_on_its_way(rig: Rig) -> None:
    lease = await rig.begin()
    await rig.admin.release(lease.account, force=True)
    with pytest.raises(AccountError, match="is lost"):
        await rig.store.renew(lease)
    assert await rig.redis.zscore(rig.key("checkouts"), lease.account) == 0


async def test_what_others_wrote_into_our_keys_stops_nothing(rig: Rig) -> None:
    lease = await rig.begin()
    for key in ("holders", "sentries", "cooldown-reasons"):
        for account in ("bane", JUNK):
            await rig.redis.hset(rig.key(key), account, JUNK)
    with pytest.raises(NoAccountFree):  # a holder without a lease gets one: it may be alive
        await rig.store.acquire("us/bot-2")
    await rig.redis.zadd(rig.key("leases"), {"bane": 1, JUNK: 1})  # and it was not
    await rig.redis.zadd(rig.key("checkouts"), {JUNK: 0})
    await rig.redis.hset(rig.key("passwords"), JUNK, "pw")
    assert await rig.store.held_by("us/") == {"us/bot-1": lease.account}
    assert len(await rig.admin.overview()) == 3
    other = await rig.store.acquire("us/bot-2")
    assert other.account == "bane"
    assert await rig.store.load_auth(other) is None
    with pytest.raises(NoAccountFree):
        await rig.store.acquire("us/bot-3")
    await rig.store.release(other)
    assert await rig.redis.zscore(rig.key("checkouts"), JUNK) == 0


@pytest.mark.parametrize("command", ["release", "reset", "remove"])
async def test_an_unknown_account_is_created_by_no_order(rig: Rig, command: str) -> None:
    with pytest.raises(NoSuchAccount, match="there is no account nobody"):
        await getattr(rig.admin, command)("nobody")
    with pytest.raises(NoSuchAccount):
        await rig.admin.checkout("nobody", "me", lease_s=60.0)
    assert await rig.content() == {}
