"""One bad value in any key of accounts: lists show it, other accounts are served, nothing is lost."""

from __future__ import annotations

import contextlib
import io
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any, Final

import orjson
import pytest
from redis.asyncio import Redis
from rich.console import Console
from support.valkey import prefix, redis, valkey_url  # noqa: F401 - fixtures

from actors.accounts.admin import AccountAdmin, AccountRow, AccountState
from actors.accounts.formats import shown
from actors.accounts.logon_limiter import LogonLimiter, LogonLimits
from actors.accounts.models import Lease, QuotaLimits, Reserved
from actors.accounts.store import AccountStore
from actors.dashboard.snapshot import account_view
from actors.errors import AccountError, BadAccountName, NeedsHuman, NoAccountFree, NoSuchAccount
from actors.redis.client import connect
from actors.steam.port import AuthState
from supervisor.cli.accounts import table_of

pytestmark = pytest.mark.integration

BAD, GOOD = "abaddon", "zeus"  # the bad one comes first in every order
LEASE_S: Final = 60.0
LONGEST_WAIT_S: Final = 60.0  # for a token of a bucket, or for a probe
TEXTS: Final = (
    b"\xff\xfe \x00 no text",
    b"",
    b"oops",
    b"nan",
    b"inf",
    b"-inf",
    b"-5",
    b"1.5",
    b"0x10",
    b"1e300",
    b"99999999999999999",
    b"9" * 5000,
    b"{}",
    b'{"steam_id": 1e400, "refresh_token": "x"}',
    b'{"steam_id": -1, "refresh_token": "x"}',
    b'{"steam_id": 7, "refresh_token": ["x"], "guard_data": 5}',
    b"1 2 \x1b[31mred\n",
    b"1 " + b"9" * 5000 + b" us/0",
    b"\x7f \x7f\x7f = ",
)
SCORES: Final = (float("inf"), float("-inf"), 1e300, -1e300, 0.5, -3.0, 9e15)
HASHES: Final = (
    *("fencing-tokens", "holders", "cooldown-reasons", "last-logons", "sentries", "steam-ids"),
    *("spellings", "passwords", "secrets"),
)
SORTED_SETS: Final = ("checkouts", "leases", "cooldowns", "hints", "quota:account:abaddon")
BAD_NAMES: Final = (
    b"m\xfcller",
    "müller".encode(),
    b"a\nb",
    b"\x1b[31mred",
    b"two words",
    b"\xff" * 3,
    b"nul\x00",
    b"\\x41",
    b"x" * 65,
    b" ",
    b"",
)


class Env:
    """A store with two accounts, and the raw keys."""

    def __init__(self, client: Redis, raw: Redis, prefix: str) -> None:  # noqa: F811 - a fixture has this name
        self.raw: Any = raw
        self.prefix = prefix
        quota = QuotaLimits(per_account=5)
        self.store = AccountStore(client, prefix=prefix, quota=quota, lease_s=LEASE_S)
        self.admin = AccountAdmin(client, prefix=prefix, quota=quota)
        self.client = client

    def key(self, name: str) -> str:
        return f"{self.prefix}:{name}"

    async def begin(self) -> None:
        await self.raw.delete(*(await self.raw.keys(f"{self.prefix}:*")), "none")
        for name in (BAD, GOOD):
            await self.store.add(name, "pw")

    async def rows(self) -> dict[str, AccountRow]:
        """Return the rows, after rendering them in every form."""
        rows = await self.admin.overview()
        views = [account_view(row, 1_700_000_000.0, None) for row in rows]
        text = orjson.dumps([*map(asdict, rows), *map(asdict, views)]).decode()
        paper = io.StringIO()
        Console(file=paper, width=250).print(table_of(rows))
        for said in (text, paper.getvalue(), *(row.account for row in rows)):
            assert "\x1b" not in said
            said.encode()
        return {row.account: row for row in rows}

    async def all_free(self, holder: str) -> dict[str, Lease]:
        """Check out all that can be."""
        found: dict[str, Lease] = {}
        for number in range(4):
            try:
                lease = await self.store.acquire(f"{holder}/{number}")
            except NoAccountFree:
                break
            found[lease.account] = lease
        return found

    async def use(self, lease: Lease) -> None:
        """Do once what a bot does with an account in a whole run."""
        await self.store.load_auth(lease)
        await self.store.credential(lease)
        await self.store.save_auth(lease, AuthState(len(lease.account), "token", None))
        await self.store.note_logon(lease)
        await self.store.renew(lease)
        answer = await self.store.reserve(lease.account, lease.fencing_token, None)
        assert isinstance(answer, Reserved)


