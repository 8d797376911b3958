"""Leases change in Redis while the service runs: it continues with the same sessions.

A second instance asks for an account after each event, as one that waits does. The sandbox's journal is
the witness that no account had two sessions and that none had to log on again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import redis as sync_redis

from actors.accounts.admin import AccountAdmin
from actors.accounts.models import QuotaLimits
from actors.accounts.store import AccountStore
from actors.errors import NoAccountFree
from actors.redis.client import connect
from bench.env import seed_accounts, service_settings, simple_accounts
from bench.sandbox_process import SandboxProcess
from bench.service_process import ServiceProcess
from bench.valkey import own_valkey

pytestmark = pytest.mark.integration

BOTS: Final = 2
LEASE_S: Final = 60.0  # a renewal is due every 20 s
SOON_S: Final = 8.0  # much sooner than that, on a busy machine
HOUR_S: Final = 3600
BY_HAND: Final = {"appendonly": "no", "save": ""}  # Valkey saves on command
LIBFAKETIME: Final = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")


@dataclass
class Env:
    """A service whose Redis has a clock of its own."""

    valkey: Any
    url: str
    clock: Path
    sandbox: SandboxProcess
    service: ServiceProcess
    redis: Any
    folder: Path
    matches: int = 100

    def step(self, seconds: int) -> None:
        """Move Redis's clock, away from the real time."""
        moved = self.clock.with_suffix(".new")
        moved.write_text(f"{seconds:+d}\n")
        moved.replace(self.clock)

    def ask(self) -> tuple[int, Any]:
        """Request an unknown match."""
        self.matches += 1
        status, body = self.service.get(f"/match-details?match_id={self.matches}")
        return status, json.loads(body)

    def now_ms(self) -> int:
        seconds, micros = self.redis.time()
        return int(seconds) * 1000 + int(micros) // 1000

    def living_leases(self) -> list[str]:
        return list(self.redis.zrangebyscore("botapi:leases", self.now_ms(), "+inf"))

    async def until_all_are_held(self) -> None:
        """Wait until both leases hold, before the next regular renewal."""
        async with asyncio.timeout(SOON_S):
            while True:
                with contextlib.suppress(sync_redis.ConnectionError):
                    if len(self.living_leases()) == BOTS:
                        return
                await asyncio.sleep(0.05)

    async def other_instance_gets(self) -> str | None:
        """Check out an account as another instance; return its name."""
        client = connect(self.url)
        try:
            store = AccountStore(client, prefix="botapi", quota=QuotaLimits(), lease_s=LEASE_S)
            return (await store.acquire("them/bot-1")).account
        except NoAccountFree:
            return None
        finally:
            await client.aclose()


@pytest.fixture
async def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Env]:
    if not LIBFAKETIME.exists():
        pytest.skip(f"{LIBFAKETIME} is not installed, so Redis's clock cannot be moved")
    clock = tmp_path / "clock"
    clock.write_text("+0\n")
    for name, value in faked(clock).items():
        monkeypatch.setenv(name, value)
    with own_valkey(BY_HAND) as valkey, unfaked():
        url = f"redis://127.0.0.1:{valkey.port}/0"
        accounts = simple_accounts(BOTS)
        seed_accounts(url, accounts)
        with (
            SandboxProcess(accounts) as sandbox,
            ServiceProcess(service_settings(BOTS, sandbox, url)) as service,
            sync_redis.Redis.from_url(url, decode_responses=True) as client,
        ):
            service.wait_ready(BOTS)
            yield Env(valkey, url, clock, sandbox, service, client, tmp_path)


