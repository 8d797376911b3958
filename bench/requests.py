"""Requests per second, CPU per request and latency at a fixed concurrency.

    python -m bench.requests [--seconds 10] [--concurrency 32] [--bots 20]

Three loads in one run: uncached with a GC that answers at once, uncached with a GC that takes 50 ms (what
the service adds to those is the figure), and one repeated id at a time (single-flight). Service, sandbox,
Valkey and this load generator share the machine; CPU is the service process's own.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass

import aiohttp

from bench.report import percentile, print_machine, print_table
from bench.world import World, world

FIRST_ID = 5_000_000_000
WARM_UP = 200  # requests


@dataclass(frozen=True)
class Load:
    """What one load measured. Latencies in seconds, sorted."""

    seconds: float
    latencies: list[float]
    failures: int
    cpu_s: float


async def drive(w: World, ids: Iterator[int], concurrency: int, seconds: float) -> Load:
    """Ask without a pause from `concurrency` clients for `seconds`."""
    latencies: list[float] = []
    failures = 0

    async def client(session: aiohttp.ClientSession, until: float) -> None:
        nonlocal failures
        while (begun := time.perf_counter()) < until:
            url = f"{w.service.url}/match-details?match_id={next(ids)}"
            async with session.get(url) as answer:
                await answer.read()
                failures += answer.status != 200
            latencies.append(time.perf_counter() - begun)

    async with aiohttp.ClientSession(auto_decompress=False) as session:
        for _ in range(WARM_UP // concurrency + 1):
            await asyncio.gather(
                *(client(session, time.perf_counter() + 1e-4) for _ in range(concurrency))
            )
        latencies.clear()
        cpu, begun = w.service.cpu_seconds, time.perf_counter()
        await asyncio.gather(*(client(session, begun + seconds) for _ in range(concurrency)))
        took = time.perf_counter() - begun
        return Load(took, sorted(latencies), failures, w.service.cpu_seconds - cpu)


def row(name: str, load: Load, gc_ms: float) -> list[str]:
    """Return one printed row."""
    count = len(load.latencies)
    return [
        name,
        f"{count / load.seconds:.0f}",
        f"{load.cpu_s / count * 1e3:.2f}",
        *(f"{percentile(load.latencies, p) * 1e3 - gc_ms:.1f}" for p in (50, 95, 99)),
        str(load.failures),
    ]


def main() -> None:
    """Print one row per load."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--bots", type=int, default=20)
    options = parser.parse_args()
    print_machine()
    loads = [
        ("uncached, GC at once", 0, itertools.count(FIRST_ID)),
        ("uncached, GC 50 ms (added)", 50, itertools.count(FIRST_ID)),
        ("one id repeated", 0, itertools.repeat(FIRST_ID)),
    ]
    rows = []
    for name, gc_ms, ids in loads:
        with world(options.bots, sandbox_options=("--gc-delay", str(gc_ms))) as w:
            w.service.wait_ready(options.bots)
            load = asyncio.run(drive(w, ids, options.concurrency, options.seconds))
        rows.append(row(name, load, gc_ms))
    print_table(
        ["load", "requests/s", "CPU ms each", "p50 ms", "p95 ms", "p99 ms", "failed"],
        rows,
        caption=f"concurrency {options.concurrency}, {options.bots} bots, {options.seconds:g} s each",
    )


if __name__ == "__main__":
    main()
