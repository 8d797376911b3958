"""Steam or the GC is away for some minutes: how soon after its return every bot is ready, at what cost.

    python -m bench.outage [--bots 100] [--minutes 10] [--kind refused] [--per-minute 600] [--burst 20]

Kinds of outage: `refused` (no CM listens), `silent` (CMs accept connections and never answer),
`unavailable` (log-ons are answered with result 20), `directory` (as `refused`, and the directory answers
500), `not-found` (the first log-on of as many accounts as there are bots is answered with result 18; this
one has no length) and `gc` (Steam stays; the Game Coordinator says that it goes down).

Every bot has a token before the outage, and log-ons are paced. The limit is 30 s, and where the pacing
takes more than half of that for all bots, as long as it takes and 30 s. The exit code is 1 when a bot
was ready later than that, was parked, or an account was still cooling down; when the log had more than
four lines a minute meanwhile; and when a GC outage led to a log-on in its first five minutes.
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

from bench.report import print_machine, print_table
from bench.service_process import Sections, toml
from bench.world import ServiceEnv, world

SLACK_S: Final = 30.0
NOT_FOUND_S: Final = 180.0
NOT_FOUND: Final = 18
GIVE_UP_S: Final = 300.0  # after the limit
LINES_PER_MINUTE: Final = 4
GC_PATIENCE_S: Final = 300.0  # without a log-on
GC: Final = "gc"
AWAY: Final[Mapping[str, dict[str, Any]]] = {
    "refused": {"refuse_connect": True},
    "silent": {"accept_and_silence": True},
    "unavailable": {"logon_eresult": 20},
    "directory": {"refuse_connect": True, "directory_status": "500"},
    GC: {"gc_down": "going_down"},
}
LOG_ONS: Final = "token_logon,logon_refused,logon_ignored"


@dataclass(frozen=True)
class Returned:
    """What was seen of one outage.

    Attributes:
        ready_s: seconds from Steam's return until all bots were ready; None when they were not.
        parked: how often a bot was.
        cooling: accounts that still cool down at the end.
        refused: log-ons that Steam saw during the outage.
        first_log_on_s: seconds from the begin of the outage to the first of those; None without one.
        log_ons: log-ons after its return.
        most_in_10_s: the most of those within any 10 s.
        lines: of the log during the outage, by event.
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
    w: ServiceEnv, bots: int, *, kind: str, seconds: float, within_s: float
) -> Returned:
    """Take Steam away from `w` for so long, and wait until all bots are back."""
    since, begun = await w.sandbox.last_event(), time.time()
    before = len(w.service.log.splitlines())
    if kind == "not-found":
        await w.sandbox.faults(logon_eresult={"value": NOT_FOUND, "times": bots})
        seconds = 0.0
    else:
        await w.sandbox.faults(**AWAY[kind])
    if kind != GC:
        await w.sandbox.drop("close")
    await asyncio.sleep(seconds)
    lines = _events(w, before)
    refused = [one["t"] - begun for one in await w.sandbox.journal(LOG_ONS, since=since)]
    if kind != "not-found":
        await w.sandbox.clear_faults()
    returned, since = time.monotonic(), await w.sandbox.last_event()
    ready_s = await asyncio.to_thread(_until_ready, w, bots, returned, within_s + GIVE_UP_S)
    instants = sorted(one["t"] for one in await w.sandbox.journal(LOG_ONS, since=since))
    ends = (*w.service.events("child_ended"), *w.service.events("child_crashed"))
    with redis.Redis.from_url(w.redis_url) as client:
        cooling = int(client.zcard("botapi:cooldowns"))
    return Returned(
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


def _until_ready(w: ServiceEnv, bots: int, since: float, within_s: float) -> float | None:
    """Wait until the bots were away, which a drop takes a moment for, and are all ready."""
    was_away = False
    while (passed := time.monotonic() - since) < within_s:
        ready = w.service.status()["router"]["ready"]
        was_away = was_away or ready < bots
        if was_away and ready >= bots:
            return passed
        time.sleep(0.1)
    return None


def _events(w: ServiceEnv, before: int) -> Counter[str]:
    lines = w.service.log.splitlines()[before:]
    return Counter(str(json.loads(line)["event"]) for line in lines if line.startswith("{"))


def limit_s(kind: str, bots: int, per_minute: float) -> float:
    """Return within how many seconds of Steam's return all bots are to be ready."""
    if kind == "not-found":
        return NOT_FOUND_S
    pacing_s = bots * 60 / per_minute if per_minute else 0.0
    return SLACK_S if pacing_s <= SLACK_S / 2 else pacing_s + SLACK_S


def report(seen: Returned, *, kind: str, within_s: float, minutes: float) -> bool:
    """Print what was seen; return whether it is good."""
    first_s, per_minute = seen.first_log_on_s, seen.lines.total() / max(minutes, 1 / 60)
    rows = [
        ["all ready after s", "never" if seen.ready_s is None else f"{seen.ready_s:.1f}"],
        ["limit s", f"{within_s:.0f}"],
        ["bots parked", str(seen.parked)],
        ["accounts cooling down", str(seen.cooling)],
        ["log-ons during the outage", str(seen.refused)],
        ["the first of them after s", "none" if first_s is None else f"{first_s:.0f}"],
        ["log-ons after it", str(seen.log_ons)],
        ["most of them in 10 s", str(seen.most_in_10_s)],
        ["log lines per minute", f"{per_minute:.1f}"],
    ]
    print_table(["what", "figure"], rows)
    print_table(["log event", "lines"], [[k, str(n)] for k, n in seen.lines.most_common(8)])
    is_late = seen.ready_s is None or seen.ready_s > within_s
    is_loud = minutes >= 1 and per_minute > LINES_PER_MINUTE
    is_hasty = kind == GC and first_s is not None and first_s < GC_PATIENCE_S
    return not (is_late or is_loud or is_hasty or seen.parked or seen.cooling)


def main() -> None:
    """Run one outage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--bots", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--kind", choices=[*AWAY, "not-found"], default="refused")
    parser.add_argument("--per-minute", type=float, default=600.0, help="0: no pacing")
    parser.add_argument("--burst", type=int, default=20)
    options = parser.parse_args()
    print_machine()
    pacing: Sections = {"logon": {"per_minute": options.per_minute, "burst": options.burst}}
    within_s = limit_s(options.kind, options.bots, options.per_minute)
    with world(options.bots) as w:
        w.service.wait_ready(options.bots, within=120)  # every account has a token now
        w.service.stop()
        with w.service.config_file.open("a") as config:
            config.write(toml(pacing))
        w.service.start()
        w.service.wait_ready(options.bots, within=within_s + 120)
        time.sleep(65.0)  # restart.stable_after, and the bucket is full again
        seen = asyncio.run(
            outage(
                w,
                options.bots,
                kind=options.kind,
                seconds=options.minutes * 60,
                within_s=within_s,
            )
        )
    is_good = report(seen, kind=options.kind, within_s=within_s, minutes=options.minutes)
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