def faked(clock: Path) -> dict[str, str]:
    return {
        "LD_PRELOAD": str(LIBFAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


@contextlib.contextmanager
def unfaked() -> Iterator[None]:
    """Let new processes see the real time."""
    preload = os.environ.pop("LD_PRELOAD")
    try:
        yield
    finally:
        os.environ["LD_PRELOAD"] = preload


async def leases_deleted(env: Env) -> None:
    env.redis.delete("botapi:leases")


async def leases_and_holders_deleted(env: Env) -> None:
    env.redis.delete("botapi:leases", "botapi:holders")


async def leases_lapsed(env: Env) -> None:
    env.redis.zadd("botapi:leases", dict.fromkeys(env.redis.zrange("botapi:leases", 0, -1), 1))


async def clock_steps_forward(env: Env) -> None:
    env.step(HOUR_S)


async def clock_steps_back(env: Env) -> None:
    env.step(-HOUR_S)


async def restarted_on_an_old_snapshot(env: Env) -> None:
    """The data of Redis is two minutes old, from before the end of the leases."""
    env.redis.save()
    folder = env.valkey.data_dir
    shutil.copy(folder / "dump.rdb", env.folder / "old.rdb")
    await asyncio.to_thread(env.valkey.terminate)
    shutil.copy(env.folder / "old.rdb", folder / "dump.rdb")
    env.step(120)
    with env_of(faked(env.clock)):
        await asyncio.to_thread(env.valkey.start)


@contextlib.contextmanager
def env_of(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


EVENTS: Final[tuple[Callable[[Env], Awaitable[None]], ...]] = (
    leases_deleted,
    leases_lapsed,
    leases_and_holders_deleted,
    clock_steps_forward,
    clock_steps_back,
    restarted_on_an_old_snapshot,
)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: str(event.__name__))
async def test_the_service_serves_on_with_the_sessions_it_has(
    env: Env, event: Callable[[Env], Awaitable[None]]
) -> None:
    assert env.ask()[0] == 200
    await event(env)
    if event is restarted_on_an_old_snapshot:
        await env.until_all_are_held()  # without requests
    elif event in (clock_steps_forward, clock_steps_back):
        assert await env.other_instance_gets() is None
    status, answer = env.ask()
    assert status == 200, answer
    await env.until_all_are_held()
    assert await env.other_instance_gets() is None
    both = [env.ask()[0] for _ in range(2 * BOTS)]
    assert both == [200] * len(both)
    shown = env.service.status()
    assert env.service.get("/readyz")[0] == 200
    assert (shown["bots"]["ready"], shown["router"]["ready"]) == (BOTS, BOTS)
    assert shown["router"]["refusal"] is None
    summary = await env.sandbox.summary()
    assert set(summary["max_concurrent"].values()) == {1}
    assert set(summary["logons"].values()) == {1}  # every session continued


async def test_a_dead_holders_lease_ends_in_its_time_whichever_way_the_clock_steps(
    env: Env,
) -> None:
    """A lease that is not renewed ends in time, even after the clock went back an hour."""
    client = connect(env.url)
    try:
        store = AccountStore(client, prefix="botapi", quota=QuotaLimits(), lease_s=LEASE_S)
        await store.add("lonely", "pw")
        assert (await store.acquire("dead/bot-1")).account == "lonely"
        env.step(-HOUR_S)
        assert await env.other_instance_gets() is None  # and notes the step
        ends = env.redis.zscore("botapi:leases", "lonely")
        assert env.now_ms() < ends <= env.now_ms() + LEASE_S * 1000
    finally:
        await client.aclose()


async def test_a_released_account_ends_its_bot_without_a_wait(env: Env) -> None:
    """The lease belongs to another holder: a check makes the bot stop at once."""
    client = connect(env.url)
    try:
        admin = AccountAdmin(client, prefix="botapi", quota=QuotaLimits())
        begun = time.monotonic()
        await admin.remove("bot0000", force=True)
        answers = [env.ask()[0] for _ in range(2 * BOTS)]
        assert answers == [200] * len(answers)
        async with asyncio.timeout(SOON_S):
            while env.service.status()["router"]["ready"] != BOTS - 1:  # noqa: ASYNC110 - HTTP has no event
                await asyncio.sleep(0.05)
        shown = env.service.status()
        assert shown["bots"].get("ready") == BOTS - 1
        assert time.monotonic() - begun < LEASE_S / 3
    finally:
        await client.aclose()
