"""Whether all that describes the fleet says the same. Pure: the witness's samples in, verdict out.

A sample is what `bench/chaos/witness.py` saw within one second:

    {"t": UTC seconds,
     "steam": {source: [account with a GC session, ...]} or None,
     "redis": {"accounts": [account, ...], "holders": {account: holder},
               "leases": {account: seconds left}, "used": {account: n}, "ip_used": {source: n}} or None,
     "members": {name: {"readyz": {"code", "body"}, "status": {...}, "page": {...}}}}

with None in place of what did not answer. `status` and `page` have `bots` ({bot id: [state, account]})
and `alerts` (kinds, the most urgent first; None where they are not told); `status` has `instance`, `page`
the `level` of its headline.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bench.chaos.judge import Verdict

Sample = Mapping[str, Any]
Key = tuple[str, str, str]  # member, pair, what differs

LONGEST_S: Final = 2.0  # that two of them may differ
QUIET_S: Final = 10.0  # after an event; from then on what a bot could serve is served
# From the beginning of a fault, or the start of the process, to its name on top of the page: three
# seconds for an answer of Redis, a pause before the command, a look of the service and of the witness.
NAMED_S: Final = 6.0
SAMPLE_S: Final = 1.0  # that a sample may take: faults begin and end meanwhile
TAIL_S: Final = 10.0  # after a fault, in which its name may still be there
# Faults that no request has to notice, however long they last: the event is their begin.
TOLERABLE: Final = frozenset({"log_unwritable"})
# What a service cannot know of Steam after its link was cut off: three heartbeats, and to log on again.
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
# What may last longer than `LONGEST_S`: the service refuses requests when a rotation takes ten seconds.
_LONGEST: Final[Mapping[str, float]] = {ROTATION: 10.0 + LONGEST_S}

# While a fault is on, a service cannot know the truth about these; seconds that this lasts after its end.
_BLIND: Final[Mapping[str, tuple[frozenset[str], float]]] = {
    **dict.fromkeys(("steam_half_open", "steam_slow", "cut_off"), (_STEAM, STEAM_S)),
    **dict.fromkeys(("steam_cut", "steam_refused", "steam_drops_some"), (_STEAM, LONGEST_S)),
}
_BLIND_REDIS: Final = frozenset(
    {"redis_cut", "redis_refused", "redis_hole", "redis_gone_past_lease", "redis_slow", "cut_off"}
    | {"valkey_restart", "valkey_kill", "old_snapshot", "flush_all", "lost_leases"}
    | {"readonly_failover", "redis_clock_step"}
)
DOWN: Final = "down"  # the harness stopped, killed or blocked the process
# What Redis says by itself, without a fault of the harness.
ADDRESS_SPENT: Final = "address spent"
ACCOUNTS_SPENT: Final = "all accounts spent"

# Causes that many bots share, and the faults that they are the truth about.
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
# What stops every bot of a service, so that a cause has to be on top.
MUST_BE_NAMED: Final = frozenset(
    {"redis_refused", "redis_hole", "redis_gone_past_lease", "cut_off", "gc_away", ADDRESS_SPENT}
)


@dataclass(frozen=True, slots=True)
class Happened:
    """One fault that was on, or a time in which a process was `DOWN`. UTC seconds.

    `member`: its name; None where it struck all.
    """

    kind: str
    member: str | None
    began: float
    ended: float

    def covers(self, member: str, instant: float, tail_s: float = 0.0) -> bool:
        """Whether it was on for `member`, or had ended less than `tail_s` ago."""
        return self.member in {None, member} and self.began <= instant <= self.ended + tail_s

    def may_refuse(self, member: str, instant: float) -> bool:
        """Whether a request that a bot could serve may be refused because of it."""
        if self.kind in TOLERABLE and instant > self.began + QUIET_S:
            return False
        return self.covers(member, instant, QUIET_S)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer without a match, as a client saw it. UTC seconds."""

    member: str
    word: str
    asked: float
    answered: float


@dataclass(frozen=True, slots=True)
class Witnessed:
    """Everything that is compared. `sources`: egress address by member; `renewal_s`: of leases."""

    samples: Sequence[Sample]
    happened: Sequence[Happened]
    sources: Mapping[str, str]
    per_account: int
    per_ip: int
    renewal_s: float

    def serviceable(self, sample: Sample, member: str) -> frozenset[str] | None:
        """Return accounts that could serve: Steam has their session, Redis their budget."""
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

    def is_blind(self, member: str, pair: str, instant: float) -> bool:
        """Whether `member` could not know the truth about that pair, because of what was on."""
        for one in self.happened:
            pairs, tail_s = _BLIND.get(one.kind, (frozenset(), 0.0))
            if pair in pairs and one.covers(member, instant, tail_s):
                return True
            if (
                one.kind in _BLIND_REDIS
                and pair in _REDIS
                and one.covers(member, instant, self.renewal_s + LONGEST_S)
            ):
                return True
            if one.kind == DOWN and one.covers(member, instant, LONGEST_S):
                return True
        return False


