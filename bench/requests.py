"""Requests per second, CPU per request and latency at a fixed concurrency.

    python -m bench.requests [--seconds 10] [--concurrency 32] [--bots 20]

Loads in one run: uncached with a GC that answers at once; uncached with a GC that takes 50 ms (what
the service adds to those is the figure); one repeated id; and 50 requests per second that do not wait for
one another, again with 50 ms: what a service with time to spare adds, with a Redis that writes to disk
each second, as it does by itself, and with one that does at each write, as the embedded one. For that the
goal is a p50 under 3 ms and a p99 under 15 ms. "Added" is to the GC's own time for that match, as the
sandbox's journal has it: from the arrival of the request to the departure of the answer.

The last two rows are the same load on a bare aiohttp handler that waits 50 ms: one does nothing else, one
runs one script in Redis before and makes JSON of a GC's answer after that. They are what this machine
takes for that much, with the share of this load generator, which is in all figures. Service, sandbox,
Valkey and load generator share the machine; CPU is that of the process that serves.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass

import psutil

from bench.bare_server import bare_server
from bench.decode import bodies
from bench.http_caller import Caller
from bench.report import percentile, print_machine, print_table
from bench.valkey import DURABLE, EVERY_SECOND, own_valkey
from bench.world import ServiceEnv, world

FIRST_ID = 5_000_000_000
WARM_UP = 200  # requests
PER_SECOND = 50
ANSWER_SIZE = 6_000  # bytes; about a match, gzipped


@dataclass(frozen=True)
class Load:
    """What one load measured. Latencies in seconds, with the matches they were for."""

    seconds: float
    latencies: list[tuple[int, float]]
    failures: int
    cpu_s: float


class Asker:
    """Asks for one match after another and notes how that went."""

    def __init__(self, caller: Caller, ids: Iterator[int]) -> None:
        self._caller = caller
        self._ids = ids
        self.latencies: list[tuple[int, float]] = []
        self.failures = 0

    async def ask(self) -> None:
        """Ask for the next match."""
        begun, match_id = time.perf_counter(), next(self._ids)
        status = await self._caller.get(f"/match-details?match_id={match_id}")
        self.latencies.append((match_id, time.perf_counter() - begun))
        self.failures += status != 200


Pattern = Callable[[Asker, float], Coroutine[None, None, None]]  # until that instant


def without_pause(clients: int) -> Pattern:
    """Return a load of that many clients, each of which asks again when it is answered."""

    async def client(asker: Asker, until: float) -> None:
        while time.perf_counter() < until:
            await asker.ask()

    async def pattern(asker: Asker, until: float) -> None:
        await asyncio.gather(*(client(asker, until) for _ in range(clients)))

    return pattern


def at_a_rate(per_second: float) -> Pattern:
    """Return a load that asks in even steps, whatever becomes of those before."""

    async def pattern(asker: Asker, until: float) -> None:
        begun = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for n in range(round((until - begun) * per_second)):
                await asyncio.sleep(begun + n / per_second - time.perf_counter())
                group.create_task(asker.ask())

    return pattern


async def drive(url: str, pid: int, ids: Iterator[int], pattern: Pattern, seconds: float) -> Load:
    """Warm up, then load the process `pid` for `seconds`."""
    async with contextlib.aclosing(Caller(url)) as caller:
        warm_up = Asker(caller, ids)
        for _ in range(WARM_UP // 10):
            await asyncio.gather(*(warm_up.ask() for _ in range(10)))
        asker = Asker(caller, ids)
        cpu, begun = cpu_seconds(pid), time.perf_counter()
        await pattern(asker, begun + seconds)
        took = time.perf_counter() - begun
        return Load(took, asker.latencies, asker.failures, cpu_seconds(pid) - cpu)


def cpu_seconds(pid: int) -> float:
    """Return user plus system time so far."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


async def own_times(w: ServiceEnv) -> dict[int, float]:
    """Return how long the GC itself took for each match, in seconds: its first answer counts."""
    answers = await w.sandbox.journal("match_answer")
    return {answer["match_id"]: answer["took_s"] for answer in reversed(answers)}


def row(name: str, load: Load, own_s: Callable[[int], float]) -> list[str]:
    """Return one printed row; `own_s` is not the server's fault."""
    count = len(load.latencies)
    added = sorted(latency - own_s(match_id) for match_id, latency in load.latencies)
    return [
        name,
        f"{count / load.seconds:.0f}",
        f"{load.cpu_s / count * 1e3:.2f}",
        *(f"{percentile(added, p) * 1e3:.1f}" for p in (50, 95, 99)),
        str(load.failures),
    ]


async def measure(
    w: ServiceEnv, ids: Iterator[int], pattern: Pattern, seconds: float
) -> tuple[Load, dict[int, float]]:
    """Load the service; return that, and how long the GC took for each match."""
    load = await drive(w.service.url, w.service.process.pid, ids, pattern, seconds)
    return load, await own_times(w)


def main() -> None:
    """Print one row per load."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--bots", type=int, default=20)
    options = parser.parse_args()
    print_machine()
    busy, steady = without_pause(options.concurrency), at_a_rate(PER_SECOND)
    steadily = f"{PER_SECOND}/s, GC 50 ms"
    loads = [
        ("uncached, GC at once", 0, itertools.count(FIRST_ID), busy, EVERY_SECOND),
        ("uncached, GC 50 ms (added)", 50, itertools.count(FIRST_ID), busy, EVERY_SECOND),
        ("one id repeated", 0, itertools.repeat(FIRST_ID), busy, EVERY_SECOND),
        (f"{steadily} (added)", 50, itertools.count(FIRST_ID), steady, EVERY_SECOND),
        (f"{steadily}, each write synced", 50, itertools.count(FIRST_ID), steady, DURABLE),
    ]
    rows = []
    for name, gc_ms, ids, pattern, redis_config in loads:
        gc_delay = ("--gc-delay", str(gc_ms))
        with world(options.bots, sandbox_options=gc_delay, redis_config=redis_config) as w:
            w.service.wait_ready(options.bots)
            load, own_s = asyncio.run(measure(w, ids, pattern, options.seconds))
        rows.append(row(name, load, own_s.__getitem__ if gc_ms else lambda _: 0.0))
    with own_valkey(EVERY_SECOND) as valkey:
        redis_url = f"redis://127.0.0.1:{valkey.port}/0"
        for name, body, work_with in (
            ("bare, nothing but 50 ms", b"x" * ANSWER_SIZE, None),
            ("bare, one script and one match", bodies(1)[0], redis_url),
        ):
            with bare_server(body, delay_ms=50, work_with=work_with) as (url, pid):
                ids = itertools.count(FIRST_ID)
                load = asyncio.run(drive(url, pid, ids, steady, options.seconds))
            rows.append(row(f"{PER_SECOND}/s, {name}", load, lambda _: 0.05))
    print_table(
        ["load", "requests/s", "CPU ms each", "p50 ms", "p95 ms", "p99 ms", "failed"],
        rows,
        caption=f"concurrency {options.concurrency}, {options.bots} bots, {options.seconds:g} s each",
    )


if __name__ == "__main__":
    main()
