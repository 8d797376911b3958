"""Soak test: many bots with steady clients and random faults for a long time.

    python -m bench.soak [--minutes 30] [--seed 1] [--bots 100] [--rate 20]

Clients request few matches often and many matches rarely. Wrong answers (about another match) and missing
answers (later than the deadline) must both be 0. Downtimes are read from the simulated Steam's journal:
from the end of an account's session to its next GC welcome.

At the end every bot must be ready, except those without an account: the service treats an account as
spent after several silent requests in a row while others are answered, and lets it cool down for an
hour, which is longer than this program waits. The journal shows whether the account was silent.

Memory is compared between the end of the warm-up and the end of the run. The service may keep a bounded
number of matches in memory; `CACHED_MATCHES` is so small that they are all there after the warm-up.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from actors.router.unanswered import MISSED_MATCHES
from bench.env import ServiceEnv, service_env
from bench.report import percentile, print_machine, print_table
from bench.sandbox_process import SandboxProcess

FIRST_MATCH: Final = 6_500_000_000
ERROR_WORDS: Final = frozenset({"notready", "busy", "timeout", "store-unavailable"})
DEADLINE_S: Final = 15.0
SLACK_S: Final = 5.0
FAULT_EVERY_S: Final = 8.0
# Time until the first memory measurement; every bot should have restarted once or twice by then.
WARM_UP_S: Final = 120.0
GC_DELAY_MS: Final = 50
CACHED_MATCHES: Final = 100  # entries of the match cache
# Enough for the last fault, a bot that is parked for failing too often, and the backoff after it.
SETTLE_S: Final = 420.0
GROWTH: Final = 0.05  # largest accepted growth of memory


async def _drop(sandbox: SandboxProcess, rng: random.Random) -> None:
    mode = rng.choice(("close", "reset", "mid_message", "half_open"))
    await sandbox.drop(mode, fraction=rng.uniform(0.05, 0.5))


async def _log_off(sandbox: SandboxProcess, rng: random.Random) -> None:
    names = [one["name"] for one in sandbox.accounts]
    await sandbox.log_off(rng.choice((2, 10, 20, 48)), accounts=rng.sample(names, 5))


async def _no_logon(sandbox: SandboxProcess, rng: random.Random) -> None:
    eresult = rng.choice((2, 10, 16, 20, 48))
    await sandbox.faults(logon_eresult={"value": eresult, "for_s": rng.uniform(1, 4)})
    await sandbox.drop("close", fraction=0.2)


async def _silent_logon(sandbox: SandboxProcess, rng: random.Random) -> None:
    await sandbox.faults(logon_never_answered={"value": True, "for_s": rng.uniform(1, 4)})
    await sandbox.drop("close", fraction=0.1)


async def _cm_down(sandbox: SandboxProcess, rng: random.Random) -> None:
    cms = [rng.choice(("ws1", "ws2"))]
    await sandbox.faults(refuse_connect={"value": True, "cms": cms, "for_s": rng.uniform(2, 6)})
    await sandbox.drop("close", cms=cms)


async def _gc_down(sandbox: SandboxProcess, rng: random.Random) -> None:
    state = rng.choice((True, "going_down", "silent"))
    await sandbox.faults(gc_down={"value": state, "for_s": rng.uniform(1, 5)})


async def _silent_accounts(sandbox: SandboxProcess, rng: random.Random) -> None:
    names = rng.sample([one["name"] for one in sandbox.accounts], 5)
    await sandbox.faults(gc_silent={"value": True, "accounts": names, "for_s": rng.uniform(2, 8)})


async def _odd_answers(sandbox: SandboxProcess, rng: random.Random) -> None:
    seconds = rng.uniform(2, 8)
    await sandbox.faults(
        gc_out_of_order={"value": 5, "for_s": seconds},
        gc_duplicate={"value": True, "for_s": seconds},
        gc_stale_answers={"value": True, "for_s": seconds},
        send_unknown_messages={"value": True, "for_s": seconds},
    )


async def _corrupt(sandbox: SandboxProcess, rng: random.Random) -> None:
    kind = rng.choice(("magic", "gzip", "unzipped_size", "inner_length", "header"))
    await sandbox.call("POST", "/corrupt", {"fraction": 0.1, "flaw": kind})


FAULTS: Final[Mapping[str, Callable[[SandboxProcess, random.Random], Awaitable[None]]]] = {
    fault.__name__.strip("_"): fault
    for fault in (
        _drop,
        _log_off,
        _no_logon,
        _silent_logon,
        _cm_down,
        _gc_down,
        _silent_accounts,
        _odd_answers,
        _corrupt,
    )
}


@dataclass
class ClientStats:
    """Answers to the clients, and the injected faults."""

    answers: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class SoakResult:
    """The result of a run."""

    stats: ClientStats
    downtimes_s: list[float]  # sorted
    parked: int  # number of times that a bot was parked
    rss_begin: int
    rss_end: int
    ready: int
    absent: list[str]  # bots that are not ready, with their last errors
    cooling: set[str]  # accounts that the service treats as spent
    silenced: set[str]  # accounts that the GC left without an answer often enough

    @property
    def growth(self) -> float:
        """Growth of the service's memory, as a share."""
        return self.rss_end / self.rss_begin - 1