@dataclass
class Agreement:
    """What came of it. `longest`: seconds of the longest difference that was not excused, by pair."""

    verdict: Verdict = field(default_factory=Verdict)
    longest: dict[str, float] = field(default_factory=dict)
    causes: Counter[str] = field(default_factory=Counter)
    samples: int = 0

    def add(self, other: Agreement) -> None:
        """Take in another round."""
        self.verdict.checks += other.verdict.checks
        self.verdict.violations += other.verdict.violations
        for pair, seconds in other.longest.items():
            self.longest[pair] = max(seconds, self.longest.get(pair, 0.0))
        self.causes += other.causes
        self.samples += other.samples

    def rows(self) -> list[list[str]]:
        """Return the table: what was compared, how often, the longest difference."""
        rows = [
            [pair, str(self.verdict.checks[pair]), f"{self.longest.get(pair, 0.0):.1f}"]
            for pair in sorted(_ALL)
        ]
        return [
            *rows,
            *([f"causes: {name}", str(n), ""] for name, n in sorted(self.causes.items())),
        ]


def compare(witnessed: Witnessed) -> Agreement:
    """Judge all samples."""
    found = Agreement(samples=len(witnessed.samples))
    _differences(witnessed, found)
    _causes(witnessed, found)
    return found


def refused_in_vain(witnessed: Witnessed, refusals: Iterable[Refusal]) -> Verdict:
    """No request that a bot could serve is refused `QUIET_S` after the last event.

    Those that follow each other are one violation.
    """
    verdict = Verdict()
    in_vain: defaultdict[tuple[str, str], list[list[Refusal]]] = defaultdict(
        list
    )  # one after another
    for one in sorted(refusals, key=lambda one: one.answered):
        if any(event.may_refuse(one.member, one.answered) for event in witnessed.happened):
            continue
        around = [
            sample
            for sample in witnessed.samples
            if one.asked - 2 * LONGEST_S <= sample["t"] <= one.answered + LONGEST_S
        ]
        # A sample is taken within a second from its time on: the first has to be over before the request.
        is_framed = any(sample["t"] <= one.asked - 1 for sample in around) and any(
            sample["t"] >= one.answered for sample in around
        )
        known = [witnessed.serviceable(sample, one.member) or frozenset() for sample in around]
        could = frozenset.intersection(*known) if is_framed else frozenset()
        verdict.checks["refusals in quiet times"] += 1
        if could:
            episodes = in_vain[one.member, one.word]
            if not episodes or one.answered - episodes[-1][-1].answered > LONGEST_S:
                episodes.append([])
            episodes[-1].append(one)
    verdict.violations += [
        f"{member} refused {len(episode)} requests ({word}) that a bot could serve, "
        f"from {episode[0].answered:.1f} to {episode[-1].answered:.1f}"
        for (member, word), episodes in in_vain.items()
        for episode in episodes
    ]
    return verdict


def _differences(witnessed: Witnessed, found: Agreement) -> None:
    """Note what differs for longer than `LONGEST_S`, each once."""
    since: dict[Key, float] = {}
    told: dict[tuple[Key, float], str] = {}
    for sample in witnessed.samples:
        at: float = sample["t"]
        now: set[Key] = set()
        for member, seen in sample["members"].items():
            for pair, items in _pairs(witnessed, sample, member, seen):
                if witnessed.is_blind(member, pair, at):
                    continue
                found.verdict.checks[pair] += 1
                now |= {(member, pair, item) for item in items}
        since = {key: since.get(key, at) for key in now}
        for key, first in since.items():
            member, pair, item = key
            lasted = at - first
            found.longest[pair] = max(lasted, found.longest.get(pair, 0.0))
            if lasted > _LONGEST.get(pair, LONGEST_S):
                text = f"{member}: {pair} differ for {lasted:.1f} s from {first:.1f} on: {item}"
                told[key, first] = text
    found.verdict.violations += told.values()


