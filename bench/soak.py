"""A hundred bots, steady clients and random faults for a long time: what is answered, and what grows.

    python -m bench.soak [--minutes 30] [--seed 1] [--bots 100] [--rate 20]

Clients ask for few matches often and for many seldom. An answer about another match is wrong, one that
does not come within the deadline is missing: both must be 0. How long bots were away is read from the
simulated Steam's journal: from the end of an account's session to the next welcome of its GC.

At the end every bot is to be ready, but for those without an account: an account that was silent several
times in a row, while others were answered, is taken for spent and rests for an hour, which is longer than
this waits. That it was silent is for the journal to say.

Memory is looked at when the service has settled in, and at the end. It may keep a bounded number of
matches there; here that is `KEPT`, so few that they are there when it is looked at first.
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
from bench.report import percentile, print_machine, print_table
from bench.sandbox_process import SandboxProcess
from bench.world import ServiceEnv, world

FIRST_MATCH: Final = 6_500_000_000
WORDS: Final = frozenset({"notready", "busy", "timeout", "store-unavailable"})
DEADLINE_S: Final = 15.0
SLACK_S: Final = 5.0
FAULT_EVERY_S: Final = 8.0
# Until memory is looked at for the first time: every bot should have come back once or twice by then.
WARM_UP_S: Final = 120.0
GC_DELAY_MS: Final = 50
KEPT: Final = 100  # matches in memory
# Long enough for the last fault, a bot that is parked for failing too often, and the backoff after it.
SETTLE_S: Final = 420.0
GROWTH: Final = 0.05  # of memory, at most


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


async def _one_cm_away(sandbox: SandboxProcess, rng: random.Random) -> None:
    cms = [rng.choice(("ws1", "ws2"))]
    await sandbox.faults(refuse_connect={"value": True, "cms": cms, "for_s": rng.uniform(2, 6)})
    await sandbox.drop("close", cms=cms)


async def _gc_away(sandbox: SandboxProcess, rng: random.Random) -> None:
    state = rng.choice((True, "going_down", "silent"))
    await sandbox.faults(gc_down={"value": state, "for_s": rng.uniform(1, 5)})


async def _some_silent(sandbox: SandboxProcess, rng: random.Random) -> None:
    names = rng.sample([one["name"] for one in sandbox.accounts], 5)
    await sandbox.faults(gc_silent={"value": True, "accounts": names, "for_s": rng.uniform(2, 8)})


async def _strange_answers(sandbox: SandboxProcess, rng: random.Random) -> None:
    seconds = rng.uniform(2, 8)
    await sandbox.faults(
        gc_out_of_order={"value": 5, "for_s": seconds},
        gc_duplicate={"value": True, "for_s": seconds},
        gc_stale_answers={"value": True, "for_s": seconds},
        send_unknown_messages={"value": True, "for_s": seconds},
    )


async def _garbage(sandbox: SandboxProcess, rng: random.Random) -> None:
    flaw = rng.choice(("magic", "gzip", "unzipped_size", "inner_length", "header"))
    await sandbox.call("POST", "/corrupt", {"fraction": 0.1, "flaw": flaw})


FAULTS: Final[Mapping[str, Callable[[SandboxProcess, random.Random], Awaitable[None]]]] = {
    fault.__name__.strip("_"): fault
    for fault in (
        _drop,
        _log_off,
        _no_logon,
        _silent_logon,
        _one_cm_away,
        _gc_away,
        _some_silent,
        _strange_answers,
        _garbage,
    )
}


@dataclass
class Seen:
    """What the clients saw and what was done to them."""

    answers: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Soaked:
    """The outcome of a run."""

    seen: Seen
    away_s: list[float]  # sorted
    parked: int  # how often a bot was
    rss_begin: int
    rss_end: int
    ready: int
    absent: list[str]  # bots that are not, with what each says of itself
    resting: set[str]  # accounts that were taken for spent
    silenced: set[str]  # accounts for which that was right

    @property
    def growth(self) -> float:
        """How much the service's memory grew, as a share."""
        return self.rss_end / self.rss_begin - 1


async def soak(
    w: ServiceEnv, *, seconds: float, rate: float, seed: int, warm_up_s: float
) -> Soaked:
    """Run clients and faults against `w` for so long, then let it rest."""
    rng, seen = random.Random(seed), Seen()
    bots = len(w.sandbox.accounts)
    since = await w.sandbox.last_event()
    async with _asking(w, seen, rate, rng):
        rss_begin = 0
        begun = time.monotonic()
        while time.monotonic() - begun < warm_up_s + seconds:
            if not rss_begin and time.monotonic() - begun > warm_up_s:
                rss_begin = w.service.rss
            name = rng.choice(list(FAULTS))
            seen.faults[name] += 1
            await FAULTS[name](w.sandbox, rng)
            await asyncio.sleep(FAULT_EVERY_S * rng.uniform(0.3, 1.7))
        await w.sandbox.clear_faults()
        with contextlib.suppress(TimeoutError):
            await asyncio.to_thread(w.service.wait_ready, bots, SETTLE_S)
    status = await asyncio.to_thread(w.service.status)
    away = sorted(times_away(await w.sandbox.journal("session_ended,gc_welcome", since=since)))
    silences = silent_in_a_row(await w.sandbox.journal("match_request", since=since))
    ends = (*w.service.events("child_ended"), *w.service.events("child_crashed"))
    parked = sum(end.get("decision") == "ParkFor" for end in ends)
    return Soaked(
        seen,
        away,
        parked,
        rss_begin,
        w.service.rss,
        status["router"]["ready"],
        [
            f"{bot['bot_id']} is {bot['state']}: {bot['last_error']}"
            for bot in status["fleet"]
            if bot["state"] != "ready"
        ],
        {
            event["account"]
            for event in w.service.events("budget_refused")
            if event["scope"] == "account"
        },
        {account for account, most in silences.items() if most >= MISSED_MATCHES},
    )


