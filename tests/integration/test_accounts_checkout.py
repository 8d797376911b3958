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


class Env:
    """A store under a prefix of its own, and the raw keys."""

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
def env(redis: Redis, prefix: str) -> Env:  # noqa: F811 - fixtures have these names
    return Env(redis, prefix)


async def test_an_account_added_the_old_way_is_checked_out(env: Env) -> None:
    await env.add("axe")
    lease = await env.store().acquire("us/bot-1")
    assert (lease.account, lease.holder) == ("axe", "us/bot-1")
    assert await env.score("axe") == 1
    assert (await env.store().credential(lease)).password == "pw-axe"


async def test_of_fifty_at_once_exactly_one_wins(env: Env) -> None:
    store = env.store()
    for race in range(20):
        name = f"axe{race}"
        await env.add(name)
        got = await asyncio.gather(
            *(store.acquire(f"h{n}") for n in range(50)), return_exceptions=True
        )
        leases = [one for one in got if isinstance(one, Lease)]
        assert [lease.account for lease in leases] == [name]
        assert sum(isinstance(one, NoAccountFree) for one in got) == 49


async def test_with_clients_of_the_old_kind_in_the_race_still_one_wins(env: Env) -> None:
    store = env.store()
    for race in range(50):
        name = f"axe{race}"
        await env.add(name)
        ours, *theirs = await asyncio.gather(
            store.acquire("us"), *(env.old_checkout() for _ in range(5)), return_exceptions=True
        )
        winners = [one for one in theirs if one == name]
        if isinstance(ours, Lease):
            winners.append(ours.account)
        assert winners == [name]
        await env.redis.zrem(f"{env.prefix}:checkouts", name)


async def test_what_an_old_client_holds_is_neither_taken_nor_released(env: Env) -> None:
    await env.add("axe")
    assert await env.old_checkout() == "axe"
    with pytest.raises(NoAccountFree):
        await env.store().acquire("us")
    assert await env.score("axe") == 1


async def test_a_lapsed_lease_is_taken_over_and_the_old_token_is_invalid(env: Env) -> None:
    await env.add("axe")
    store = env.store(lease_s=0.2)
    first = await store.acquire("first")
    await env.until_lapsed("axe")
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


async def test_a_late_release_does_not_free_the_next_holders_account(env: Env) -> None:
    await env.add("axe")
    store = env.store(lease_s=0.2)
    first = await store.acquire("first")
    await env.until_lapsed("axe")
    second = await store.acquire("second")
    await store.release(first)
    assert await env.score("axe") == 1
    await store.renew(second)


async def test_release_frees_and_may_be_repeated(env: Env) -> None:
    await env.add("axe")
    store = env.store()
    lease = await store.acquire("us")
    await store.release(lease)
    await store.release(lease)
    assert await env.score("axe") == 0
    assert (await store.acquire("them")).fencing_token > lease.fencing_token


async def test_a_holder_takes_its_own_account_back_at_once(env: Env) -> None:
    await env.add("axe", "bane")
    store = env.store()
    first = await store.acquire("us/bot-1")
    again = await store.acquire("us/bot-1", before=first.account)
    assert again.account == first.account
    assert again.fencing_token > first.fencing_token
    with pytest.raises(LeaseLost):
        await store.renew(first)
    other = await store.acquire("us/bot-2", before=first.account)
    assert other.account != first.account


async def test_a_lease_that_redis_lost_is_restored(env: Env) -> None:
    await env.add("axe")
    store = env.store()
    lease = await store.acquire("us")
    await env.redis.delete(f"{env.prefix}:leases", f"{env.prefix}:holders")
    await env.redis.zadd(f"{env.prefix}:checkouts", {"axe": 0})
    await store.renew(lease)
    assert await env.score("axe") == 1
    with pytest.raises(NoAccountFree):
        await store.acquire("them")


@pytest.mark.parametrize("how", ["renews", "comes back"])
async def test_leases_of_an_old_snapshot_end_when_their_holder_has_another(
    env: Env, how: str
) -> None:
    await env.add("axe", "bane", "cm")
    store = env.store()
    first, other = await store.acquire("us/bot-1"), await store.acquire("us/bot-2")
    keys = [f"{env.prefix}:{name}" for name in ("checkouts", "leases", "holders", "fencing-tokens")]
    snapshot = [await env.redis.dump(key) for key in keys]
    await store.release(first)
    await env.redis.zadd(f"{env.prefix}:checkouts", {first.account: 9})  # in use elsewhere
    second = await store.acquire("us/bot-1")
    for key, value in zip(keys, snapshot, strict=True):
        await env.redis.restore(key, 0, value or b"", replace=True)
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
    assert await env.score(first.account) == 0
    assert await env.redis.zscore(f"{env.prefix}:leases", first.account) is None


