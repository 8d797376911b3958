"""Checks that all descriptions of the fleet agree. Pure functions: samples in, result out.

A sample is what `bench/chaos/sampler.py` read within one second:

    {"t": UTC seconds,
     "steam": {source: [account with a GC session, ...]} or None,
     "redis": {"accounts": [account, ...], "holders": {account: holder},
               "leases": {account: seconds left}, "used": {account: n}, "ip_used": {source: n}} or None,
     "members": {name: {"readyz": {"code", "body"}, "status": {...}, "page": {...}}}}

None stands for a missing answer. `status` and `page` have `bots` ({bot id: [state, account]}) and
`alerts` (kinds, most urgent first; None if unknown); `status` has `instance`, `page` the `level` of its
alert.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bench.chaos.checker import CheckResult

Sample = Mapping[str, Any]
Key = tuple[str, str, str]  # member, pair, difference

LONGEST_S: Final = 2.0  # longest accepted difference
QUIET_S: Final = 10.0  # after a fault; afterwards no request that a bot could serve may be refused
# Time from the start of a fault or process until its cause is the first alert: three seconds for Redis's
# timeout, the pause before the command, and one interval each of service and sampler.
NAMED_S: Final = 6.0
SAMPLE_S: Final = 1.0  # duration of a sample: faults begin and end during it
TAIL_S: Final = 10.0  # after a fault, when its cause may still be shown
# Faults that must not affect requests, however long they last; only their start counts.
TOLERABLE: Final = frozenset({"log_unwritable"})
# Time to notice a dead link to Steam (three heartbeats) and to log on again.
STEAM_S: Final = 6.0

JOURNAL_STATUS: Final = "journal and /status"
REDIS_STATUS: Final = "Redis and /status"
READYZ_STATUS: Final = "/readyz and /status"
PAGE_STATUS: Final = "page and /status"
ALERTS: Final = "alerts of page and /status"
SERVICEABLE_READYZ: Final = "serviceable bots and /readyz"
SERVICEABLE_PAGE: Final = "serviceable bots and page"
ANSWERS: Final = "answers at all"
ROTATION: Final = "ready without a bot"  # requests wait for a bot that takes its next account

_STEAM: Final = frozenset({JOURNAL_STATUS, SERVICEABLE_READYZ, SERVICEABLE_PAGE})
_REDIS: Final = frozenset({REDIS_STATUS, SERVICEABLE_READYZ, SERVICEABLE_PAGE})
_ALL: Final = _STEAM | _REDIS | {READYZ_STATUS, PAGE_STATUS, ALERTS, ANSWERS, ROTATION}
# Pairs with another limit: the service refuses requests after ten seconds of rotation.
_LONGEST: Final[Mapping[str, float]] = {ROTATION: 10.0 + LONGEST_S}

# Pairs that a service cannot know during a fault, and the seconds after it that this lasts.
_EXCUSED: Final[Mapping[str, tuple[frozenset[str], float]]] = {
    **dict.fromkeys(("steam_half_open", "steam_slow", "cut_off"), (_STEAM, STEAM_S)),
    **dict.fromkeys(("steam_cut", "steam_refused", "steam_drops_some"), (_STEAM, LONGEST_S)),
}
_EXCUSED_REDIS: Final = frozenset(
    {"redis_cut", "redis_refused", "redis_hole", "redis_gone_past_lease", "redis_slow", "cut_off"}
    | {"valkey_restart", "valkey_kill", "old_snapshot", "flush_all", "lost_leases"}
    | {"readonly_failover", "redis_clock_step"}
)
DOWN: Final = "down"  # the harness stopped, killed or blocked the process
# Causes in Redis's data, without an injected fault.
ADDRESS_SPENT: Final = "address spent"
ACCOUNTS_SPENT: Final = "all accounts spent"

# Causes that affect many bots, and the faults that justify them.
CAUSES: Final[Mapping[str, frozenset[str]]] = {
    "redis-unreachable": frozenset(
        {"redis_cut", "redis_refused", "redis_hole", "redis_gone_past_lease", "redis_slow"}
        | {"cut_off", "valkey_restart", "valkey_kill", "old_snapshot", "readonly_failover"}
    ),
    "steam-unreachable": frozenset(
        {"steam_cut", "steam_refused", "steam_half_open", "steam_slow", "cut_off"}
        | {"steam_drops_some", "pause", "pause_past_lease", "loop_blocked"}
    ),
    "gc-unavailable": frozenset({"gc_away", "steam_slow", "steam_half_open"}),
    "logons-limited": frozenset(),
    "same-refusal": frozenset(),
    "address-spent": frozenset({ADDRESS_SPENT}),
    "budgets-spent": frozenset({ACCOUNTS_SPENT}),
}
# Faults that stop every bot of a service, so their cause must be the first alert.
MUST_BE_NAMED: Final = frozenset(
    {"redis_refused", "redis_hole", "redis_gone_past_lease", "cut_off", "gc_away", ADDRESS_SPENT}
)


@dataclass(frozen=True, slots=True)
class FaultPeriod:
    """Period of a fault, or of a process that was `DOWN`. UTC seconds.

    `member`: the affected member; None: all.
    """

    kind: str
    member: str | None
    began: float
    ended: float

    def covers(self, member: str, instant: float, tail_s: float = 0.0) -> bool:
        """Return whether it affects `member` at `instant`, up to `tail_s` seconds after its end."""
        return self.member in {None, member} and self.began <= instant <= self.ended + tail_s

    def may_refuse(self, member: str, instant: float) -> bool:
        """Return whether it justifies refusing a request that a bot could serve."""
        if self.kind in TOLERABLE and instant > self.began + QUIET_S:
            return False
        return self.covers(member, instant, QUIET_S)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused request, as a client saw it. UTC seconds."""

    member: str
    word: str
    asked: float
    answered: float


