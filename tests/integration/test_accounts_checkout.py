"""Checkouts on a real Valkey: races, leases, fencing, clients of the first BotAPI."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis
from support.valkey import prefix, redis, valkey_url  # noqa: F401 - fixtures

from actors.accounts.encryption import MARK, Encryption
from actors.accounts.models import ANY_HELD, BUDGET_SPENT, Lease, QuotaLimits
from actors.accounts.store import AccountStore
from actors.errors import (
    CannotDecrypt,
    LeaseLost,
    NoAccountFree,
    NoPassword,
    PasswordNeeded,
    StoreMisused,
)
from actors.redis.client import connect
from actors.steam.port import AuthState

pytestmark = pytest.mark.integration

AUTH = AuthState(7, "token", "guard")


class World:
    """A store under a prefix of its own, and the raw keys beside it."""

    def __init__(self, redis: Redis, prefix: str) -> None:  # noqa: F811 - fixtures have this name
        self.redis = redis
        self.prefix = prefix

    def store(self, lease_s: float = 60.0, encryption: Encryption | None = None) -> AccountStore:
        return AccountStore(
            self.redis,
            prefix=self.prefix,
            quota=QuotaLimits(),
            lease_s=lease_s,
            encryption=encryption,
        )

    async def add(self, *names: str) -> None:
        """As the first BotAPI's users do: HSET the password, ZADD the name with score 0."""
        for name in names:
            await self.redis.hset(f"{self.prefix}:passwords", name, f"pw-{name}")
            await self.redis.zadd(f"{self.prefix}:checkouts", {name: 0})

    async def score(self, name: str) -> float | None:
        return await self.redis.zscore(f"{self.prefix}:checkouts", name)

    async def old_checkout(self) -> str | None:
        """Alice and Bob: take the first free name, ZINCRBY, and own it when the answer is 1."""
        key = f"{self.prefix}:checkouts"
        for name in await self.redis.zrangebyscore(key, 0, 0, start=0, num=1):
            if await self.redis.zincrby(key, 1, str(name)) == 1:
                return str(name)
        return None

    async def until_lapsed(self, name: str) -> None:
        """Wait until Redis's own clock is past the lease's end."""
        ends = await self.redis.zscore(f"{self.prefix}:leases", name)
        assert ends is not None
        while True:
            seconds, micros = await self.redis.time()
            if seconds * 1000 + micros // 1000 > ends:
                return
            await asyncio.sleep(0)


@pytest.fixture
def world(redis: Redis, prefix: str) -> World:  # noqa: F811 - fixtures have these names
    return World(redis, prefix)


async def test_an_account_added_the_old_way_is_checked_out(world: World) -> None:
    await world.add("axe")
    lease = await world.store().acquire("us/bot-1")
    assert (lease.account, lease.holder) == ("axe", "us/bot-1")
    assert await world.score("axe") == 1
    assert (await world.store().credential(lease)).password == "pw-axe"


async def test_of_fifty_at_once_exactly_one_wins(world: World) -> None:
    store = world.store()
    for race in range(20):
        name = f"axe{race}"
        await world.add(name)
        got = await asyncio.gather(
            *(store.acquire(f"h{n}") for n in range(50)), return_exceptions=True
        )
        leases = [one for one in got if isinstance(one, Lease)]
        assert [lease.account for lease in leases] == [name]
        assert sum(isinstance(one, NoAccountFree) for one in got) == 49


async def test_with_clients_of_the_old_kind_in_the_race_still_one_wins(world: World) -> None:
    store = world.store()
    for race in range(50):
        name = f"axe{race}"
        await world.add(name)
        ours, *theirs = await asyncio.gather(
            store.acquire("us"), *(world.old_checkout() for _ in range(5)), return_exceptions=True
        )
        winners = [one for one in theirs if one == name]
        if isinstance(ours, Lease):
            winners.append(ours.account)
        assert winners == [name]
        await world.redis.zrem(f"{world.prefix}:checkouts", name)


async def test_what_an_old_client_holds_is_neither_taken_nor_reaped(world: World) -> None:
    await world.add("axe")
    assert await world.old_checkout() == "axe"
    with pytest.raises(NoAccountFree):
        await world.store().acquire("us")
    assert await world.score("axe") == 1


async def test_a_lapsed_lease_is_taken_over_and_the_old_token_is_dead(world: World) -> None:
    await world.add("axe")
    store = world.store(lease_s=0.2)
    first = await store.acquire("first")
    await world.until_lapsed("axe")
    second = await store.acquire("second")
    assert second.fencing_token > first.fencing_token
    for write in writes(store, first):
        with pytest.raises(LeaseLost):
            await write()
    refused = await store.reserve("axe", first.fencing_token, None)
    assert getattr(refused, "scope", None) == "lease"