async def test_a_checkout_whose_answer_was_lost_is_found_by_the_next_of_its_holder(
    env: Env,
) -> None:
    await env.add("axe", "bane", "cm")
    store = env.store()
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
    env: Env, next_script: str
) -> None:
    """A client of the first BotAPI, which has no holder entry, keeps what it checked out."""
    await env.add("axe", "bane", "cm")
    assert await env.old_checkout() == "axe"
    store = env.store(lease_s=0.5)
    dead, alive = await store.acquire("us/bot-1"), await store.acquire("us/bot-2")
    await env.add("dp")
    by_hand = await store.acquire("login-host-1/dp")
    await env.redis.delete(f"{env.prefix}:leases")
    if next_script == "renew":
        await store.renew(alive)
    with pytest.raises(NoAccountFree):
        await store.acquire("next")  # the holder may still run
    await env.until_lapsed(dead.account)
    lease = await store.acquire("next")
    assert (lease.account, lease.fencing_token > dead.fencing_token) == (dead.account, True)
    with pytest.raises(LeaseLost):
        await store.renew(dead)
    assert await env.score("axe") == 1
    assert await env.redis.zscore(f"{env.prefix}:leases", "axe") is None
    seconds, _ = await env.redis.time()
    ends = await env.redis.zscore(f"{env.prefix}:leases", by_hand.account)
    assert ends is not None
    assert 890 < ends / 1000 - seconds < 901  # an operator needs longer, and does not renew


async def test_a_lost_lease_is_not_restored_when_a_newer_holder_had_the_account(
    env: Env,
) -> None:
    await env.add("axe")
    store = env.store(lease_s=0.2)
    first = await store.acquire("first")
    await env.until_lapsed("axe")
    await store.release(await store.acquire("second"))
    with pytest.raises(LeaseLost):
        await store.renew(first)
    assert await env.score("axe") == 0


async def test_all_of_one_process_is_released_and_nothing_else(env: Env) -> None:
    await env.add("axe", "bane", "chen")
    store = env.store()
    for holder in ("us/bot-1", "us/bot-2", "them/bot-1"):
        await store.acquire(holder)
    assert sorted(await store.release_all("us/")) == ["axe", "bane"]
    assert [await env.score(name) for name in ("axe", "bane", "chen")] == [0, 0, 1]


async def test_an_account_without_a_password_is_skipped(env: Env) -> None:
    await env.redis.zadd(f"{env.prefix}:checkouts", {"aaa": 0})
    await env.add("axe")
    store = env.store()
    lease = await store.acquire("us")
    assert lease.account == "axe"
    await env.redis.hdel(f"{env.prefix}:passwords", "axe")
    with pytest.raises(NoPassword):
        await store.credential(lease)


async def test_an_account_is_not_checked_out_during_its_cooldown(env: Env) -> None:
    await env.add("axe")
    store = env.store()
    lease = await store.acquire("us")
    await store.cool_down(lease, 1800.0, "wrong password")
    await store.release(lease)
    with pytest.raises(NoAccountFree) as none:
        await store.acquire("us")
    assert none.value.usable_in == pytest.approx(1800, abs=5)
    assert none.value.budget_frees_in is None
    await env.redis.zadd(f"{env.prefix}:cooldowns", {"axe": 1})
    assert (await store.acquire("us")).account == "axe"
    assert await env.redis.hlen(f"{env.prefix}:cooldown-reasons") == 0


async def test_a_cooldown_for_a_spent_budget_is_distinguished(env: Env) -> None:
    await env.add("axe")
    store = env.store()
    lease = await store.acquire("us")
    await store.cool_down(lease, 600.0, BUDGET_SPENT)
    await store.release(lease)
    with pytest.raises(NoAccountFree) as none:
        await store.acquire("us")
    assert none.value.budget_frees_in == pytest.approx(600, abs=5)


async def test_a_free_account_behind_many_others_is_found(env: Env) -> None:
    key = f"{env.prefix}:checkouts"
    await env.redis.zadd(key, {f"a{n:04}": 0 for n in range(1000)})  # none has a password
    await env.add("zeus")
    assert (await env.store().acquire("us")).account == "zeus"


async def test_auth_state_is_kept_and_its_token_forgotten(env: Env) -> None:
    await env.add("axe")
    store = env.store()
    lease = await store.acquire("us")
    assert await store.load_auth(lease) is None
    await store.save_auth(lease, AUTH)
    assert await store.load_auth(lease) == AUTH
    await store.forget_token(lease)
    assert await store.load_auth(lease) == AuthState(7, "", "guard")


async def test_a_sentry_of_another_kind_is_no_auth_state(env: Env) -> None:
    await env.add("axe")
    lease = await env.store().acquire("us")
    await env.redis.hset(f"{env.prefix}:sentries", "axe", "\x01 a nonce of 2016")
    assert await env.store().load_auth(lease) is None