async def soak(
    env: ServiceEnv, *, seconds: float, rate: float, seed: int, warm_up_s: float
) -> SoakResult:
    """Run clients and faults for `seconds` after a warm-up, then wait for the recovery."""
    rng, stats = random.Random(seed), ClientStats()
    bots = len(env.sandbox.accounts)
    since = await env.sandbox.last_event()
    async with _running_clients(env, stats, rate, rng):
        rss_begin = 0
        begun = time.monotonic()
        while time.monotonic() - begun < warm_up_s + seconds:
            if not rss_begin and time.monotonic() - begun > warm_up_s:
                rss_begin = env.service.rss
            name = rng.choice(list(FAULTS))
            stats.faults[name] += 1
            await FAULTS[name](env.sandbox, rng)
            await asyncio.sleep(FAULT_EVERY_S * rng.uniform(0.3, 1.7))
        await env.sandbox.clear_faults()
        with contextlib.suppress(TimeoutError):
            await asyncio.to_thread(env.service.wait_ready, bots, SETTLE_S)
    status = await asyncio.to_thread(env.service.status)
    downtimes_s = sorted(
        downtimes(await env.sandbox.journal("session_ended,gc_welcome", since=since))
    )
    silences = silent_in_a_row(await env.sandbox.journal("match_request", since=since))
    ends = (*env.service.events("child_ended"), *env.service.events("child_crashed"))
    parked = sum(end.get("decision") == "ParkFor" for end in ends)
    return SoakResult(
        stats,
        downtimes_s,
        parked,
        rss_begin,
        env.service.rss,
        status["router"]["ready"],
        [
            f"{bot['bot_id']} is {bot['state']}: {bot['last_error']}"
            for bot in status["fleet"]
            if bot["state"] != "ready"
        ],
        {
            event["account"]
            for event in env.service.events("budget_refused")
            if event["scope"] == "account"
        },
        {account for account, most in silences.items() if most >= MISSED_MATCHES},
    )


def silent_in_a_row(events: Iterable[Mapping[str, Any]]) -> Mapping[str, int]:
    """Return, per account, the largest number of requests in a row that the GC did not answer."""
    now: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for event in events:
        account = event["account"]
        now[account] = now[account] + 1 if event["outcome"].startswith("silent") else 0
        most[account] = max(most[account], now[account])
    return most


def downtimes(events: Iterable[Mapping[str, Any]]) -> list[float]:
    """Return, for every session that ended, the seconds until the account's next GC welcome."""
    ended: dict[str, float] = {}
    away = []
    for event in events:
        if event["kind"] == "session_ended":
            ended.setdefault(event["account"], event["t"])
        elif event["account"] in ended:
            away.append(event["t"] - ended.pop(event["account"]))
    return away


