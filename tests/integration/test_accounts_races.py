"""Several processes, one account, a thousand races: exactly one winner each.

Really processes: each runs the real store, or plays a client of the first BotAPI, against one Valkey that
also fires the start shots, all in one transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from typing import Any, Final, Self

import pytest
import redis as sync_redis
from support.seed_client import SeedClient
from support.valkey import prefix, valkey_url  # noqa: F401 - fixtures

from actors.accounts.models import Lease, QuotaLimits
from actors.accounts.store import AccountStore
from actors.errors import NoAccountFree
from actors.redis.client import connect

pytestmark = pytest.mark.integration

RACES: Final = 1000
ANSWER_S: Final = 20  # a process may take that long to start on a busy machine
ACCOUNT: Final = "axe"

Racer = Callable[[str, str, str], None]  # URL, prefix, its name


def ours(url: str, prefix: str, name: str) -> None:  # noqa: F811 - a process is told what a test is
    """Race with the real store."""

    async def race() -> None:
        client = connect(url)
        store = AccountStore(client, prefix=prefix, quota=QuotaLimits(), lease_s=600.0)
        lease: Lease | None = None
        with shots(url, prefix, name) as (orders, answer):
            for order in orders:
                if order == "go":
                    lease = None
                    with contextlib.suppress(NoAccountFree):
                        lease = await store.acquire(f"{name}/bot-1")
                    answer(lease.account if lease else None, lease.fencing_token if lease else 0)
                elif lease is not None:
                    await store.release(lease)
                    answer(None, 0)
        await client.aclose()

    asyncio.run(race())


def theirs(url: str, prefix: str, name: str) -> None:  # noqa: F811 - as above
    """Race as a client of the first BotAPI."""
    with sync_redis.Redis.from_url(url, decode_responses=True) as client:
        container = SeedClient(client, prefix)
        with shots(url, prefix, name) as (orders, answer):
            for order in orders:
                if order == "go":
                    answer(container.check_out(), 0)
                else:
                    container.clean_up()
                    answer(None, 0)


@contextlib.contextmanager
def shots(url: str, prefix: str, name: str) -> Iterator[tuple[Iterator[str], Any]]:  # noqa: F811 - as above
    """Yield the orders for this process until "end", and how to answer them."""
    with sync_redis.Redis.from_url(url, decode_responses=True) as client:
        wire: Any = client

        def orders() -> Iterator[str]:
            while (order := wire.blpop(f"{prefix}:orders:{name}", ANSWER_S)[1]) != "end":
                yield order

        def answer(account: str | None, token: int) -> None:
            wire.rpush(f"{prefix}:answers", json.dumps([name, account, token]))

        answer(None, 0)  # here I am
        yield orders(), answer


class Env:
    """The account raced for, and the processes that race."""

    def __init__(self, url: str, prefix: str, racers: Sequence[Racer]) -> None:  # noqa: F811 - as above
        self.wire: Any = sync_redis.Redis.from_url(url, decode_responses=True)
        self.prefix = prefix
        self.names = [f"{racer.__name__}-{number}" for number, racer in enumerate(racers)]
        context = multiprocessing.get_context("spawn")
        self.processes: list[BaseProcess] = [
            context.Process(target=racer, args=(url, prefix, name), daemon=True)
            for racer, name in zip(racers, self.names, strict=True)
        ]

    def __enter__(self) -> Self:
        for process in self.processes:
            process.start()
        self.answers(len(self.names))
        return self

    def __exit__(self, *_: object) -> None:
        self.order("end", self.names)
        for process in self.processes:
            process.join(ANSWER_S)
            process.kill()  # harmless when it has ended
            process.join()
        self.wire.close()

    def order(self, order: str, names: Sequence[str]) -> None:
        """Tell all of them in one transaction, in that order."""
        pipe = self.wire.pipeline(transaction=True)
        for name in names:
            pipe.rpush(f"{self.prefix}:orders:{name}", order)
        pipe.execute()

    def answers(self, count: int) -> list[tuple[str, str | None, int]]:
        """Wait for `count` answers: process, account, and fencing token or 0."""
        told = [self.wire.blpop(f"{self.prefix}:answers", ANSWER_S) for _ in range(count)]
        assert all(told), "a process does not answer"
        return [tuple(json.loads(text)) for _, text in told]

    def race(self, rng: random.Random) -> tuple[str, int]:
        """Let them race once; return the one winner and its token."""
        self.order("go", rng.sample(self.names, len(self.names)))
        won = [one for one in self.answers(len(self.names)) if one[1] is not None]
        assert [account for _, account, _ in won] == [ACCOUNT], f"not one winner but {won}"
        winner, _, token = won[0]
        assert self.score >= 1
        assert self.leased == ([ACCOUNT] if token else [])
        self.order("release", [winner])
        self.answers(1)
        assert self.score == 0
        return winner, token

    @property
    def score(self) -> float:
        return float(self.wire.zscore(f"{self.prefix}:checkouts", ACCOUNT))

    @property
    def leased(self) -> list[str]:
        return list(self.wire.zrange(f"{self.prefix}:leases", 0, -1))


@pytest.mark.parametrize("racers", [[ours, ours], [ours, ours, theirs]], ids=["ours", "with-old"])
def test_a_thousand_races_for_one_account_have_one_winner_each(
    valkey_url: str,  # noqa: F811 - a fixture
    prefix: str,  # noqa: F811 - a fixture
    racers: list[Racer],
) -> None:
    rng = random.Random(1)
    with Env(valkey_url, prefix, racers) as env:
        SeedClient.add(env.wire, ACCOUNT, "pw", prefix)
        results = [env.race(rng) for _ in range(RACES)]
    tokens = [token for _, token in results if token]
    assert tokens == sorted(set(tokens))
    wins = Counter(winner for winner, _ in results)
    assert wins.keys() == set(env.names), f"that was no race: {wins}"


def test_alice_bob_and_carol_share_accounts_with_us(valkey_url: str, prefix: str) -> None:  # noqa: F811 - fixtures
    """The race in the README of the first BotAPI, with one AccountStore in it."""
    wire = sync_redis.Redis.from_url(valkey_url, decode_responses=True)
    for name in ("abaddon", "bane"):
        SeedClient.add(wire, name, f"pw-{name}", prefix)
    alice, bob, carol = (SeedClient(wire, prefix) for _ in range(3))

    assert alice.look() == bob.look() == "abaddon"
    assert [bob.demand("abaddon"), alice.demand("abaddon")] == [True, False]
    assert bob.password() == "pw-abaddon"
    assert alice.check_out() == "bane"

    async def ours_comes_and_goes() -> None:
        client = connect(valkey_url)
        store = AccountStore(client, prefix=prefix, quota=QuotaLimits(), lease_s=60.0)
        with pytest.raises(NoAccountFree):
            await store.acquire("us")
        bob.clean_up()
        lease = await store.acquire("us")
        assert lease.account == "abaddon"
        assert carol.check_out() is None
        await store.release(lease)
        await client.aclose()

    asyncio.run(ours_comes_and_goes())
    assert carol.check_out() == "abaddon"
    for one in (alice, carol):
        one.clean_up()
    assert wire.zrange(f"{prefix}:checkouts", 0, -1, withscores=True) == [
        ("abaddon", 0),
        ("bane", 0),
    ]
    wire.close()