def silent_in_a_row(events: Iterable[Mapping[str, Any]]) -> Mapping[str, int]:
    """Return how many requests of each account the Game Coordinator ignored one after the other."""
    now: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for event in events:
        account = event["account"]
        now[account] = now[account] + 1 if event["outcome"].startswith("silent") else 0
        most[account] = max(most[account], now[account])
    return most


def times_away(events: Iterable[Mapping[str, Any]]) -> list[float]:
    """Return for every session that ended how long its account was without a Game Coordinator."""
    ended: dict[str, float] = {}
    away = []
    for event in events:
        if event["kind"] == "session_ended":
            ended.setdefault(event["account"], event["t"])
        elif event["account"] in ended:
            away.append(event["t"] - ended.pop(event["account"]))
    return away


@contextlib.asynccontextmanager
async def _asking(
    w: ServiceEnv, seen: Seen, rate: float, rng: random.Random
) -> AsyncIterator[None]:
    async def ask_on() -> None:
        async with aiohttp.ClientSession() as client, asyncio.TaskGroup() as asking:
            while True:
                match_id = FIRST_MATCH + 20 * int(rng.paretovariate(0.8))
                asking.create_task(_ask(client, w.service.url, match_id, seen))
                await asyncio.sleep(rng.expovariate(rate))

    task = asyncio.create_task(ask_on())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _ask(client: aiohttp.ClientSession, url: str, match_id: int, seen: Seen) -> None:
    begun = time.monotonic()
    timeout = aiohttp.ClientTimeout(total=DEADLINE_S + SLACK_S)
    try:
        async with client.get(
            f"{url}/match-details?match_id={match_id}", timeout=timeout
        ) as answer:
            status, body = answer.status, await answer.json()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        seen.missing.append(f"match {match_id}: {error!r}")
        return
    seen.latencies.append(time.monotonic() - begun)
    if status != 200:
        word = str(body.get("error"))
        seen.answers[f"{word}: {body.get('message')}" if word == "timeout" else word] += 1
        if body.get("error") not in WORDS:
            seen.wrong.append(f"match {match_id}: {status} {body}")
        return
    seen.answers["data"] += 1
    if body["id"] != match_id or body["match"]["match_id"] != str(match_id):
        seen.wrong.append(f"match {match_id}: the answer is about {body['match']['match_id']}")


def report(outcome: Soaked, bots: int) -> bool:
    """Print the outcome; return whether it is a good one."""
    seen = outcome.seen
    for head, counts in (("faults", seen.faults), ("answers", seen.answers)):
        rows = [[name, str(count)] for name, count in sorted(counts.items())]
        print_table([head, "number"], rows)
        print()
    for name, values in (("answered after", sorted(seen.latencies)), ("away", outcome.away_s)):
        figures = (
            ", ".join(f"p{p} {percentile(values, p):.2f} s" for p in (50, 99)) if values else "-"
        )
        print(f"{name}: {figures} ({len(values)})")
    print(f"memory: {outcome.rss_begin / 1e6:.0f} MB, then {outcome.rss_end / 1e6:.0f} MB", end=" ")
    print(f"({outcome.growth:+.1%}, goal: less than {GROWTH:.0%})")
    print(f"wrong answers: {len(seen.wrong)}, missing answers: {len(seen.missing)}")
    print(f"parked for failing too often: {outcome.parked} times")
    print(f"ready at the end: {outcome.ready} of {bots}")
    for line in outcome.absent:
        print(f"  {line}")
    rightly = outcome.resting & outcome.silenced
    print(
        f"accounts at rest, taken for spent: {len(outcome.resting)}, {len(rightly)} of them rightly"
    )
    for line in (seen.wrong + seen.missing)[:20]:
        print(f"  {line}")
    are_answers_good = not seen.wrong and not seen.missing
    is_fleet_back = outcome.ready + len(rightly) >= bots
    return are_answers_good and is_fleet_back and outcome.growth < GROWTH


def main() -> None:
    """Run and report; exit code 1 when an answer was wrong or missing, a bot away, or memory grew."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bots", type=int, default=100)
    parser.add_argument("--rate", type=float, default=20.0, help="requests per second")
    options = parser.parse_args()
    print_machine()
    with soak_world(options.bots, options.seed) as w:
        w.service.wait_ready(options.bots)
        outcome = asyncio.run(
            soak(
                w,
                seconds=options.minutes * 60,
                rate=options.rate,
                seed=options.seed,
                warm_up_s=WARM_UP_S,
            )
        )
    sys.exit(0 if report(outcome, options.bots) else 1)


def soak_world(bots: int, seed: int) -> contextlib.AbstractContextManager[ServiceEnv]:
    """Run a service and all around it."""
    return world(
        bots,
        sandbox_options=("--gc-delay", str(GC_DELAY_MS), "--seed", str(seed)),
        settings={"cache": {"memory_entries": KEPT}},
    )


if __name__ == "__main__":
    main()