@contextlib.asynccontextmanager
async def _running_clients(
    env: ServiceEnv, stats: ClientStats, rate: float, rng: random.Random
) -> AsyncIterator[None]:
    async def send_requests() -> None:
        async with aiohttp.ClientSession() as client, asyncio.TaskGroup() as requests:
            while True:
                match_id = FIRST_MATCH + 20 * int(rng.paretovariate(0.8))
                requests.create_task(_request(client, env.service.url, match_id, stats))
                await asyncio.sleep(rng.expovariate(rate))

    task = asyncio.create_task(send_requests())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _request(
    client: aiohttp.ClientSession, url: str, match_id: int, stats: ClientStats
) -> None:
    begun = time.monotonic()
    timeout = aiohttp.ClientTimeout(total=DEADLINE_S + SLACK_S)
    try:
        async with client.get(
            f"{url}/match-details?match_id={match_id}", timeout=timeout
        ) as answer:
            status, body = answer.status, await answer.json()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        stats.missing.append(f"match {match_id}: {error!r}")
        return
    stats.latencies.append(time.monotonic() - begun)
    if status != 200:
        word = str(body.get("error"))
        stats.answers[f"{word}: {body.get('message')}" if word == "timeout" else word] += 1
        if body.get("error") not in ERROR_WORDS:
            stats.wrong.append(f"match {match_id}: {status} {body}")
        return
    stats.answers["data"] += 1
    if body["id"] != match_id or body["match"]["match_id"] != str(match_id):
        stats.wrong.append(f"match {match_id}: the answer is about {body['match']['match_id']}")


def report(result: SoakResult, bots: int) -> bool:
    """Print the result; return whether it is within the limits."""
    stats = result.stats
    for head, counts in (("faults", stats.faults), ("answers", stats.answers)):
        rows = [[name, str(count)] for name, count in sorted(counts.items())]
        print_table([head, "number"], rows)
        print()
    for name, values in (
        ("answered after", sorted(stats.latencies)),
        ("downtime", result.downtimes_s),
    ):
        figures = (
            ", ".join(f"p{p} {percentile(values, p):.2f} s" for p in (50, 99)) if values else "-"
        )
        print(f"{name}: {figures} ({len(values)})")
    print(f"memory: {result.rss_begin / 1e6:.0f} MB, then {result.rss_end / 1e6:.0f} MB", end=" ")
    print(f"({result.growth:+.1%}, goal: less than {GROWTH:.0%})")
    print(f"wrong answers: {len(stats.wrong)}, missing answers: {len(stats.missing)}")
    print(f"parked for failing too often: {result.parked} times")
    print(f"ready at the end: {result.ready} of {bots}")
    for line in result.absent:
        print(f"  {line}")
    correct = result.cooling & result.silenced
    print(f"accounts treated as spent: {len(result.cooling)}, {len(correct)} of them correctly")
    for line in (stats.wrong + stats.missing)[:20]:
        print(f"  {line}")
    are_answers_good = not stats.wrong and not stats.missing
    is_fleet_back = result.ready + len(correct) >= bots
    return are_answers_good and is_fleet_back and result.growth < GROWTH


def main() -> None:
    """Run and report; exit code 1 if an answer was wrong or missing, a bot away, or memory grew."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bots", type=int, default=100)
    parser.add_argument("--rate", type=float, default=20.0, help="requests per second")
    options = parser.parse_args()
    print_machine()
    with soak_env(options.bots, options.seed) as env:
        env.service.wait_ready(options.bots)
        result = asyncio.run(
            soak(
                env,
                seconds=options.minutes * 60,
                rate=options.rate,
                seed=options.seed,
                warm_up_s=WARM_UP_S,
            )
        )
    sys.exit(0 if report(result, options.bots) else 1)


def soak_env(bots: int, seed: int) -> contextlib.AbstractContextManager[ServiceEnv]:
    """Run a service with its environment for a soak test."""
    return service_env(
        bots,
        sandbox_options=("--gc-delay", str(GC_DELAY_MS), "--seed", str(seed)),
        settings={"cache": {"memory_entries": CACHED_MATCHES}},
    )


if __name__ == "__main__":
    main()
