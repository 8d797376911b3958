"""Request rate for a match in memory, compared with a bare aiohttp handler that returns the same bytes.

    python -m bench.cached [--rounds 7] [--seconds 2] [--connections 16]

The servers are separate processes and are measured in turn, so that other load affects all of them alike;
medians are compared. The service writes a JSON log line for each request; so does a second bare server,
with aiohttp's access log.

The goal applies to a plain request, which is answered before the application. A request with a header
that needs the application (here: a time limit) is measured too.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import urllib.request
from dataclasses import dataclass, field

import psutil

from bench.bare_server import PATH, bare_server
from bench.env import service_env
from bench.http_load import drive
from bench.report import print_machine, print_table

MATCH = 7_490_235_544
GOAL = 0.7


@dataclass
class Server:
    """One server and its measurements."""

    name: str
    url: str
    pid: int
    header: str = ""
    rates: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)  # per response

    def measure(self, connections: int, seconds: float) -> None:
        """Measure one round."""
        times = psutil.Process(self.pid).cpu_times()
        rate = asyncio.run(
            drive(self.url, connections=connections, seconds=seconds, header=self.header)
        )
        after = psutil.Process(self.pid).cpu_times()
        used = after.user + after.system - times.user - times.system
        self.rates.append(rate.per_second)
        self.cpu_us.append(used / rate.answers * 1e6)

    def row(self) -> list[str]:
        """Return a row of the table."""
        middle, low, high = statistics.median(self.rates), min(self.rates), max(self.rates)
        return [
            self.name,
            f"{middle:.0f}",
            f"{low:.0f}..{high:.0f}",
            f"{statistics.median(self.cpu_us):.0f}",
        ]


def gzipped(url: str) -> bytes:
    """Return the gzipped body of the response to a GET of `url`."""
    request = urllib.request.Request(url, headers={"Accept-Encoding": "gzip"})  # noqa: S310 - ours
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - ours
        body: bytes = answer.read()
        return body


def main() -> None:
    """Print the rates and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--connections", type=int, default=16)
    options = parser.parse_args()
    print_machine()
    with service_env(1) as w:
        w.service.wait_ready(1)
        url = f"{w.service.url}/match-details?match_id={MATCH}"
        body = gzipped(url)
        with (
            bare_server(body) as (bare_url, bare_pid),
            bare_server(body, logs=True) as (logging_url, logging_pid),
        ):
            bare = Server("bare aiohttp handler", bare_url + PATH, bare_pid)
            logging = Server("the same, with its log", logging_url + PATH, logging_pid)
            pid = w.service.process.pid
            known = Server("match in memory", url, pid)
            routed = Server("the same, routed", url, pid, header="X-Request-Timeout: 5")
            servers = (bare, logging, known, routed)
            for _ in range(options.rounds + 1):
                for server in servers:
                    server.measure(options.connections, options.seconds)
        asked = asyncio.run(w.sandbox.summary())["requests"]
    for server in servers:  # the first round is a warm-up
        del server.rates[0], server.cpu_us[0]
    print_table(
        ["server", "requests/s", "range", "CPU us each"],
        [server.row() for server in servers],
        caption=f"{len(body)} bytes, {options.connections} connections, "
        f"{options.rounds} rounds of {options.seconds:g} s each in turn; "
        f"{sum(asked.values())} request to the Game Coordinator",
    )
    for ours, goal in ((known, f" (goal: {GOAL} at least)"), (routed, "")):
        for other in (bare, logging):
            ratio = statistics.median(ours.rates) / statistics.median(other.rates)
            print(f"{ours.name} to {other.name}: {ratio:.2f}{goal}")


if __name__ == "__main__":
    main()