@dataclass(frozen=True, slots=True)
class SampledRound:
    """Input of the checks. `sources`: egress address by member; `renewal_s`: of leases."""

    samples: Sequence[Sample]
    fault_periods: Sequence[FaultPeriod]
    sources: Mapping[str, str]
    per_account: int
    per_ip: int
    renewal_s: float

    def serviceable(self, sample: Sample, member: str) -> frozenset[str] | None:
        """Return the accounts with a session at Steam and a budget in Redis; None if unknown."""
        steam, redis, source = sample["steam"], sample["redis"], self.sources[member]
        if steam is None or redis is None:
            return None
        if redis["ip_used"].get(source, 0) >= self.per_ip:
            return frozenset()
        return frozenset(
            account
            for account in steam.get(source, ())
            if redis["used"].get(account, 0) < self.per_account
        )

    def is_excused(self, member: str, pair: str, instant: float) -> bool:
        """Return whether a fault prevents `member` from knowing that pair's state."""
        for one in self.fault_periods:
            pairs, tail_s = _EXCUSED.get(one.kind, (frozenset(), 0.0))
            is_redis = pair in _REDIS and one.kind in _EXCUSED_REDIS
            for applies, seconds in (
                (pair in pairs, tail_s),
                (is_redis, self.renewal_s + LONGEST_S),
                (one.kind == DOWN, LONGEST_S),
            ):
                if applies and one.covers(member, instant, seconds):
                    return True
        return False


@dataclass
class ConsistencyResult:
    """Result of the checks. `longest`: seconds of the longest unexcused difference, by pair."""

    checks: CheckResult = field(default_factory=CheckResult)
    longest: dict[str, float] = field(default_factory=dict)
    causes: Counter[str] = field(default_factory=Counter)
    samples: int = 0

    def add(self, other: ConsistencyResult) -> None:
        """Add the result of another round."""
        self.checks.add(other.checks)
        for pair, seconds in other.longest.items():
            self.longest[pair] = max(seconds, self.longest.get(pair, 0.0))
        self.causes += other.causes
        self.samples += other.samples

    def rows(self) -> list[list[str]]:
        """Return table rows: pair, number of checks, longest difference."""
        rows = [
            [pair, str(self.checks.counts[pair]), f"{self.longest.get(pair, 0.0):.1f}"]
            for pair in sorted(_ALL)
        ]
        return rows + [[f"causes: {name}", str(n), ""] for name, n in sorted(self.causes.items())]


def check_consistency(sampled: SampledRound) -> ConsistencyResult:
    """Check all samples."""
    found = ConsistencyResult(samples=len(sampled.samples))
    _check_differences(sampled, found)
    _check_causes(sampled, found)
    return found


