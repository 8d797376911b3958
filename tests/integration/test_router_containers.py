"""Several service processes on one Valkey and one sandbox: who asks the GC, by the sandbox's journal."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import aiohttp
import pytest

from bench.env import ServiceEnv, service_env, service_settings
from bench.sandbox_process import SandboxProcess
from bench.service_process import Sections, ServiceProcess

pytestmark = pytest.mark.integration

MATCH = 7_000_000_001


@contextlib.contextmanager
def three_services(gc_delay_ms: int) -> Iterator[tuple[ServiceEnv, list[ServiceProcess]]]:
    """Run three processes with a bot each."""
    accounts = [{"name": f"bot{number}", "password": "pw"} for number in range(3)]
    options = ("--gc-delay", str(gc_delay_ms))
    with (
        service_env(1, accounts=accounts, sandbox_options=options) as w,
        contextlib.ExitStack() as stack,
    ):
        settings = service_settings(1, w.sandbox, w.redis_url)
        more = [stack.enter_context(ServiceProcess(settings)) for _ in range(2)]
        services = [w.service, *more]
        for service in services:
            service.wait_ready(1)
        yield w, services


@contextlib.asynccontextmanager
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


async def fetch(session: aiohttp.ClientSession, service: ServiceProcess, match_id: int) -> bytes:
    url = f"{service.url}/match-details?match_id={match_id}"
    async with session.get(url) as answer:
        body = await answer.read()
        assert answer.status == 200, body
        return body


async def test_a_thousand_requests_over_three_processes_cost_one() -> None:
    with three_services(gc_delay_ms=500) as (w, services):
        async with client() as session:
            asked = [fetch(session, services[n % 3], MATCH) for n in range(1000)]
            bodies = await asyncio.gather(*asked)
        assert len(set(bodies)) == 1
        assert len(await w.sandbox.journal("match_request")) == 1


async def test_when_the_process_under_way_is_killed_the_others_answer() -> None:
    with three_services(gc_delay_ms=2000) as (w, (doomed, *others)):
        async with client() as session:
            lost = asyncio.create_task(fetch(session, doomed, MATCH))
            await w.sandbox.wait_journal("match_request")
            asked = [
                asyncio.create_task(fetch(session, service, MATCH))
                for service in others
                for _ in range(100)
            ]
            for service in others:
                await asyncio.to_thread(wait_in_flight, service)
            doomed.kill()
            with pytest.raises(aiohttp.ClientError):
                await lost
            bodies = await asyncio.gather(*asked)
        assert len(set(bodies)) == 1
        assert len(await w.sandbox.journal("match_request")) <= 2


def wait_in_flight(service: ServiceProcess) -> None:
    until = time.monotonic() + 10.0
    while not service.status()["router"]["in_flight"]:
        assert time.monotonic() < until
        time.sleep(0.01)


@dataclass
class Tally:
    """What came of a load."""

    statuses: Counter[int] = field(default_factory=Counter)
    slowest_s: float = 0.0


async def load(w: ServiceEnv, first_id: int, requests: int, clients: int) -> Tally:
    """Ask for different matches, each client one after another."""
    router_metrics, ids = Tally(), iter(range(first_id, first_id + requests))
    loop = asyncio.get_running_loop()

    async def ask_on(session: aiohttp.ClientSession) -> None:
        for match_id in ids:
            begun = loop.time()
            url = f"{w.service.url}/match-details?match_id={match_id}"
            async with session.get(url) as answer:
                await answer.read()
                router_metrics.statuses[answer.status] += 1
            router_metrics.slowest_s = max(router_metrics.slowest_s, loop.time() - begun)

    async with client() as session:
        await asyncio.gather(*(ask_on(session) for _ in range(clients)))
    return router_metrics


async def requests_of(sandbox: SandboxProcess) -> int:
    return sum((await sandbox.summary())["requests"].values())


async def test_one_bot_in_ten_silent_and_one_in_ten_slow() -> None:
    """More than 99.9 % succeed within 5 s, and an answer costs less than 1.15 requests."""
    settings: Sections = {
        "bots": {"request_timeout": 5, "max_in_flight": 5},
        "http": {"deadline": 5},
    }
    with service_env(10, sandbox_options=("--gc-delay", "50"), settings=settings) as w:
        w.service.wait_ready(10)
        await w.sandbox.faults(
            gc_silent={"accounts": ["bot0003"]},
            gc_delay_ms={"value": 3000, "accounts": ["bot0007"]},
        )
        router_metrics = await load(w, MATCH, requests=2000, clients=16)
        answered, asked = router_metrics.statuses[200], await requests_of(w.sandbox)
        assert answered / 2000 > 0.999, router_metrics
        assert asked / answered < 1.15
        requests = (await w.sandbox.summary())["requests"]
        assert max(requests["bot0003"], requests["bot0007"]) < 2000 / 10 / 4  # fewer turns