async def test_an_account_added_again_keeps_its_checkout(env: Env) -> None:
    store = env.store()
    await store.add("axe", "old")
    lease = await store.acquire("us")
    await store.add("axe", "new", "c2VjcmV0")
    assert await env.score("axe") == 1
    credential = await store.credential(lease)
    assert (credential.password, credential.shared_secret) == ("new", "c2VjcmV0")


@pytest.mark.parametrize("stored", [bytes(20).hex(), "A" * 32, "A" * 27 + "="])
async def test_a_stored_secret_in_another_form_is_used_as_base64(env: Env, stored: str) -> None:
    store = env.store()
    await store.add("axe", "pw")
    await env.redis.hset(f"{env.prefix}:secrets", "axe", stored)
    credential = await store.credential(await store.acquire("us"))
    assert credential.shared_secret == "A" * 27 + "="


async def test_a_secret_alone_needs_an_account_with_a_password(env: Env) -> None:
    store = env.store(encryption=Encryption([b"k" * 32]))
    await store.add("Axe", "old")
    assert await store.without_password(["axe", "AXE", "lina"]) == ("lina",)
    assert await store.add("AXE", None, "A" * 27 + "=") == "Axe"
    with pytest.raises(PasswordNeeded, match="lina"):
        await store.add("lina", None, "A" * 27 + "=")
    assert await env.redis.hkeys(f"{env.prefix}:secrets") == ["Axe"]
    assert await env.redis.zcard(f"{env.prefix}:checkouts") == 1
    credential = await store.credential(await store.acquire("us"))
    assert (credential.password, credential.shared_secret) == ("old", "A" * 27 + "=")


async def test_a_key_of_the_wrong_type_is_reported_in_one_sentence(env: Env) -> None:
    await env.redis.set(f"{env.prefix}:checkouts", "oops")
    with pytest.raises(StoreMisused, match="WRONGTYPE"):
        await env.store().acquire("us")


async def test_scripts_that_redis_forgot_are_sent_again(env: Env) -> None:
    await env.add("axe")
    await env.redis.script_flush()
    assert (await env.store().acquire("us")).account == "axe"


async def test_a_hash_tag_is_a_valid_prefix(valkey_url: str) -> None:  # noqa: F811 - a fixture
    client = connect(valkey_url)
    tagged = Env(client, "{botapi}")
    await tagged.add("axe")
    lease = await tagged.store().acquire("us")
    assert await tagged.store().reserve("axe", lease.fencing_token, "192.0.2.1")
    keys = await client.keys("{botapi}*")
    assert len(keys) >= 7
    await client.aclose()


async def test_with_a_key_no_secret_is_stored_plain(env: Env) -> None:
    store = env.store(encryption=Encryption([b"k" * 32]))
    await store.add("axe", "hunter2", "c2VjcmV0")
    lease = await store.acquire("us")
    await store.save_auth(lease, AuthState(7, "token-of-axe", "guard-of-axe"))
    for key in ("passwords", "secrets", "sentries"):
        stored = await env.redis.hget(f"{env.prefix}:{key}", "axe")
        assert str(stored).startswith(MARK)
    credential = await store.credential(lease)
    assert (credential.password, credential.shared_secret) == ("hunter2", "c2VjcmV0")
    assert await store.load_auth(lease) == AuthState(7, "token-of-axe", "guard-of-axe")


async def test_plain_values_are_read_and_encrypted_when_they_are_written(
    env: Env,
) -> None:
    await env.add("axe")
    plain = env.store()
    lease = await plain.acquire("us")
    await plain.save_auth(lease, AUTH)
    encrypting = env.store(encryption=Encryption([b"k" * 32]))
    assert (await encrypting.credential(lease)).password == "pw-axe"
    await encrypting.forget_token(lease)
    stored = await env.redis.hget(f"{env.prefix}:sentries", "axe")
    assert str(stored).startswith(MARK)


async def test_the_wrong_key_loses_nothing(env: Env) -> None:
    right, wrong = (env.store(encryption=Encryption([key])) for key in (b"r" * 32, b"w" * 32))
    await right.add("axe", "pw")
    lease = await right.acquire("us")
    await right.save_auth(lease, AUTH)
    for read in (wrong.credential, wrong.load_auth, wrong.forget_token):
        with pytest.raises(CannotDecrypt):
            await read(lease)
    assert await right.load_auth(lease) == AUTH


async def test_a_holder_is_found_by_its_prefix_with_what_it_holds(env: Env) -> None:
    await env.add("axe", "bane", "chen")
    store = env.store()
    for holder in ("us/bot-1", "us/bot-2", "them/bot-1"):
        await store.acquire(holder)
    assert await store.held_by("us/") == {"us/bot-1": "axe", "us/bot-2": "bane"}
