"""Faults affect a real Valkey, a real pipe and a real service."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
import redis
from redis.exceptions import ReadOnlyError

import bench.chaos.faults
from bench.chaos.env import LEASE_S, SECRET_KEY, RoundConfig, chaos_env, secret_key
from bench.chaos.faults import KINDS, available_kinds
from bench.chaos.piped_service import PIPE_BYTES, PipedService
from bench.chaos.proxy import FaultProxy, Mode
from bench.chaos.valkeys import Valkeys, valkeys
from bench.moved_clock import MISSING, library

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

ACCOUNTS = [{"name": "axe", "password": "pw-axe"}, {"name": "bane", "password": "pw-bane"}]
STALLED_S = 1.0  # a write that takes longer is blocked


@pytest.fixture
async def store() -> AsyncIterator[Valkeys]:
    async with valkeys() as made:
        yield made


def until(condition: Callable[[], object]) -> None:
    """Wait for a condition; the test's timeout bounds it."""
    while not condition():
        time.sleep(0.01)


def client_of(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, decode_responses=True)


async def test_an_old_snapshot_loses_later_writes(store: Valkeys) -> None:
    with client_of(store.url) as client:
        client.set("before", 1)
        restoring = asyncio.create_task(store.restore(1.0))
        await asyncio.sleep(0.5)
        client.set("after", 1)
        await restoring
        assert (client.get("before"), client.get("after")) == ("1", None)
    (loss,) = store.losses
    assert 1.0 <= loss.at - loss.since < LEASE_S
    assert loss.at <= time.time()


async def test_after_a_flush_the_accounts_are_added_again(store: Valkeys) -> None:
    with client_of(store.url) as client:
        client.hset("botapi:sentries", "axe", "token")
        client.zadd("botapi:checkouts", {"axe": 1})
        flushing = asyncio.create_task(store.flush(ACCOUNTS, away_s=0.5))
        await asyncio.to_thread(until, lambda: not client.dbsize())
        client.zadd("botapi:checkouts", {"bane": 1})  # another client is faster
        await flushing
        assert client.hgetall("botapi:passwords") == {"axe": "pw-axe", "bane": "pw-bane"}
        assert client.zrange("botapi:checkouts", 0, -1, withscores=True) == [
            ("axe", 0),
            ("bane", 1),
        ]
        assert client.exists("botapi:sentries") == 0
    assert [loss.since for loss in store.losses] == [float("-inf")]


async def test_lost_leases_leave_scores_and_holders(store: Valkeys) -> None:
    with client_of(store.url) as client:
        client.zadd("botapi:leases", {"axe": 1e15})
        client.zadd("botapi:checkouts", {"axe": 1})
        client.hset("botapi:holders", "axe", "1 2 i/bot-1")
        await store.drop_leases()
        assert client.exists("botapi:leases") == 0
        assert client.exists("botapi:checkouts", "botapi:holders") == 2
    assert store.losses == []


async def test_after_a_failover_open_connections_are_read_only(store: Valkeys) -> None:
    async with FaultProxy(("127.0.0.1", store.port)) as proxy:
        store.proxies.append(proxy)
        await asyncio.to_thread(_fail_over_and_back, store, proxy, asyncio.get_running_loop())


async def test_a_link_has_its_fault_until_the_last_block_ends(store: Valkeys) -> None:
    async with FaultProxy(("127.0.0.1", store.port)) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        first, second = proxy.in_mode(Mode.HOLE), proxy.in_mode(Mode.HOLE)
        with first:
            second.__enter__()
            writer.write(b"PING\r\n")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await reader.readline()
        second.__exit__(None, None, None)
        async with asyncio.timeout(5):
            assert await reader.readline() == b"+PONG\r\n"
        writer.close()