def writes(store: AccountStore, lease: Lease) -> list[Callable[[], Awaitable[object]]]:
    return [
        lambda: store.renew(lease),
        lambda: store.save_auth(lease, AUTH),
        lambda: store.cool_down(lease, 60.0, "no"),
    ]


async def test_a_late_release_does_not_free_the_next_holders_account(world: World) -> None:
    await world.add("axe")
    store = world.store(lease_s=0.2)
    first = await store.acquire("first")
    await world.until_lapsed("axe")
    second = await store.acquire("second")
    await store.release(first)
    assert await world.score("axe") == 1
    await store.renew(second)


async def test_release_frees_and_may_be_repeated(world: World) -> None:
    await world.add("axe")
    store = world.store()
    lease = await store.acquire("us")
    await store.release(lease)
    await store.release(lease)
    assert await world.score("axe") == 0
    assert (await store.acquire("them")).fencing_token > lease.fencing_token


async def test_a_holder_takes_its_own_account_back_at_once(world: World) -> None:
    await world.add("axe", "bane")
    store = world.store()
    first = await store.acquire("us/bot-1")
    again = await store.acquire("us/bot-1", before=first.account)
    assert again.account == first.account
    assert again.fencing_token > first.fencing_token
    with pytest.raises(LeaseLost):
        await store.renew(first)
    other = await store.acquire("us/bot-2", before=first.account)
    assert other.account != first.account


async def test_a_lease_that_redis_forgot_is_put_up_again(world: World) -> None:
    await world.add("axe")
    store = world.store()
    lease = await store.acquire("us")
    await world.redis.delete(f"{world.prefix}:leases", f"{world.prefix}:holders")
    await world.redis.zadd(f"{world.prefix}:checkouts", {"axe": 0})
    await store.renew(lease)
    assert await world.score("axe") == 1
    with pytest.raises(NoAccountFree):
        await store.acquire("them")


@pytest.mark.parametrize("how", ["renews", "comes back"])
async def test_leases_of_an_old_snapshot_end_when_their_holder_has_another(
    world: World, how: str
) -> None:
    await world.add("axe", "bane", "cm")
    store = world.store()
    first, other = await store.acquire("us/bot-1"), await store.acquire("us/bot-2")
    keys = [
        f"{world.prefix}:{name}" for name in ("checkouts", "leases", "holders", "fencing-tokens")
    ]
    snapshot = [await world.redis.dump(key) for key in keys]
    await store.release(first)
    await world.redis.zadd(f"{world.prefix}:checkouts", {first.account: 9})  # in use elsewhere
    second = await store.acquire("us/bot-1")
    for key, value in zip(keys, snapshot, strict=True):
        await world.redis.restore(key, 0, value or b"", replace=True)
    if how == "renews":
        assert await store.renew(second)  # it was lost
        assert await store.renew(other) is False
    else:
        again = await store.acquire("us/bot-1", before=second.account)
        assert again.account == second.account
    assert await store.held_by("us/") == {
        "us/bot-1": second.account,
        "us/bot-2": other.account,
    }
    assert await world.score(first.account) == 0
    assert await world.redis.zscore(f"{world.prefix}:leases", first.account) is None


async def test_a_checkout_whose_answer_was_lost_is_found_by_the_next_of_its_holder(
    world: World,
) -> None:
    await world.add("axe", "bane", "cm")
    store = world.store()
    other = await store.acquire("us/bot-2", before=ANY_HELD)
    unheard = await store.acquire("us/bot-1", before=ANY_HELD)
    found = await store.acquire("us/bot-1", before=ANY_HELD)
    assert found.account == unheard.account != other.account
    assert found.fencing_token > unheard.fencing_token
    assert (await store.acquire("us/bot-1")).account not in {
        found.account,
        other.account,
    }  # a spare