@pytest.fixture
async def env(valkey_url: str, prefix: str) -> AsyncIterator[Env]:  # noqa: F811 - fixtures
    client, raw = connect(valkey_url), connect(valkey_url, raw=True)
    yield Env(client, raw, prefix)
    await client.aclose()
    await raw.aclose()


async def spoil(env: Env, key: str, value: bytes | float) -> None:
    if isinstance(value, bytes):
        await env.raw.hset(env.key(key), BAD, value)
    else:
        await env.raw.zadd(env.key(key), {BAD: value})


async def put_right(env: Env, key: str) -> None:
    """Do what an operator does: delete the bad value; add, release and reset the account."""
    if key in HASHES:
        await env.raw.hdel(env.key(key), BAD)
    elif key.startswith("quota:"):
        await env.raw.delete(env.key(key))
    await env.store.add(BAD, "pw")
    await env.admin.release(BAD, force=True)
    await env.admin.reset(BAD)


CASES: Final = [(key, text) for key in HASHES for text in TEXTS] + [
    (key, score) for key in SORTED_SETS for score in SCORES
]


@pytest.mark.parametrize("key", [*HASHES, *SORTED_SETS])
async def test_a_bad_value_of_one_account_stops_no_other(env: Env, key: str) -> None:
    for value in [value for one, value in CASES if one == key]:
        await env.begin()
        await spoil(env, key, value)
        assert GOOD in await env.rows()
        leases = await env.all_free("us")
        assert GOOD in leases, value
        await env.use(leases[GOOD])
        if BAD not in leases:
            row = (await env.rows())[BAD]
            assert row.state is not AccountState.FREE, value
        else:
            with contextlib.suppress(NeedsHuman):  # an operator has to store the password again
                await env.use(leases[BAD])
        assert set(await env.rows()) == {BAD, GOOD}
        for lease in leases.values():
            await env.store.cool_down(lease, 0.001, "a reason")
            await env.store.release(lease)
        await put_right(env, key)
        await env.admin.reset(GOOD)
        assert {row.state for row in (await env.rows()).values()} == {AccountState.FREE}, value
        leases = await env.all_free("us again")
        assert set(leases) == {BAD, GOOD}, value
        for lease in leases.values():
            await env.use(lease)


@pytest.mark.parametrize("key", ["passwords", "secrets"])
async def test_a_secret_that_is_not_text_needs_an_operator(env: Env, key: str) -> None:
    await env.begin()
    await spoil(env, key, b"p\xfc")
    lease = (await env.all_free("us"))[BAD]
    with pytest.raises(NeedsHuman, match="stored again: what is stored is no UTF-8 text"):
        await env.store.credential(lease)


@pytest.mark.parametrize("text", TEXTS)
async def test_invalid_auth_state_counts_as_missing(env: Env, text: bytes) -> None:
    """The next log-on uses the password; the invalid token is not sent to Steam."""
    await env.begin()
    await spoil(env, "sentries", text)
    lease = (await env.all_free("us"))[BAD]
    assert await env.store.load_auth(lease) is None


@pytest.mark.parametrize("text", TEXTS)
async def test_a_fencing_token_that_is_not_a_number_is_replaced(env: Env, text: bytes) -> None:
    """At a checkout, at a release, and while the account is held."""
    await env.begin()
    await spoil(env, "fencing-tokens", text)
    first = (await env.all_free("us"))[BAD]
    assert int(await env.raw.hget(env.key("fencing-tokens"), BAD)) == first.fencing_token
    await spoil(env, "fencing-tokens", text)
    await env.store.renew(first)
    await env.store.release(first)
    assert await env.raw.zscore(env.key("checkouts"), BAD) == 0
    with pytest.raises(AccountError, match="is lost"):
        await env.store.renew(first)
    second = (await env.all_free("us"))[BAD]
    assert second.fencing_token > first.fencing_token


async def test_an_account_with_a_budget_of_another_type_is_unusable_and_says_why(env: Env) -> None:
    await env.begin()
    await env.raw.set(env.key(f"quota:account:{BAD}"), "oops")
    row = (await env.rows())[BAD]
    assert (row.state, row.left) == (AccountState.UNUSABLE, 0)
    assert row.problem is not None
    assert f"{env.prefix}:quota:account:{BAD}" in row.problem
    assert set(await env.all_free("us")) == {GOOD}
    await env.raw.delete(env.key(f"quota:account:{BAD}"))
    assert set(await env.all_free("us")) == {BAD}


async def test_a_budget_of_another_type_hides_no_other_egress_ip(env: Env) -> None:
    await env.begin()
    lease = (await env.all_free("us"))[GOOD]
    await env.store.reserve(GOOD, lease.fencing_token, "192.0.2.2")
    await env.raw.set(env.key("quota:ip:192.0.2.1"), "oops")
    rows = await env.admin.ip_budgets(["192.0.2.1", "192.0.2.2"])
    assert [(row.used, row.left) for row in rows] == [(0, 0), (1, QuotaLimits().per_ip - 1)]


