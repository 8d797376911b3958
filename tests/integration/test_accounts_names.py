"""One Steam account under several names: spellings of its name, and names that got the same SteamID64."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from importlib import resources
from typing import Any

import pytest
import redis as sync_redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from support.seed_client import SeedClient
from support.valkey import prefix, redis, valkey_url  # noqa: F401 - fixtures

from actors.accounts.admin import AccountAdmin, AccountRow, AccountState
from actors.accounts.formats import bad_name, folded, shown, stored
from actors.accounts.models import Lease, QuotaLimits, Refused, Reserved
from actors.accounts.store import AccountStore
from actors.errors import AccountInUse, LeaseLost, NoAccountFree, SameSteamAccount
from actors.redis.client import connect
from actors.steam.port import AuthState

pytestmark = pytest.mark.integration

SPELLINGS = ("Alpha", "alpha", "ALPHA ", "\talpha\n")
IP = "192.0.2.1"


class Env:
    """A store, and the raw keys beside it."""

    def __init__(self, client: Redis, prefix: str) -> None:  # noqa: F811 - a fixture has this name
        self.redis: Any = client
        self.prefix = prefix
        self.quota = QuotaLimits(per_account=5, per_ip=50)
        self.store = self.process()
        self.admin = AccountAdmin(client, prefix=prefix, quota=self.quota)

    def process(self) -> AccountStore:
        return AccountStore(self.redis, prefix=self.prefix, quota=self.quota, lease_s=60.0)

    def key(self, name: str) -> str:
        return f"{self.prefix}:{name}"

    async def seed(self, *names: str) -> None:
        """Add accounts as clients of the first BotAPI do."""
        for name in names:
            await self.redis.hset(self.key("passwords"), name, "pw")
            await self.redis.zadd(self.key("checkouts"), {name: 0})

    async def row(self, name: str) -> AccountRow:
        rows = {row.account: row for row in await self.admin.overview()}
        return rows[shown(name)]

    async def acquire(self, only: str) -> Lease:
        """Check out that account; all others are demanded meanwhile, as by other clients."""
        names = await self.redis.zrange(self.key("checkouts"), 0, -1)
        hidden = [name for name in names if name != only]
        passwords = await self.redis.hgetall(self.key("passwords"))
        for name in hidden:
            await self.redis.hdel(self.key("passwords"), name)
        lease = await self.store.acquire(f"us/{only}")
        for name in hidden:
            await self.redis.hset(self.key("passwords"), name, passwords[name])
        return lease

    async def spend(self, lease: Lease, requests: int) -> Reserved | Refused:
        for _ in range(requests):
            answer = await self.store.reserve(lease.account, lease.fencing_token, IP)
        assert isinstance(answer, Reserved | Refused)
        return answer


@pytest.fixture
async def env(valkey_url: str, prefix: str) -> AsyncIterator[Env]:  # noqa: F811 - fixtures
    client = connect(valkey_url)
    yield Env(client, prefix)
    await client.aclose()


async def test_only_one_spelling_is_leased_at_a_time(env: Env) -> None:
    """Any of them, also when many bots check out at once."""
    await env.seed(*SPELLINGS)
    for _ in range(3):
        tries = await asyncio.gather(
            *(env.store.acquire(f"us/{number}") for number in range(8)), return_exceptions=True
        )
        leases = [one for one in tries if isinstance(one, Lease)]
        assert len(leases) == 1
        assert {type(one) for one in tries} == {Lease, NoAccountFree}
        for name in set(SPELLINGS) - {leases[0].account}:
            row = await env.row(name)
            assert row.state is AccountState.UNUSABLE
            assert row.problem == (
                f"the same Steam account as {shown(leases[0].account)}, which is in use"
            )
            with pytest.raises(AccountInUse, match="in use as"):
                await env.admin.checkout(name, "me", lease_s=60.0)
        await env.store.release(leases[0])
    assert {row.state for row in await env.admin.overview()} == {AccountState.FREE}


async def test_a_spelling_that_an_old_client_has_blocks_the_others(
    env: Env,
    valkey_url: str,  # noqa: F811 - a fixture
) -> None:
    await env.seed("Alpha", "alpha")
    with sync_redis.Redis.from_url(valkey_url, decode_responses=True) as wire:
        old = SeedClient(wire, env.prefix)
        assert old.demand("alpha")
        with pytest.raises(NoAccountFree):
            await env.store.acquire("us/1")
        old.clean_up()
        await env.store.acquire("us/1")


async def test_a_spelling_added_while_another_is_leased_is_blocked(env: Env) -> None:
    """Also where the number of accounts is the same as before, as the name that is leased is removed."""
    await env.seed("Alpha")
    lease = await env.store.acquire("us/1")
    await env.redis.zrem(env.key("checkouts"), "Alpha")
    await env.seed("aLPHA")
    with pytest.raises(NoAccountFree):
        await env.store.acquire("us/2")
    await env.store.release(lease)
    assert (await env.store.acquire("us/2")).account == "aLPHA"


async def test_a_lost_lease_is_not_restored_beside_another_spelling(
    env: Env,
) -> None:
    await env.seed("Alpha", "alpha")
    lease = await env.store.acquire("us/1")
    for key in ("leases", "holders", "fencing-tokens"):
        await env.redis.delete(env.key(key))
    await env.redis.zadd(env.key("checkouts"), {lease.account: 0})
    other = await env.acquire({"Alpha": "alpha", "alpha": "Alpha"}[lease.account])
    with pytest.raises(LeaseLost):
        await env.store.renew(lease)
    await env.store.renew(other)


@pytest.mark.parametrize("window", ["rolling-24h", "utc-day"])
async def test_all_spellings_have_one_budget(env: Env, window: Any) -> None:
    env.quota = QuotaLimits(per_account=5, per_ip=50, window=window)
    env.store.reconfigure(env.quota)
    env.admin.reconfigure(env.quota)
    await env.seed("Alpha", "alpha")
    first = await env.acquire("Alpha")
    assert await env.spend(first, 3) == Reserved(2, 47)
    await env.store.release(first)
    second = await env.acquire("alpha")
    assert await env.spend(second, 2) == Reserved(0, 45)
    refused = await env.spend(second, 1)
    assert isinstance(refused, Refused)
    assert (refused.scope, 0 < refused.retry_after <= 86_400) == ("account", True)
    await env.store.release(second)
    with pytest.raises(NoAccountFree) as none:
        await env.store.acquire("us/3")
    assert none.value.budget_frees_in is not None
    assert {(row.used, row.left, row.state) for row in await env.admin.overview()} == {
        (5, 0, AccountState.SPENT)
    }
    keys = await env.redis.keys(env.key("*-api-requests"))
    assert dict(await env.redis.zrange(keys[0], 0, -1, withscores=True)) == {"Alpha": 3, "alpha": 2}
    await env.admin.remove("alpha")
    assert (await env.row("Alpha")).used == 5
    await env.admin.reset("Alpha")
    assert (await env.row("Alpha")).used == 0


async def test_what_an_older_version_counted_under_its_spelling_counts(env: Env) -> None:
    await env.seed("Alpha", "alpha")
    seconds, _ = await env.redis.time()
    requests = {f"old.{number}": seconds * 1000 for number in range(5)}
    await env.redis.zadd(env.key("quota:account:Alpha"), requests)
    with pytest.raises(NoAccountFree):
        await env.store.acquire("us/1")
    assert (await env.row("alpha")).used == 5


async def test_a_second_spelling_is_added_to_the_first(env: Env) -> None:
    assert await env.store.add("Alpha", "one") == "Alpha"
    assert await env.store.add("alpha", "two", "c2VjcmV0") == "Alpha"
    assert await env.store.add("Alpha", "three") == "Alpha"
    assert await env.redis.zrange(env.key("checkouts"), 0, -1) == ["Alpha"]
    assert await env.redis.hgetall(env.key("passwords")) == {"Alpha": "three"}
    assert await env.redis.hgetall(env.key("secrets")) == {"Alpha": "c2VjcmV0"}
    await env.admin.remove("Alpha")
    assert await env.store.add("alpha", "four") == "alpha"


async def test_white_space_around_a_name_is_not_sent_to_steam(env: Env) -> None:
    await env.seed(" Alpha\t")
    lease = await env.store.acquire("us/1")
    assert lease.account == " Alpha\t"
    assert (await env.store.credential(lease)).account == "Alpha"


# -- names that got the same SteamID64 ---------------------------------------------------------

ONE, OTHER = AuthState(7, "token", None), AuthState(8, "token", None)


async def test_of_two_names_with_one_steam_id_the_later_one_leaves(env: Env) -> None:
    await env.seed("old", "renamed", "third")
    first = await env.acquire("old")
    second = await env.acquire("renamed")
    third = await env.acquire("third")
    await env.store.save_auth(first, ONE)
    await env.store.save_auth(third, OTHER)
    with pytest.raises(SameSteamAccount, match="renamed is the same Steam account as old"):
        await env.store.save_auth(second, ONE)
    await env.store.renew(first)
    with pytest.raises(LeaseLost):
        await env.store.renew(second)
    row = await env.row("renamed")
    assert (row.state, row.problem) == (
        AccountState.UNUSABLE,
        "the same Steam account as old, which is in use",
    )
    with pytest.raises(NoAccountFree):
        await env.store.acquire("us/9")
    assert await env.redis.hget(env.key("sentries"), "renamed") is not None
    await env.spend(first, 5)
    await env.store.release(first)
    with pytest.raises(NoAccountFree):  # one budget
        await env.store.acquire("us/9")
    await env.admin.reset("renamed")
    lease = await env.store.acquire("us/9")
    assert lease.account in {"old", "renamed"}
    await env.store.save_auth(lease, ONE)
    with pytest.raises(NoAccountFree):
        await env.store.acquire("us/10")


async def test_the_steam_id_of_a_stored_token_is_known_before_a_log_on(env: Env) -> None:
    """Of accounts that an older version logged on: their auth state is there, and no SteamID64."""
    await env.seed("old", "renamed")
    for name in ("old", "renamed"):
        lease = await env.acquire(name)
        await env.store.save_auth(lease, ONE)
        await env.store.release(lease)
    await env.redis.delete(env.key("steam-ids"))
    leases = [await env.store.acquire(f"us/{number}") for number in (1, 2)]
    process = env.process()
    assert await process.load_auth(leases[1]) == ONE
    with pytest.raises(SameSteamAccount):
        await process.load_auth(leases[0])
    assert await process.load_auth(leases[1]) == ONE


async def test_both_at_once_do_not_leave_both(env: Env) -> None:
    for round_ in range(10):
        names = [f"{word}{round_}" for word in ("old", "new", "Old")]
        await env.seed(*names[:2])
        leases = [await env.acquire(name) for name in names[:2]]
        auth = AuthState(100 + round_, "token", None)
        done = await asyncio.gather(
            *(env.process().save_auth(lease, auth) for lease in leases), return_exceptions=True
        )
        assert [type(one) for one in done if one is not None] == [SameSteamAccount]


async def test_a_name_that_gets_another_steam_id_is_free_of_the_old_one(env: Env) -> None:
    await env.seed("one", "two")
    first = await env.acquire("one")
    await env.store.save_auth(first, ONE)
    await env.store.release(first)
    first = await env.acquire("one")
    await env.store.save_auth(first, OTHER)
    second = await env.acquire("two")
    await env.store.save_auth(second, ONE)
    assert await env.redis.hgetall(env.key("steam-ids")) == {
        "one": "8",
        "= 8": "one",
        "two": "7",
        "= 7": "two",
    }
    await env.admin.remove("two", force=True)
    assert await env.redis.hgetall(env.key("steam-ids")) == {"one": "8", "= 8": "one"}


async def test_a_leased_account_is_not_lost_to_another_name(env: Env, valkey_url: str) -> None:  # noqa: F811 - a fixture
    """An old client that takes the other name is too late; a renewed token is stored."""
    await env.seed("Alpha", "alpha")
    lease = await env.acquire("Alpha")
    await env.store.save_auth(lease, ONE)
    with sync_redis.Redis.from_url(valkey_url, decode_responses=True) as wire:
        assert SeedClient(wire, env.prefix).demand("alpha")
    await env.store.save_auth(lease, AuthState(7, "newer", None))
    await env.store.renew(lease)


# -- the rule itself ---------------------------------------------------------------------------

FOLD = (resources.files("actors.accounts") / "lua" / "prelude.lua").read_text(
    "utf-8"
) + "local folded = fold(ARGV[1]) return {folded and 1 or 0, folded or ''}"
names = st.one_of(
    st.text(max_size=70),
    st.text("aZ9_-.@ \t\n\x0b\x7f\\~!ß", max_size=70),
    st.integers(60, 68).map(lambda length: "x" * length),
)


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=names)
def test_the_scripts_and_python_fold_names_alike(valkey_url: str, name: str) -> None:  # noqa: F811 - a fixture
    with sync_redis.Redis.from_url(valkey_url, decode_responses=True) as wire:
        is_name, by_lua = wire.eval(FOLD, 0, name)
    assert (by_lua if is_name else None) == folded(name)


@given(
    st.one_of(names, st.binary(max_size=20).map(lambda raw: raw.decode(errors="surrogateescape")))
)
def test_the_printable_form_of_a_name_leads_back_to_it(name: str) -> None:
    assert shown(name).isprintable()
    assert stored(shown(name)) == name
    assert stored(name) == name or "\\" in name


@pytest.mark.parametrize(
    ("name", "is_bad"),
    [
        *((good, False) for good in ("Alpha", "a.b-c_d@e", "x" * 64, " padded ")),
        *(
            (bad, True)
            for bad in (
                "",
                " ",
                "a b",
                "e+f",
                '{"name"',
                "x" * 65,
                "müller",
                "a\nb",
                "m\\xfc",
                "\udcfc",
            )
        ),
        *((bad, True) for bad in (None, 5)),
    ],
)
def test_a_new_name_is_one_that_steam_can_have(name: Any, is_bad: bool) -> None:  # noqa: FBT001 - a case
    assert (bad_name(name) is not None) == is_bad