@pytest.mark.parametrize("next_script", ["acquire", "renew"])
async def test_an_account_is_free_one_lease_after_redis_lost_the_lease_of_a_dead_holder(
    world: World, next_script: str
) -> None:
    """A client of the first BotAPI's kind, which has no holder entry, keeps what it checked out."""
    await world.add("axe", "bane", "cm")
    assert await world.old_checkout() == "axe"
    store = world.store(lease_s=0.5)
    dead, alive = await store.acquire("us/bot-1"), await store.acquire("us/bot-2")
    await world.add("dp")
    by_hand = await store.acquire("login-host-1/dp")
    await world.redis.delete(f"{world.prefix}:leases")
    if next_script == "renew":
        await store.renew(alive)
    with pytest.raises(NoAccountFree):
        await store.acquire("next")  # the holder may be alive
    await world.until_lapsed(dead.account)
    lease = await store.acquire("next")
    assert (lease.account, lease.fencing_token > dead.fencing_token) == (dead.account, True)
    with pytest.raises(LeaseLost):
        await store.renew(dead)
    assert await world.score("axe") == 1
    assert await world.redis.zscore(f"{world.prefix}:leases", "axe") is None
    seconds, _ = await world.redis.time()
    ends = await world.redis.zscore(f"{world.prefix}:leases", by_hand.account)
    assert ends is not None
    assert 890 < ends / 1000 - seconds < 901  # a person needs longer, and does not renew


async def test_a_forgotten_lease_is_given_up_when_somebody_newer_had_the_account(
    world: World,
) -> None:
    await world.add("axe")
    store = world.store(lease_s=0.2)
    first = await store.acquire("first")
    await world.until_lapsed("axe")
    await store.release(await store.acquire("second"))
    with pytest.raises(LeaseLost):
        await store.renew(first)
    assert await world.score("axe") == 0


async def test_all_of_one_process_is_released_and_nothing_else(world: World) -> None:
    await world.add("axe", "bane", "chen")
    store = world.store()
    for holder in ("us/bot-1", "us/bot-2", "them/bot-1"):
        await store.acquire(holder)
    assert sorted(await store.release_all("us/")) == ["axe", "bane"]
    assert [await world.score(name) for name in ("axe", "bane", "chen")] == [0, 0, 1]


async def test_an_account_without_a_password_is_passed_over(world: World) -> None:
    await world.redis.zadd(f"{world.prefix}:checkouts", {"aaa": 0})
    await world.add("axe")
    store = world.store()
    lease = await store.acquire("us")
    assert lease.account == "axe"
    await world.redis.hdel(f"{world.prefix}:passwords", "axe")
    with pytest.raises(NoPassword):
        await store.credential(lease)


async def test_a_cooling_account_is_nobodys_until_it_is_over(world: World) -> None:
    await world.add("axe")
    store = world.store()
    lease = await store.acquire("us")
    await store.cool_down(lease, 1800.0, "wrong password")
    await store.release(lease)
    with pytest.raises(NoAccountFree) as none:
        await store.acquire("us")
    assert none.value.usable_in == pytest.approx(1800, abs=5)
    assert none.value.budget_frees_in is None
    await world.redis.zadd(f"{world.prefix}:cooldowns", {"axe": 1})
    assert (await store.acquire("us")).account == "axe"
    assert await world.redis.hlen(f"{world.prefix}:cooldown-reasons") == 0


async def test_a_budget_that_cools_down_is_told_from_other_reasons(world: World) -> None:
    await world.add("axe")
    store = world.store()
    lease = await store.acquire("us")
    await store.cool_down(lease, 600.0, BUDGET_SPENT)
    await store.release(lease)
    with pytest.raises(NoAccountFree) as none:
        await store.acquire("us")
    assert none.value.budget_frees_in == pytest.approx(600, abs=5)


async def test_a_free_account_behind_many_others_is_found(world: World) -> None:
    key = f"{world.prefix}:checkouts"
    await world.redis.zadd(key, {f"a{n:04}": 0 for n in range(1000)})  # none has a password
    await world.add("zeus")
    assert (await world.store().acquire("us")).account == "zeus"


async def test_auth_state_is_kept_and_its_token_forgotten(world: World) -> None:
    await world.add("axe")
    store = world.store()
    lease = await store.acquire("us")
    assert await store.load_auth(lease) is None
    await store.save_auth(lease, AUTH)
    assert await store.load_auth(lease) == AUTH
    await store.forget_token(lease)
    assert await store.load_auth(lease) == AuthState(7, "", "guard")


async def test_a_sentry_of_another_kind_is_no_auth_state(world: World) -> None:
    await world.add("axe")
    lease = await world.store().acquire("us")
    await world.redis.hset(f"{world.prefix}:sentries", "axe", "\x01 a nonce of 2016")
    assert await world.store().load_auth(lease) is None


async def test_an_account_added_again_keeps_its_checkout(world: World) -> None:
    store = world.store()
    await store.add("axe", "old")
    lease = await store.acquire("us")
    await store.add("axe", "new", "c2VjcmV0")
    assert await world.score("axe") == 1
    credential = await store.credential(lease)
    assert (credential.password, credential.shared_secret) == ("new", "c2VjcmV0")