async def test_a_lease_without_an_end_is_reported(env: Env) -> None:
    await env.begin()
    await env.raw.zadd(env.key("leases"), {BAD: float("inf")})
    row = (await env.rows())[BAD]
    assert row.state is AccountState.IN_USE
    assert row.problem is not None
    assert "--force" in row.problem


@pytest.mark.parametrize("name", BAD_NAMES)
async def test_a_name_that_steam_cannot_have_is_never_leased(env: Env, name: bytes) -> None:
    await env.begin()
    await env.raw.hset(env.key("passwords"), name, b"p")
    await env.raw.zadd(env.key("checkouts"), {name: 0})
    await env.raw.zadd(env.key("hints"), {name: 0})
    as_shown = shown(name.decode(errors="surrogateescape"))
    row = (await env.rows())[as_shown]
    assert row.state is AccountState.UNUSABLE
    assert row.problem is not None
    assert "Steam has no such name" in row.problem
    assert set(await env.all_free("us")) == {BAD, GOOD}
    with pytest.raises(BadAccountName):
        await env.admin.checkout(as_shown, "me", lease_s=60.0)
    await env.admin.remove(as_shown)
    assert set(await env.rows()) == {BAD, GOOD}
    assert await env.raw.hexists(env.key("passwords"), name) == 0
    with pytest.raises(NoSuchAccount):
        await env.admin.remove(as_shown)


async def test_a_lease_on_such_a_name_is_not_taken_back(env: Env) -> None:
    """An older version's lease on such a name: the checkout of its holder ends it, and has another."""
    name = b"m\xfcller"
    await env.begin()
    await env.raw.hset(env.key("passwords"), name, b"p")
    await env.raw.zadd(env.key("checkouts"), {name: 1})
    await env.raw.zadd(env.key("leases"), {name: 9e12})
    await env.raw.hset(env.key("holders"), name, b"7 8 us/0")
    assert await env.store.held_by("us/") == {}
    lease = await env.store.acquire("us/0", before=name.decode(errors="surrogateescape"))
    assert lease.account == BAD
    assert await env.raw.zscore(env.key("leases"), name) is None
    assert await env.store.release_all("us/") == [BAD]


@pytest.mark.parametrize("added_by", ["us", "a client of the first BotAPI"])
async def test_a_released_account_goes_behind_all_free_ones(env: Env, added_by: str) -> None:
    """Also behind those that were added while it was in use, and that no checkout has seen."""
    await env.begin()
    names = [f"free{number}" for number in range(5)]
    lease = await env.store.acquire("us")
    taken = [lease.account]
    for name in names:
        if added_by == "us":
            await env.store.add(name, "pw")
        else:
            await env.raw.hset(env.key("passwords"), name, b"p")
            await env.raw.zadd(env.key("checkouts"), {name: 0})
    for _ in range(6):
        await env.store.release(lease)
        lease = await env.store.acquire("us")
        taken.append(lease.account)
    assert sorted(taken) == sorted([BAD, GOOD, *names])


async def test_an_account_that_an_old_client_released_gets_its_turn(env: Env) -> None:
    """No hint tells of it: all free accounts are scanned when the empty name has its turn."""
    await env.begin()
    await env.raw.zadd(env.key("checkouts"), {GOOD: 1})
    await env.raw.zrem(env.key("hints"), GOOD)
    lease = await env.store.acquire("us")
    await env.store.release(lease)
    await env.raw.zadd(env.key("checkouts"), {GOOD: 0})
    assert (await env.store.acquire("us")).account == BAD
    await env.store.release_all("us")
    await env.raw.zadd(env.key("hints"), {b"": 1}, xx=True)  # as ten seconds later
    assert (await env.store.acquire("us")).account == GOOD


@pytest.mark.parametrize("text", TEXTS)
async def test_a_bad_value_of_the_logon_limiter_lets_log_ons_start(env: Env, text: bytes) -> None:
    for key in ("bucket", "circuit"):
        for field in ("tokens", "at", "until", "probe_until"):
            await env.begin()
            await env.raw.hset(env.key(f"logons:unknown:{key}"), field, text)
            limiter = LogonLimiter(env.client, prefix=env.prefix, limits=LogonLimits())
            wait = await limiter.ask(with_password=False)
            assert wait is None or wait.seconds <= LONGEST_WAIT_S
            await limiter.succeeded("192.0.2.1")
            wait = await limiter.ask(with_password=False)
            assert wait is None or wait.seconds <= LONGEST_WAIT_S