def _pairs(
    witnessed: Witnessed, sample: Sample, member: str, seen: Mapping[str, Any]
) -> Iterator[tuple[str, Iterable[str]]]:
    """Yield every pair that can be compared now, with what differs."""
    readyz, status, page = seen["readyz"], seen["status"], seen["page"]
    silent = [name for name, said in (("/readyz", readyz), ("/status", status)) if said is None]
    yield ANSWERS, silent
    serviceable = witnessed.serviceable(sample, member)
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
            # With what the page shows: it may be late several times in a row.
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
        theirs = set(sample["steam"].get(witnessed.sources[member], ()))
        yield JOURNAL_STATUS, ready ^ theirs
    if sample["redis"] is not None:
        yield REDIS_STATUS, _not_held_alike(sample["redis"], status, ready)


def _not_held_alike(
    redis: Mapping[str, Any], status: Mapping[str, Any], ready: set[str]
) -> set[str]:
    """Return accounts of ready bots that Redis does not give to them, and those that no bot knows of."""
    held = {
        account
        for account, holder in redis["holders"].items()
        if holder.startswith(f"{status['instance']}/") and redis["leases"].get(account, 0) > 0
    }
    named = {account for _, account in status["bots"].values()}
    return (ready - held) | (held - named)


def _causes(witnessed: Witnessed, found: Agreement) -> None:
    """Judge whether the first alert names a fault that is on. What lasts is one violation."""
    happened = [*witnessed.happened, *_spent(witnessed)]
    untrue: defaultdict[str, list[float]] = defaultdict(list)  # what is wrong: when
    for sample in witnessed.samples:
        for member, seen in sample["members"].items():
            if seen["status"] is None:
                continue
            alerts = seen["status"]["alerts"]
            what, text = _cause(happened, sample["t"], member, alerts)
            if what:
                found.causes[what] += 1
                found.verdict.checks["causes"] += alerts is not None
            if text:
                untrue[text].append(sample["t"])
    found.verdict.violations += [
        f"{text}, in {len(times)} samples from {times[0]:.1f} to {times[-1]:.1f}"
        for text, times in untrue.items()
    ]


def _spent(witnessed: Witnessed) -> Iterator[Happened]:
    """Yield the times in which budgets were spent, by Redis; where it does not answer they go on."""
    on: dict[tuple[str, str], tuple[float, float]] = {}  # kind, member: first and last sample
    for sample in witnessed.samples:
        redis, at = sample["redis"], sample["t"]
        if redis is None:
            continue
        used = [redis["used"].get(account, 0) for account in redis["accounts"]]
        all_spent = bool(used) and min(used) >= witnessed.per_account
        for member, source in witnessed.sources.items():
            is_spent = redis["ip_used"].get(source, 0) >= witnessed.per_ip
            for kind, is_on in ((ADDRESS_SPENT, is_spent), (ACCOUNTS_SPENT, all_spent)):
                if is_on:
                    on[kind, member] = on.get((kind, member), (at, at))[0], at
                elif (kind, member) in on:
                    yield Happened(kind, member, *on.pop((kind, member)))
    yield from (Happened(kind, member, *times) for (kind, member), times in on.items())


def _cause(
    happened: Sequence[Happened], instant: float, member: str, alerts: Sequence[str] | None
) -> tuple[str, str]:
    """Return how the cause on top is ("" where none is due), and what is wrong with it."""
    if alerts is None:
        return "not told by /status", ""
    first = alerts[0] if alerts else ""
    if first in CAUSES:
        # What happens while the process is down is news to it afterwards.
        stops = [
            one for one in happened if one.kind == DOWN and one.covers(member, instant, TAIL_S)
        ]
        since = min((one.began for one in stops), default=instant)
        tail_s = instant - since + TAIL_S
        near = {
            one.kind
            for one in happened
            if one.member in {None, member}
            and one.began <= instant + SAMPLE_S  # it may begin, or begin and end, within the sample
            and instant <= one.ended + tail_s
        }
        if near & CAUSES[first]:
            return "right", ""
        return (
            "wrong",
            f"{member} names {first} while there is {', '.join(sorted(near)) or 'nothing'}",
        )
    # A process that has just started has to find out first.
    downs = (one.ended for one in happened if one.kind == DOWN and one.member == member)
    up_since = max((ended for ended in downs if ended <= instant), default=0.0)
    # A fault that ends while the sample is taken may no longer be in it.
    on = {
        one.kind: instant - max(one.began, up_since)
        for one in happened
        if one.covers(member, instant) and one.covers(member, instant + SAMPLE_S)
    }
    missing = [kind for kind in MUST_BE_NAMED if on.get(kind, 0.0) > NAMED_S]
    is_down = any(one.kind == DOWN and one.covers(member, instant) for one in happened)
    if missing and not is_down:
        return "missing", f"{member} does not name {', '.join(sorted(missing))}"
    return "", ""
