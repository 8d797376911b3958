"""Measures requests per second, CPU per request and latency.

    python -m bench.requests [--seconds 10] [--concurrency 32] [--bots 20]

Loads at a fixed concurrency: uncached with a GC that answers at once, uncached with a GC that takes 50
ms, and one repeated id. Loads at a fixed rate of 50 requests per second with 50 ms: with a Redis that
writes to disk each second (its default) and with one that writes at each change (the embedded one); the
goal is a p50 below 3 ms and a p99 below 15 ms. "Added" means latency minus the GC's own time for that
match, which is in the sandbox's journal.

The last two rows are the same load on a bare aiohttp handler that waits 50 ms; the second also runs a
Redis script and encodes a GC answer as JSON. They show the share of this machine and of the load
generator in all figures. Service, sandbox, Valkey and load generator share the machine; CPU is that of
the server.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass

from bench.bare_server import bare_server
from bench.decode import bodies
from bench.env import ServiceEnv, service_env
from bench.http_caller import Caller
from bench.report import percentile, print_machine, print_table
from bench.service_process import cpu_seconds
from bench.valkey import DURABLE, EVERY_SECOND, own_valkey

FIRST_ID = 5_000_000_000
WARM_UP = 200  # requests
PER_SECOND = 50
ANSWER_SIZE = 6_000  # bytes; about one gzipped match


@dataclass(frozen=True)
class Load:
    """Measurements of one load. Latencies are (match id, seconds)."""

    seconds: float
    latencies: list[tuple[int, float]]
    failures: int
    cpu_s: float


class Client:
    """Requests one match after another and records the latencies."""

    def __init__(self, caller: Caller, ids: Iterator[int]) -> None:
        self._caller = caller
        self._ids = ids
        self.latencies: list[tuple[int, float]] = []
        self.failures = 0

    async def request(self) -> None:
        """Request the next match."""
        begun, match_id = time.perf_counter(), next(self._ids)
        status = await self._caller.get(f"/match-details?match_id={match_id}")
        self.latencies.append((match_id, time.perf_counter() - begun))
        self.failures += status != 200


Pattern = Callable[
    [Client, float], Coroutine[None, None, None]
]  # arguments: client, end of the load


def closed_loop(clients: int) -> Pattern:
    """Return a load of `clients` clients that each send the next request after an answer."""

    async def run_one(client: Client, until: float) -> None:
        while time.perf_counter() < until:
            await client.request()

    async def pattern(client: Client, until: float) -> None:
        await asyncio.gather(*(run_one(client, until) for _ in range(clients)))

    return pattern


def open_loop(per_second: float) -> Pattern:
    """Return a load with a fixed rate, independent of answers."""

    async def pattern(client: Client, until: float) -> None:
        begun = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for n in range(round((until - begun) * per_second)):
                await asyncio.sleep(begun + n / per_second - time.perf_counter())
                group.create_task(client.request())

    return pattern


async def drive(url: str, pid: int, ids: Iterator[int], pattern: Pattern, seconds: float) -> Load:
    """Warm up, then load the process `pid` for `seconds`."""
    async with contextlib.aclosing(Caller(url)) as caller:
        warm_up = Client(caller, ids)
        for _ in range(WARM_UP // 10):
            await asyncio.gather(*(warm_up.request() for _ in range(10)))
        client = Client(caller, ids)
        cpu, begun = cpu_seconds(pid), time.perf_counter()
        await pattern(client, begun + seconds)
        took = time.perf_counter() - begun
        return Load(took, client.latencies, client.failures, cpu_seconds(pid) - cpu)


async def gc_times(env: ServiceEnv) -> dict[int, float]:
    """Return the GC's own time for each match, in seconds; the first answer counts."""
    answers = await env.sandbox.journal("match_answer")
    return {answer["match_id"]: answer["took_s"] for answer in reversed(answers)}


def row(name: str, load: Load, gc_s: Callable[[int], float]) -> list[str]:
    """Return one printed row; `gc_s` returns the GC's own time, which is subtracted."""
    count = len(load.latencies)
    added = sorted(latency - gc_s(match_id) for match_id, latency in load.latencies)
    return [
        name,
        f"{count / load.seconds:.0f}",
        f"{load.cpu_s / count * 1e3:.2f}",
        *(f"{percentile(added, p) * 1e3:.1f}" for p in (50, 95, 99)),
        str(load.failures),
    ]


async def measure(
    env: ServiceEnv, ids: Iterator[int], pattern: Pattern, seconds: float
) -> tuple[Load, dict[int, float]]:
    """Run a load; return its measurements and the GC's own times."""
    load = await drive(env.service.url, env.service.process.pid, ids, pattern, seconds)
    return load, await gc_times(env)


def main() -> None:
    """Print one row per load."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--bots", type=int, default=20)
    options = parser.parse_args()
    print_machine()
    back_to_back, paced = closed_loop(options.concurrency), open_loop(PER_SECOND)
    rate = f"{PER_SECOND}/s, GC 50 ms"
    loads = [
        ("uncached, GC at once", 0, itertools.count(FIRST_ID), back_to_back, EVERY_SECOND),
        ("uncached, GC 50 ms (added)", 50, itertools.count(FIRST_ID), back_to_back, EVERY_SECOND),
        ("one id repeated", 0, itertools.repeat(FIRST_ID), back_to_back, EVERY_SECOND),
        (f"{rate} (added)", 50, itertools.count(FIRST_ID), paced, EVERY_SECOND),
        (f"{rate}, each write synced", 50, itertools.count(FIRST_ID), paced, DURABLE),
    ]
    rows = []
    for name, gc_ms, ids, pattern, redis_config in loads:
        gc_delay = ("--gc-delay", str(gc_ms))
        with service_env(options.bots, sandbox_options=gc_delay, redis_config=redis_config) as env:
            env.service.wait_ready(options.bots)
            load, gc_s = asyncio.run(measure(env, ids, pattern, options.seconds))
        rows.append(row(name, load, gc_s.__getitem__ if gc_ms else lambda _: 0.0))
    with own_valkey(EVERY_SECOND) as valkey:
        redis_url = f"redis://127.0.0.1:{valkey.port}/0"
        for name, body, work_with in (
            ("bare, nothing but 50 ms", b"x" * ANSWER_SIZE, None),
            ("bare, one script and one match", bodies(1)[0], redis_url),
        ):
            with bare_server(body, delay_ms=50, work_with=work_with) as (url, pid):
                ids = itertools.count(FIRST_ID)
                load = asyncio.run(drive(url, pid, ids, paced, options.seconds))
            rows.append(row(f"{PER_SECOND}/s, {name}", load, lambda _: 0.05))
    print_table(
        ["load", "requests/s", "CPU ms each", "p50 ms", "p95 ms", "p99 ms", "failed"],
        rows,
        caption=f"concurrency {options.concurrency}, {options.bots} bots, {options.seconds:g} s each",
    )


if __name__ == "__main__":
    main()