def check_refusals(sampled: SampledRound, refusals: Iterable[Refusal]) -> CheckResult:
    """Check that no request that a bot could serve is refused `QUIET_S` after the last fault.

    Consecutive refusals are one violation.
    """
    checks = CheckResult()
    # (member, error word) -> lists of consecutive refusals
    unjustified: defaultdict[tuple[str, str], list[list[Refusal]]] = defaultdict(list)
    for one in sorted(refusals, key=lambda one: one.answered):
        if any(event.may_refuse(one.member, one.answered) for event in sampled.fault_periods):
            continue
        around = [
            sample
            for sample in sampled.samples
            if one.asked - 2 * LONGEST_S <= sample["t"] <= one.answered + LONGEST_S
        ]
        # Reading a sample takes up to a second: the first sample must be complete before the request.
        is_framed = any(sample["t"] <= one.asked - 1 for sample in around) and any(
            sample["t"] >= one.answered for sample in around
        )
        known = [sampled.serviceable(sample, one.member) or frozenset() for sample in around]
        could = frozenset.intersection(*known) if is_framed else frozenset()
        checks.counts["refusals in quiet times"] += 1
        if could:
            episodes = unjustified[one.member, one.word]
            if not episodes or one.answered - episodes[-1][-1].answered > LONGEST_S:
                episodes.append([])
            episodes[-1].append(one)
    checks.violations += [
        f"{member} refused {len(episode)} requests ({word}) that a bot could serve, "
        f"from {episode[0].answered:.1f} to {episode[-1].answered:.1f}"
        for (member, word), episodes in unjustified.items()
        for episode in episodes
    ]
    return checks


def _check_differences(sampled: SampledRound, found: ConsistencyResult) -> None:
    """Report each difference that lasts longer than `LONGEST_S` once."""
    since: dict[Key, float] = {}
    reported: dict[tuple[Key, float], str] = {}
    for sample in sampled.samples:
        at: float = sample["t"]
        now: set[Key] = set()
        for member, seen in sample["members"].items():
            for pair, items in _pairs(sampled, sample, member, seen):
                if sampled.is_excused(member, pair, at):
                    continue
                found.checks.counts[pair] += 1
                now |= {(member, pair, item) for item in items}
        since = {key: since.get(key, at) for key in now}
        for key, first in since.items():
            member, pair, item = key
            lasted = at - first
            found.longest[pair] = max(lasted, found.longest.get(pair, 0.0))
            if lasted > _LONGEST.get(pair, LONGEST_S):
                text = f"{member}: {pair} differ for {lasted:.1f} s from {first:.1f} on: {item}"
                reported[key, first] = text
    found.checks.violations += reported.values()


def _pairs(
    sampled: SampledRound, sample: Sample, member: str, seen: Mapping[str, Any]
) -> Iterator[tuple[str, Iterable[str]]]:
    """Yield every pair that is comparable in this sample, with its differences."""
    readyz, status, page = seen["readyz"], seen["status"], seen["page"]
    silent = [name for name, said in (("/readyz", readyz), ("/status", status)) if said is None]
    yield ANSWERS, silent
    serviceable = sampled.serviceable(sample, member)
    if readyz is not None and serviceable is not None:
        spent = readyz["body"].get("budget") == "spent"
        says = readyz["code"] == 200 and not spent and readyz["body"].get("ready", 0) > 0
        text = f"{readyz['code']}{' budget spent' if spent else ''}, {sorted(serviceable)}"
        yield SERVICEABLE_READYZ, [] if says == bool(serviceable) else [text]
    if page is not None and serviceable is not None and page["level"] is not None:
        is_wrong = page["level"] == "well" and not serviceable
        yield SERVICEABLE_PAGE, ["all is well, and no bot could serve"] if is_wrong else []
    if status is None:
        return
    ready = {account for state, account in status["bots"].values() if state == "ready"}
    if readyz is not None and readyz["body"].get("budget") != "spent":
        theirs = readyz["body"].get("ready", 0)
        is_same = bool(theirs) == bool(ready) and (readyz["code"] == 200 or not ready)
        yield READYZ_STATUS, [] if is_same else [f"{readyz['code']}, {theirs}, {len(ready)} ready"]
        waits = readyz["code"] == 200 and not theirs and not ready
        yield ROTATION, ["no bot is ready"] if waits else []
    if page is not None:
        both = {*status["bots"], *page["bots"]}
        yield (
            PAGE_STATUS,
            # Includes what the page shows, because the page may be late several times in a row.
            [
                f"{one} {page['bots'].get(one)}"
                for one in both
                if status["bots"].get(one) != page["bots"].get(one)
            ],
        )
        if status["alerts"] is not None and page["alerts"] is not None:
            texts = [f"{status['alerts']}, {page['alerts']}"]
            yield ALERTS, [] if status["alerts"] == page["alerts"] else texts
    if sample["steam"] is not None:
        theirs = set(sample["steam"].get(sampled.sources[member], ()))
        yield JOURNAL_STATUS, ready ^ theirs
    if sample["redis"] is not None:
        yield REDIS_STATUS, _held_differently(sample["redis"], status, ready)


