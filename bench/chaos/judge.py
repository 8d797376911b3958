"""Whether the promises were kept, by what the simulated Steam saw. Pure: events in, verdict out."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

Event = Mapping[str, Any]

# Where Redis has lost acknowledged writes: what a busy machine may add to one renewal.
SLACK_S: Final = 2.0
# A request that was counted before Redis lost its counters may reach Steam this much later, and a token
# that Steam gave may reach Redis.
ON_ITS_WAY_S: Final = 2.0


@dataclass
class Verdict:
    """`checks`: how many of what was looked at; `violations`: sentences."""

    checks: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def check(self, what: str, ok: bool, otherwise: str) -> None:  # noqa: FBT001 - the verdict itself
        """Count one check, and a violation if it failed."""
        self.checks[what] += 1
        if not ok:
            self.violations.append(otherwise)


@dataclass(frozen=True, slots=True)
class Loss:
    """Writes that Redis had acknowledged and has lost: those from `since` to `at`, UTC seconds.

    `since` is minus infinity where Redis has lost everything.
    """

    since: float
    at: float


@dataclass(frozen=True, slots=True)
class Unreachable:
    """A time in which a service could not renew: no Redis, or it stood still. `source`: None for all."""

    source: str | None
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a process: what it had not stored in Redis by then is gone. `at`: UTC seconds."""

    source: str
    at: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is judged: the journal, from `begun` on a journal number, and what Redis holds at the end.

    `losses` and `unreachable` say what may be excused where Redis itself has lost writes, `renewal_s` how
    long: nothing else is excused.
    """

    events: Iterable[Event]
    begun: int
    per_account: int
    per_ip: int
    counted: Mapping[str, int]  # "account:NAME" or "ip:ADDRESS" -> requests
    by_day: Mapping[str, float]
    losses: Sequence[Loss] = ()
    unreachable: Sequence[Unreachable] = ()
    renewal_s: float = 0.0
    ends: Sequence[Ended] = ()

    def allows_overlap(self, begin: float, end: float, older: str) -> bool:
        """Whether two sessions of an account may be there from `begin` to `end`.

        After Redis has lost its leases another service may take an account before its holder has renewed
        for the first time, and both may be there until then (P1). `older`: the holder's address.
        """
        for loss in self.losses:
            if loss.at <= begin:
                reachable = self._reachable_from(loss.at, older)
                limit = reachable + self.renewal_s + SLACK_S
                if begin <= limit and end <= max(begin, reachable) + self.renewal_s + SLACK_S:
                    return True
        return False

    def has_lost_token(self, given: Event | None, at: float) -> bool:
        """Whether the token of the log-on `given` may be gone at `at`, by a loss or an end.

        A process that ends before Redis could take the token has it alone. `given` is None for a token
        that is older than the events.
        """
        since = -math.inf if given is None else given["t"]
        if any(one.since <= since + ON_ITS_WAY_S and since <= one.at <= at for one in self.losses):
            return True
        if given is None:
            return False
        stored_by = self._reachable_from(since, given["source"]) + ON_ITS_WAY_S
        return any(
            one.source == given["source"] and since <= one.at <= min(at, stored_by)
            for one in self.ends
        )

    def _reachable_from(self, instant: float, source: str) -> float:
        """Return when that service could renew first, at or after `instant`."""
        for one in sorted(self.unreachable, key=lambda one: one.since):
            if one.source in {None, source} and one.since <= instant <= one.until:
                instant = one.until
        return instant


def judge(evidence: Evidence) -> Verdict:
    """Judge one round."""
    verdict = Verdict()
    events = list(evidence.events)
    excused = _one_session_at_a_time(verdict, events, evidence)
    _nothing_after_the_end(verdict, events, excused)
    _within_quota(verdict, events, evidence)
    _no_token_lost(verdict, events, evidence)
    for event in events:
        if event["kind"] in {"protocol_violation", "sandbox_error"}:
            verdict.check("messages", ok=False, otherwise=f"{event['kind']}: {dict(event)}")
    return verdict


def _one_session_at_a_time(
    verdict: Verdict, events: list[Event], evidence: Evidence
) -> dict[str, float]:
    """P1: an account has one session at most. Return until when an overlap is excused, by account."""
    living: defaultdict[str, dict[int, Event]] = defaultdict(dict)
    ends = {event["session"]: event["t"] for event in events if event["kind"] == "session_ended"}
    excused: dict[str, float] = {}
    for event in events:
        account = event.get("account", "")
        if event["kind"] == "token_logon":
            others = []
            for one in living[account].values():
                end = min(ends.get(one["session"], math.inf), ends.get(event["session"], math.inf))
                if evidence.allows_overlap(event["t"], end, one["source"]):
                    verdict.checks["overlaps after a loss"] += 1
                    excused[account] = max(end, excused.get(account, 0.0))
                else:
                    others.append(f"{one['source']} since {one['n']}")
            verdict.check(
                "log-ons",
                not others,
                f"{account}: {event['source']} logged on at {event['n']} beside {', '.join(others)}",
            )
            living[account][event["session"]] = event
        elif event["kind"] == "session_ended":
            living[account].pop(event["session"], None)
    return excused


def _nothing_after_the_end(
    verdict: Verdict, events: list[Event], excused: Mapping[str, float]
) -> None:
    """P1: who has lost an account sends nothing more for it."""
    newest: dict[str, int] = {}
    for event in events:
        if event["kind"] == "token_logon":
            newest[event["account"]] = event["session"]
        elif event["kind"] == "match_request":
            account = event["account"]
            verdict.check(
                "match requests",
                newest.get(account) == event["session"] or event["t"] <= excused.get(account, 0.0),
                f"{account}: session {event['session']} asked at {event['n']}, not the newest",
            )


def _within_quota(verdict: Verdict, events: list[Event], evidence: Evidence) -> None:
    """P2: no account or address sends more than allowed, and everything that was sent is counted.

    Requests that were counted in the time that Redis has lost do not have to be counted any more.
    """
    sent: defaultdict[str, list[float]] = defaultdict(list)  # by key: when, if it must be counted
    most: Counter[str] = Counter()
    losses = sorted(evidence.losses, key=lambda loss: loss.at)
    coming = list(losses)
    for event in events:
        while coming and coming[0].at <= event["t"]:
            loss = coming.pop(0)
            for times in sent.values():
                times[:] = [t for t in times if t < loss.since]
        if event["kind"] == "match_request":
            may_be_lost = any(0 <= event["t"] - loss.at <= ON_ITS_WAY_S for loss in losses)
            for key in (f"account:{event['account']}", f"ip:{event['source']}"):
                if not may_be_lost:
                    sent[key].append(event["t"])
                most[key] = max(most[key], len(sent[key]))
    for key, times in sent.items():
        kind, name = key.split(":", 1)
        limit = evidence.per_account if kind == "account" else evidence.per_ip
        left, counted = len(times), evidence.counted.get(key, 0)
        verdict.check("budgets", most[key] <= limit, f"{key} sent {most[key]}, {limit} are allowed")
        verdict.check("budgets", counted >= left, f"{key} sent {left}, {counted} are counted")
        if kind == "account":
            day = evidence.by_day.get(name, 0)
            verdict.check("budgets", day >= left, f"{key} sent {left}, {day} on the day's key")


def _no_token_lost(verdict: Verdict, events: list[Event], evidence: Evidence) -> None:
    """P3: no account needs its password again, except once where Redis has lost its token."""
    given: dict[str, Event] = {}
    for event in events:
        account, at = event.get("account", ""), event["t"]
        if event["kind"] == "token_logon" and event["n"] > evidence.begun:
            verdict.check("tokens", ok=True, otherwise="")
        if event["kind"] != "credential_logon":
            continue
        if event["n"] > evidence.begun:
            is_lost = evidence.has_lost_token(given.get(account), at)
            verdict.check("tokens", is_lost, f"{account} needed its password again at {at:.1f}")
        given[account] = event


def accounts_in_order(facts: Mapping[str, Any], *, all_free: bool) -> Verdict:
    """Judge the accounts in Redis once no fault has happened for the length of a lease.

    `all_free` says that every process has stopped, so that no account may be checked out.
    """
    verdict = Verdict()
    for account, score in facts["scores"].items():
        lease = facts["leases"].get(account)
        verdict.check(
            "accounts",
            score == 0 if all_free else score == 0 or lease is not None,
            f"{account} is lost: score {score:g}, lease {lease}",
        )
    return verdict
