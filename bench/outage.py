"""Measures the recovery of the fleet after an outage of Steam or of the GC.

    python -m bench.outage [--bots 100] [--minutes 10] [--kind refused] [--per-minute 600] [--burst 20]

Kinds of outage: `refused` (no CM listens), `silent` (CMs accept connections and never answer),
`unavailable` (log-ons get result 20), `directory` (as `refused`, and the directory answers 500),
`not-found` (the first log-ons, one per bot, get result 18; has no duration) and `gc` (the Game
Coordinator reports that it goes down).

Every bot has a token before the outage, and log-ons are paced. The limit is 30 s after the outage; if
pacing needs more than half of that, the time that pacing needs plus 30 s. The exit code is 1 if a bot was
ready later or was parked, if an account is still cooling down, if the log had more than four lines a
minute, or if a GC outage caused a log-on in its first five minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import redis

from bench.env import ServiceEnv, service_env
from bench.report import print_machine, print_table
from bench.service_process import Sections, toml

SLACK_S: Final = 30.0
NOT_FOUND_S: Final = 180.0
NOT_FOUND: Final = 18
GIVE_UP_S: Final = 300.0  # after the limit
LINES_PER_MINUTE: Final = 4
GC_PATIENCE_S: Final = 300.0  # without a log-on
GC: Final = "gc"
FAULTS: Final[Mapping[str, dict[str, Any]]] = {
    "refused": {"refuse_connect": True},
    "silent": {"accept_and_silence": True},
    "unavailable": {"logon_eresult": 20},
    "directory": {"refuse_connect": True, "directory_status": "500"},
    GC: {"gc_down": "going_down"},
}
LOG_ONS: Final = "token_logon,logon_refused,logon_ignored"


@dataclass(frozen=True)
class OutageResult:
    """Result of one outage.

    Attributes:
        ready_s: seconds from the end of the outage until all bots were ready; None: never.
        parked: number of times that a bot was parked.
        cooling: accounts that are still cooling down at the end.
        refused: log-ons during the outage.
        first_log_on_s: seconds from the start of the outage to the first log-on; None: no log-on.
        log_ons: log-ons after the outage.
        most_in_10_s: the largest number of log-ons after the outage within 10 s.
        lines: log lines during the outage, by event.
    """

    ready_s: float | None
    parked: int
    cooling: int
    refused: int
    first_log_on_s: float | None
    log_ons: int
    most_in_10_s: int
    lines: Counter[str]


async def outage(
    env: ServiceEnv, bots: int, *, kind: str, seconds: float, within_s: float
) -> OutageResult:
    """Run an outage of `seconds` and wait until all bots are ready again."""
    since, begun = await env.sandbox.last_event(), time.time()
    before = len(env.service.log.splitlines())
    if kind == "not-found":
        await env.sandbox.faults(logon_eresult={"value": NOT_FOUND, "times": bots})
        seconds = 0.0
    else:
        await env.sandbox.faults(**FAULTS[kind])
    if kind != GC:
        await env.sandbox.drop("close")
    await asyncio.sleep(seconds)
    lines = _events(env, before)
    refused = [one["t"] - begun for one in await env.sandbox.journal(LOG_ONS, since=since)]
    if kind != "not-found":
        await env.sandbox.clear_faults()
    returned, since = time.monotonic(), await env.sandbox.last_event()
    ready_s = await asyncio.to_thread(_until_ready, env, bots, returned, within_s + GIVE_UP_S)
    instants = sorted(one["t"] for one in await env.sandbox.journal(LOG_ONS, since=since))
    ends = (*env.service.events("child_ended"), *env.service.events("child_crashed"))
    with redis.Redis.from_url(env.redis_url) as client:
        cooling = int(client.zcard("botapi:cooldowns"))
    return OutageResult(
        ready_s,
        sum(end.get("decision") == "ParkFor" for end in ends),
        cooling,
        len(refused),
        min(refused, default=None),
        len(instants),
        max(
            (bisect_left(instants, at + 10) - number for number, at in enumerate(instants)),
            default=0,
        ),
        lines,
    )


def _until_ready(env: ServiceEnv, bots: int, since: float, within_s: float) -> float | None:
    """Wait until the bots were away and are all ready; return the seconds since `since`."""
    was_away = False
    while (passed := time.monotonic() - since) < within_s:
        ready = env.service.status()["router"]["ready"]
        was_away = was_away or ready < bots
        if was_away and ready >= bots:
            return passed
        time.sleep(0.1)
    return None


def _events(env: ServiceEnv, before: int) -> Counter[str]:
    lines = env.service.log.splitlines()[before:]
    return Counter(str(json.loads(line)["event"]) for line in lines if line.startswith("{"))


def limit_s(kind: str, bots: int, per_minute: float) -> float:
    """Return the seconds after the outage within which all bots must be ready."""
    if kind == "not-found":
        return NOT_FOUND_S
    pacing_s = bots * 60 / per_minute if per_minute else 0.0
    return SLACK_S if pacing_s <= SLACK_S / 2 else pacing_s + SLACK_S


def report(result: OutageResult, *, kind: str, within_s: float, minutes: float) -> bool:
    """Print the result; return whether it is within the limits."""
    first_s, per_minute = result.first_log_on_s, result.lines.total() / max(minutes, 1 / 60)
    rows = [
        ["all ready after s", "never" if result.ready_s is None else f"{result.ready_s:.1f}"],
        ["limit s", f"{within_s:.0f}"],
        ["bots parked", str(result.parked)],
        ["accounts cooling down", str(result.cooling)],
        ["log-ons during the outage", str(result.refused)],
        ["the first of them after s", "none" if first_s is None else f"{first_s:.0f}"],
        ["log-ons after it", str(result.log_ons)],
        ["most of them in 10 s", str(result.most_in_10_s)],
        ["log lines per minute", f"{per_minute:.1f}"],
    ]
    print_table(["what", "figure"], rows)
    print_table(["log event", "lines"], [[k, str(n)] for k, n in result.lines.most_common(8)])
    is_late = result.ready_s is None or result.ready_s > within_s
    is_loud = minutes >= 1 and per_minute > LINES_PER_MINUTE
    is_hasty = kind == GC and first_s is not None and first_s < GC_PATIENCE_S
    return not (is_late or is_loud or is_hasty or result.parked or result.cooling)


def main() -> None:
    """Run one outage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--bots", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--kind", choices=[*FAULTS, "not-found"], default="refused")
    parser.add_argument("--per-minute", type=float, default=600.0, help="0: no pacing")
    parser.add_argument("--burst", type=int, default=20)
    options = parser.parse_args()
    print_machine()
    pacing: Sections = {"logon": {"per_minute": options.per_minute, "burst": options.burst}}
    within_s = limit_s(options.kind, options.bots, options.per_minute)
    with service_env(options.bots) as env:
        env.service.wait_ready(options.bots, within=120)  # every account has a token now
        env.service.stop()
        with env.service.config_file.open("a") as config:
            config.write(toml(pacing))
        env.service.start()
        env.service.wait_ready(options.bots, within=within_s + 120)
        time.sleep(65.0)  # restart.stable_after passes, and the bucket fills up
        result = asyncio.run(
            outage(
                env,
                options.bots,
                kind=options.kind,
                seconds=options.minutes * 60,
                within_s=within_s,
            )
        )
    is_good = report(result, kind=options.kind, within_s=within_s, minutes=options.minutes)
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