def _held_differently(
    redis: Mapping[str, Any], status: Mapping[str, Any], ready: set[str]
) -> set[str]:
    """Return accounts of ready bots that Redis does not assign to them, and assigned ones without bot."""
    held = {
        account
        for account, holder in redis["holders"].items()
        if holder.startswith(f"{status['instance']}/") and redis["leases"].get(account, 0) > 0
    }
    named = {account for _, account in status["bots"].values()}
    return (ready - held) | (held - named)


def _check_causes(sampled: SampledRound, found: ConsistencyResult) -> None:
    """Check that the first alert names an active fault. Consecutive samples are one violation."""
    fault_periods = [*sampled.fault_periods, *_spent(sampled)]
    untrue: defaultdict[str, list[float]] = defaultdict(list)  # violation -> times
    for sample in sampled.samples:
        for member, seen in sample["members"].items():
            if seen["status"] is None:
                continue
            alerts = seen["status"]["alerts"]
            what, text = _cause(fault_periods, sample["t"], member, alerts)
            if what:
                found.causes[what] += 1
                found.checks.counts["causes"] += alerts is not None
            if text:
                untrue[text].append(sample["t"])
    found.checks.violations += [
        f"{text}, in {len(times)} samples from {times[0]:.1f} to {times[-1]:.1f}"
        for text, times in untrue.items()
    ]


def _spent(sampled: SampledRound) -> Iterator[FaultPeriod]:
    """Yield the periods of spent budgets in Redis; missing answers extend them."""
    on: dict[tuple[str, str], tuple[float, float]] = {}  # (kind, member) -> first and last sample
    for sample in sampled.samples:
        redis, at = sample["redis"], sample["t"]
        if redis is None:
            continue
        used = [redis["used"].get(account, 0) for account in redis["accounts"]]
        all_spent = bool(used) and min(used) >= sampled.per_account
        for member, source in sampled.sources.items():
            is_spent = redis["ip_used"].get(source, 0) >= sampled.per_ip
            for kind, is_on in ((ADDRESS_SPENT, is_spent), (ACCOUNTS_SPENT, all_spent)):
                if is_on:
                    on[kind, member] = on.get((kind, member), (at, at))[0], at
                elif (kind, member) in on:
                    yield FaultPeriod(kind, member, *on.pop((kind, member)))
    yield from (FaultPeriod(kind, member, *times) for (kind, member), times in on.items())


def _cause(
    fault_periods: Sequence[FaultPeriod], instant: float, member: str, alerts: Sequence[str] | None
) -> tuple[str, str]:
    """Return the state of the first alert ("" if no cause is due), and the violation."""
    if alerts is None:
        return "not reported by /status", ""
    first = alerts[0] if alerts else ""
    if first in CAUSES:
        # After a stop, the process only then notices what happened meanwhile.
        stops = [
            one for one in fault_periods if one.kind == DOWN and one.covers(member, instant, TAIL_S)
        ]
        since = min((one.began for one in stops), default=instant)
        tail_s = instant - since + TAIL_S
        near = {
            one.kind
            for one in fault_periods
            if one.member in {None, member}
            and one.began <= instant + SAMPLE_S  # includes faults that begin during the sample
            and instant <= one.ended + tail_s
        }
        if near & CAUSES[first]:
            return "right", ""
        return (
            "wrong",
            f"{member} names {first} while there is {', '.join(sorted(near)) or 'nothing'}",
        )
    # A restarted process first has to detect the fault.
    downs = (one.ended for one in fault_periods if one.kind == DOWN and one.member == member)
    up_since = max((ended for ended in downs if ended <= instant), default=0.0)
    # A fault that ends during the sample may be missing in it.
    on = {
        one.kind: instant - max(one.began, up_since)
        for one in fault_periods
        if one.covers(member, instant) and one.covers(member, instant + SAMPLE_S)
    }
    missing = [kind for kind in MUST_BE_NAMED if on.get(kind, 0.0) > NAMED_S]
    is_down = any(one.kind == DOWN and one.covers(member, instant) for one in fault_periods)
    if missing and not is_down:
        return "missing", f"{member} does not name {', '.join(sorted(missing))}"
    return "", ""
