"""Accounts that one process cannot use, because of its key or address: left to other processes."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from redis.asyncio import Redis
from support.valkey import prefix, redis, valkey_url  # noqa: F401 - fixtures

from actors.accounts.encryption import Encryption
from actors.accounts.models import QuotaLimits
from actors.accounts.store import AccountStore
from actors.errors import NoAccountFree
from actors.steam.port import AuthState

pytestmark = pytest.mark.integration


class Env:
    """Processes on one Redis, each with its own keys."""

    def __init__(self, redis: Redis, prefix: str) -> None:  # noqa: F811 - fixtures have this name
        self.redis = redis
        self.prefix = prefix

    def process(self, letters: str = "") -> AccountStore:
        encryption = Encryption([letter.encode() * 32 for letter in letters])
        return AccountStore(
            self.redis, prefix=self.prefix, quota=QuotaLimits(), lease_s=60.0, encryption=encryption
        )


@pytest.fixture
def env(redis: Redis, prefix: str) -> Env:  # noqa: F811 - fixtures have these names
    return Env(redis, prefix)


async def test_an_avoided_account_is_left_to_other_processes_with_its_hint(env: Env) -> None:
    us, them = env.process(), env.process()
    for name in ("axe", "bane", "chen"):
        await us.add(name, "pw")
    for lease in [await us.acquire(f"us/{n}") for n in range(3)]:
        await us.release(lease)  # now all three are hints
    for name in ("axe", "bane"):
        us.avoid(name, 60.0, "a reason")
    assert us.avoided() == {"axe": "a reason", "bane": "a reason"}
    assert (await us.acquire("us/1")).account == "chen"
    with pytest.raises(NoAccountFree):
        await us.acquire("us/2")
    hints = await env.redis.zrange(f"{env.prefix}:hints", 0, -1)
    assert [name for name in hints if name] == ["axe", "bane"]  # '': when all were looked through
    assert {(await them.acquire(f"them/{n}")).account for n in range(2)} == {"axe", "bane"}


async def test_an_avoided_account_is_tried_again_after_its_time(env: Env) -> None:
    us = env.process()
    await us.add("axe", "pw")
    us.avoid("axe", 0.05, "a reason")
    with pytest.raises(NoAccountFree):
        await us.acquire("us")
    async with asyncio.timeout(5):
        while True:
            with contextlib.suppress(NoAccountFree):
                await us.acquire("us")
                break


@pytest.mark.parametrize(
    ("sealed_by", "ours", "closed"),
    [("", "r", 0), ("r", "r", 0), ("w", "rw", 0), ("rw", "r", 0), ("w", "r", 3), ("w", "", 3)],
)
async def test_a_useless_key_is_noticed_before_a_checkout(
    env: Env, sealed_by: str, ours: str, closed: int
) -> None:
    """Passwords, shared secrets and auth state count; plain values need no key."""
    await env.process().add("plain", "pw")
    for steam_id, letter in enumerate(sealed_by, 7):
        process, name = env.process(letter), f"of-{letter}"
        lease = await process.acquire("us")
        await process.add(name, "pw", "c2VjcmV0")
        await process.release(lease)
        process.avoid("plain", 60.0, "a reason")
        lease = await process.acquire("us")
        assert lease.account == name
        await process.save_auth(lease, AuthState(steam_id, "token", "guard"))
    assert await env.process(ours).undecryptable_values() == closed
