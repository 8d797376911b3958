"""A whole service on a Redis that answers and cannot serve: no log-on is lost, and it recovers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import pytest
import redis

from bench.chaos.proxy import FaultProxy, Mode
from bench.env import (
    ServiceEnv,
    seed_accounts,
    service_env,
    service_settings,
    simple_accounts,
)
from bench.sandbox_process import SandboxProcess
from bench.service_process import Sections, ServiceProcess
from bench.valkey import FORGETFUL, own_valkey

pytestmark = pytest.mark.integration

QUICK: Final[Sections] = {
    "restart": {"backoff_min": 0.2, "backoff_max": 1, "intensity": 30, "period": 60},
    "logon": {"per_minute": 0},
    "log": {"level": "debug"},
}
BOTS = 2
ACCOUNTS = simple_accounts(BOTS)


@contextmanager
def operator(port: int) -> Iterator[Any]:
    with redis.Redis(port=port) as client:
        yield client


async def test_with_redis_full_steam_is_not_asked_until_it_can_write_again() -> None:
    with service_env(BOTS, settings=QUICK) as w, operator(w.valkey.port) as redis_of:
        w.service.wait_ready(BOTS)
        redis_of.config_set("maxmemory", "1")
        since = await w.sandbox.last_event()
        assert await w.sandbox.drop("close") == BOTS
        await asyncio.to_thread(wait_for_tries, w, 4 * BOTS)
        kinds = {one["kind"] for one in await w.sandbox.journal(since=since)}
        assert not kinds & {"token_logon", "credentials_begun", "logon_refused"}
        [lost] = w.service.events("redis_lost")
        assert "OOM" in lost["reason"]
        code, _ = await asyncio.to_thread(w.service.get, "/match-details?match_id=5")
        assert code == 503
        redis_of.config_set("maxmemory", "0")
        await asyncio.to_thread(w.service.wait_ready, BOTS)
        assert len(await w.sandbox.journal("token_logon", since=since)) == BOTS
        assert not list(w.service.events("child_crashed"))


def wait_for_tries(w: ServiceEnv, count: int) -> None:
    """Wait until bots have tried so often to begin a life, in vain."""
    until = time.monotonic() + 20
    while sum("OOM" in str(one) for one in w.service.events("child_ended")) < count:
        assert time.monotonic() < until
        time.sleep(0.05)


@asynccontextmanager
async def running(service: ServiceProcess) -> AsyncIterator[ServiceProcess]:
    """Start and stop it beside the loop, which the proxy needs."""
    await asyncio.to_thread(service.__enter__)
    try:
        yield service
    finally:
        await asyncio.to_thread(service.__exit__, None, None, None)


async def test_after_a_failover_the_service_needs_no_restart() -> None:
    """The primary becomes a replica and the name leads to another; connections stay up meanwhile."""
    with (
        SandboxProcess(ACCOUNTS) as sandbox,
        own_valkey(FORGETFUL) as old,
        own_valkey(FORGETFUL) as new,
        operator(old.port) as to_old,
        operator(new.port) as to_new,
    ):
        seed_accounts(f"redis://127.0.0.1:{old.port}/0", ACCOUNTS)
        async with FaultProxy(("127.0.0.1", old.port)) as name:
            url = f"redis://127.0.0.1:{name.port}/0"
            settings = service_settings(BOTS, sandbox, url, QUICK)
            async with running(ServiceProcess(settings)) as service:
                await asyncio.to_thread(service.wait_ready, BOTS)
                await asyncio.to_thread(service.get, "/match-details?match_id=19")
                to_new.replicaof("127.0.0.1", old.port)
                while to_new.info("replication")["master_link_status"] != "up":  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                to_new.replicaof("NO", "ONE")
                to_old.replicaof("127.0.0.1", new.port)
                name._target = ("127.0.0.1", new.port)
                answers = [
                    await asyncio.to_thread(service.get, f"/match-details?match_id={n}")
                    for n in range(20, 40)
                ]
                codes = [code for code, _ in answers]
                assert set(codes[:3]) <= {200, 503}
                assert codes[3:] == [200] * 17
                lost = await asyncio.to_thread(service.wait_log, "redis_lost", 5.0)
                assert "READONLY" in lost["reason"]
                assert to_new.zcard("botapi:leases") == BOTS


async def test_a_start_while_redis_is_silent_is_named_from_the_first_answer_on() -> None:
    with SandboxProcess(ACCOUNTS) as sandbox, own_valkey(FORGETFUL) as valkey:
        seed_accounts(f"redis://127.0.0.1:{valkey.port}/0", ACCOUNTS)
        async with FaultProxy(("127.0.0.1", valkey.port)) as proxy:
            url = f"redis://127.0.0.1:{proxy.port}/0"
            service = ServiceProcess(service_settings(BOTS, sandbox, url, QUICK))
            with proxy.in_mode(Mode.HOLE):
                await asyncio.to_thread(service.__enter__)
                first = await asyncio.to_thread(service.status)
            try:
                assert [one["kind"] for one in first["alerts"]] == ["redis-unreachable"]
                await asyncio.to_thread(service.wait_ready, BOTS)
                await asyncio.to_thread(service.wait_log, "redis_back", 10.0)
            finally:
                await asyncio.to_thread(service.__exit__, None, None, None)
