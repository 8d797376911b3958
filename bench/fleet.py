"""Measures start time, CPU and memory of a fleet.

    python -m bench.fleet [--bots 10 50 300] [--runs 3]

The first start logs on with passwords, the second with refresh tokens. Pacing is off; sandbox and Valkey
are separate processes. Times count from the start of the service's process.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass

from bench.env import service_env
from bench.report import print_machine, print_table
from bench.service_process import ServiceProcess


@dataclass(frozen=True)
class Start:
    """Measurements of one start."""

    ready_s: float
    cpu_s: float
    rss_mb: float


def measure(bots: int) -> tuple[Start, Start]:
    """Return the start with passwords and the start with tokens."""
    with service_env(bots) as env:
        first = until_ready(env.service, bots)
        env.service.stop()
        env.service.start()
        return first, until_ready(env.service, bots)


def until_ready(service: ServiceProcess, bots: int) -> Start:
    """Wait until every bot is ready; return the measurements."""
    service.wait_ready(bots, within=120)
    return Start(service.age_s, service.cpu_seconds, service.rss / 1e6)


def main() -> None:
    """Print one row per fleet size and kind of start."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--bots", type=int, nargs="+", default=[10, 50, 300])
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    print_machine()
    with service_env(1) as env:  # the memory with one bot is the base of "KB per bot"
        base_mb = until_ready(env.service, 1).rss_mb
    rows = []
    for bots in options.bots:
        runs = [measure(bots) for _ in range(options.runs)]
        for kind, starts in zip(("password", "token"), zip(*runs, strict=True), strict=True):
            rows.append(row(bots, kind, starts, base_mb))
    print_table(
        ["bots", "log-on", "all ready s", "CPU s", "memory MB", "KB per bot"],
        rows,
        caption=f"medians of {options.runs} runs; base memory with one bot {base_mb:.0f} MB",
    )


def row(bots: int, kind: str, starts: tuple[Start, ...], base_mb: float) -> list[str]:
    """Return one printed row."""
    rss = statistics.median(start.rss_mb for start in starts)
    return [
        str(bots),
        kind,
        f"{statistics.median(start.ready_s for start in starts):.2f}",
        f"{statistics.median(start.cpu_s for start in starts):.2f}",
        f"{rss:.0f}",
        f"{(rss - base_mb) * 1e3 / max(1, bots - 1):.0f}",
    ]


if __name__ == "__main__":
    main()