@pytest.mark.parametrize("stored", [bytes(20).hex(), "A" * 32, "A" * 27 + "="])
async def test_a_stored_secret_in_another_form_is_used_as_base64(world: World, stored: str) -> None:
    store = world.store()
    await store.add("axe", "pw")
    await world.redis.hset(f"{world.prefix}:secrets", "axe", stored)
    credential = await store.credential(await store.acquire("us"))
    assert credential.shared_secret == "A" * 27 + "="


async def test_a_secret_alone_needs_an_account_with_a_password(world: World) -> None:
    store = world.store(encryption=Encryption([b"k" * 32]))
    await store.add("Axe", "old")
    assert await store.without_password(["axe", "AXE", "lina"]) == ("lina",)
    assert await store.add("AXE", None, "A" * 27 + "=") == "Axe"
    with pytest.raises(PasswordNeeded, match="lina"):
        await store.add("lina", None, "A" * 27 + "=")
    assert await world.redis.hkeys(f"{world.prefix}:secrets") == ["Axe"]
    assert await world.redis.zcard(f"{world.prefix}:checkouts") == 1
    credential = await store.credential(await store.acquire("us"))
    assert (credential.password, credential.shared_secret) == ("old", "A" * 27 + "=")


async def test_a_key_of_the_wrong_type_is_said_in_one_sentence(world: World) -> None:
    await world.redis.set(f"{world.prefix}:checkouts", "oops")
    with pytest.raises(StoreMisused, match="WRONGTYPE"):
        await world.store().acquire("us")


async def test_scripts_survive_a_redis_that_forgot_them(world: World) -> None:
    await world.add("axe")
    await world.redis.script_flush()
    assert (await world.store().acquire("us")).account == "axe"


async def test_a_hash_tag_serves_as_prefix(valkey_url: str) -> None:  # noqa: F811 - a fixture
    client = connect(valkey_url)
    tagged = World(client, "{botapi}")
    await tagged.add("axe")
    lease = await tagged.store().acquire("us")
    assert await tagged.store().reserve("axe", lease.fencing_token, "192.0.2.1")
    keys = await client.keys("{botapi}*")
    assert len(keys) >= 7
    await client.aclose()


async def test_with_a_key_nothing_readable_is_stored(world: World) -> None:
    store = world.store(encryption=Encryption([b"k" * 32]))
    await store.add("axe", "hunter2", "c2VjcmV0")
    lease = await store.acquire("us")
    await store.save_auth(lease, AuthState(7, "token-of-axe", "guard-of-axe"))
    for key in ("passwords", "secrets", "sentries"):
        stored = await world.redis.hget(f"{world.prefix}:{key}", "axe")
        assert str(stored).startswith(MARK)
    credential = await store.credential(lease)
    assert (credential.password, credential.shared_secret) == ("hunter2", "c2VjcmV0")
    assert await store.load_auth(lease) == AuthState(7, "token-of-axe", "guard-of-axe")


async def test_what_was_stored_plain_is_read_and_sealed_when_it_is_written_next(
    world: World,
) -> None:
    await world.add("axe")
    plain = world.store()
    lease = await plain.acquire("us")
    await plain.save_auth(lease, AUTH)
    sealing = world.store(encryption=Encryption([b"k" * 32]))
    assert (await sealing.credential(lease)).password == "pw-axe"
    await sealing.forget_token(lease)
    stored = await world.redis.hget(f"{world.prefix}:sentries", "axe")
    assert str(stored).startswith(MARK)


async def test_the_wrong_key_loses_nothing(world: World) -> None:
    right, wrong = (world.store(encryption=Encryption([key])) for key in (b"r" * 32, b"w" * 32))
    await right.add("axe", "pw")
    lease = await right.acquire("us")
    await right.save_auth(lease, AUTH)
    for read in (wrong.credential, wrong.load_auth, wrong.forget_token):
        with pytest.raises(CannotDecrypt):
            await read(lease)
    assert await right.load_auth(lease) == AUTH


async def test_a_holder_is_found_by_its_prefix_with_what_it_holds(world: World) -> None:
    await world.add("axe", "bane", "chen")
    store = world.store()
    for holder in ("us/bot-1", "us/bot-2", "them/bot-1"):
        await store.acquire(holder)
    assert await store.held_by("us/") == {"us/bot-1": "axe", "us/bot-2": "bane"}