def _fail_over_and_back(store: Valkeys, proxy: FaultProxy, loop: asyncio.AbstractEventLoop) -> None:
    url = f"redis://127.0.0.1:{proxy.port}/0"
    for number in range(2):
        with client_of(url) as old, client_of(url) as new:
            old.set(f"before-{number}", 1)
            asyncio.run_coroutine_threadsafe(store.fail_over(), loop).result()
            with pytest.raises(ReadOnlyError):
                old.set("after", 1)
            assert old.get(f"before-{number}") == "1"
            new.set(f"after-{number}", 1)
            assert new.get(f"before-{number}") == "1"  # nothing is lost
            assert new.info("replication")["role"] == "master"


@pytest.mark.skipif(library() is None, reason=MISSING)
async def test_only_the_clock_of_redis_steps(store: Valkeys) -> None:
    with client_of(store.url) as client:
        for step, expected in ((3600.0, 3600.0), (-7200.0, -3600.0)):
            await store.step_clock(step)
            async with asyncio.timeout(10):
                while abs(client.time()[0] - time.time() - expected) > 10:  # noqa: ASYNC110 - there is no event
                    await asyncio.sleep(0.05)


@pytest.mark.skipif(library() is None, reason=MISSING)
async def test_a_failover_after_a_step_of_the_clock_ends(store: Valkeys) -> None:
    await store.fail_over()
    await store.step_clock(3600.0)
    await store.fail_over()


def test_faults_that_cannot_be_injected_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.chaos.faults, "library", lambda: None)
    assert KINDS.keys() - available_kinds().keys() == {"redis_clock_step"}


@pytest.mark.parametrize("reader", ["stops reading", "is gone"])
async def test_a_log_that_cannot_be_written(tmp_path: Path, reader: str) -> None:
    service = PipedService({})
    service._log_file = tmp_path / "log"
    with service._log_stream() as stream:
        pipe = os.dup(stream.fileno())
    os.write(pipe, b"first\n")
    await asyncio.to_thread(until, lambda: service.log == "first\n")
    if reader == "is gone":
        service.close_reader()
        with pytest.raises(BrokenPipeError):
            os.write(pipe, b"more\n")
    else:
        service.stop_reading()
        await asyncio.sleep(2 * STALLED_S)  # the reader has noticed, and would have read
        writing = asyncio.create_task(asyncio.to_thread(os.write, pipe, b"x" * 2 * PIPE_BYTES))
        assert await asyncio.wait({writing}, timeout=STALLED_S) == (set(), {writing})
        assert service.log == "first\n"
        service.read_again()
        assert await writing == 2 * PIPE_BYTES
        service.close_reader()
    os.close(pipe)


async def test_a_blocked_loop_does_not_answer_and_keeps_its_sessions() -> None:
    """A process with another key is also distinguished from one with its own key."""
    async with chaos_env(RoundConfig(members=1, bots=2, accounts=2), seed=1) as env:
        (member,) = env.members
        await asyncio.to_thread(member.service.wait_ready, 2)
        since = await env.sandbox.last_event()
        blocking = asyncio.create_task(member.block(4.0))
        await asyncio.sleep(0.5)
        with pytest.raises(TimeoutError):
            await healthz(member.service.url)
        await asyncio.sleep(3.5)  # longer than Steam's timeout for a silent connection
        assert await env.sandbox.journal("session_ended", since=since) == []
        await blocking
        assert member.down_periods[0][1] - member.down_periods[0][0] >= 4.0
        member.service.kill()
        await member.start()
        await member.stop()
        assert member.violations == []
        await member.refuse_to_start({"BOTAPI_HTTP__PORT": "not a port"})  # ends, with one line
        assert member.violations == []
        assert member.service.env[SECRET_KEY] == secret_key("right")
        await member.refuse_to_start({"BOTAPI_LOG__LEVEL": "debug"}, unless="service_starting")
        assert member.violations == []
        await member.refuse_to_start({"BOTAPI_LOG__LEVEL": "debug"}, unless="redis_lost")
        (said,) = member.violations
        assert said == "m0: started with BOTAPI_LOG__LEVEL that is wrong"


async def healthz(url: str) -> int:
    patience = aiohttp.ClientTimeout(total=STALLED_S)
    async with (
        aiohttp.ClientSession(timeout=patience) as client,
        client.get(f"{url}/healthz") as answer,
    ):
        return answer.status
