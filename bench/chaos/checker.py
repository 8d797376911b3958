"""Checks the service's promises against the simulated Steam's journal and Redis.

Pure functions: observations in, result out.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

Event = Mapping[str, Any]

# What a busy machine may add to one renewal after Redis has lost acknowledged writes.
SLACK_S: Final = 2.0
# Longest time from counting a request in Redis to its arrival at Steam, and from Steam's token to its
# storage in Redis.
IN_FLIGHT_S: Final = 2.0


@dataclass
class CheckResult:
    """Numbers of checks by subject, and violations as sentences."""

    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def check(self, what: str, ok: bool, otherwise: str) -> None:  # noqa: FBT001 - the checked value
        """Count one check; add a violation if it failed."""
        self.counts[what] += 1
        if not ok:
            self.violations.append(otherwise)

    def add(self, other: CheckResult) -> None:
        """Add the checks and violations of another result."""
        self.counts += other.counts
        self.violations += other.violations


@dataclass(frozen=True, slots=True)
class DataLoss:
    """Acknowledged writes that Redis has lost: those from `since` to `at`, UTC seconds.

    `since` is minus infinity if Redis has lost everything.
    """

    since: float
    at: float


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Period in which a service could not renew leases. `source`: its address; None: all services."""

    source: str | None
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class ProcessEnd:
    """End of a process, which loses what it has not stored in Redis. `at`: UTC seconds."""

    source: str
    at: float


@dataclass(frozen=True, slots=True)
class Observations:
    """Input of the checks: the journal, of which events above `since` count, and Redis at the end.

    `losses`, `unreachable`, `renewal_s` and `ends` define the only accepted exceptions.
    """

    events: Iterable[Event]
    since: int
    per_account: int
    per_ip: int
    counted: Mapping[str, int]  # "account:NAME" or "ip:ADDRESS" -> requests
    counted_by_day: Mapping[str, float]
    losses: Sequence[DataLoss] = ()
    unreachable: Sequence[Unreachable] = ()
    renewal_s: float = 0.0
    ends: Sequence[ProcessEnd] = ()

    def allows_overlap(self, begin: float, end: float, older: str) -> bool:
        """Return whether two sessions of an account are acceptable from `begin` to `end`.

        After Redis has lost its leases, another service may take an account until the holder's next
        renewal (P1). `older`: the holder's address.
        """
        for loss in self.losses:
            if loss.at <= begin:
                reachable = self._reachable_from(loss.at, older)
                limit = reachable + self.renewal_s + SLACK_S
                if begin <= limit and end <= max(begin, reachable) + self.renewal_s + SLACK_S:
                    return True
        return False

    def may_have_lost_token(self, given: Event | None, at: float) -> bool:
        """Return whether the token of the log-on `given` may be lost at `at`.

        Redis may have lost it, or its process may have ended before storing it. `given` is None for a
        token older than the events.
        """
        since = -math.inf if given is None else given["t"]
        if any(one.since <= since + IN_FLIGHT_S and since <= one.at <= at for one in self.losses):
            return True
        if given is None:
            return False
        stored_by = self._reachable_from(since, given["source"]) + IN_FLIGHT_S
        return any(
            one.source == given["source"] and since <= one.at <= min(at, stored_by)
            for one in self.ends
        )

    def _reachable_from(self, instant: float, source: str) -> float:
        """Return the first time at or after `instant` when that service could renew."""
        for one in sorted(self.unreachable, key=lambda one: one.since):
            if one.source in {None, source} and one.since <= instant <= one.until:
                instant = one.until
        return instant


def check_round(observations: Observations) -> CheckResult:
    """Check one round."""
    result = CheckResult()
    events = list(observations.events)
    allowed_until = _check_single_session(result, events, observations)
    _check_newest_session(result, events, allowed_until)
    _check_quotas(result, events, observations)
    _check_tokens(result, events, observations)
    for event in events:
        if event["kind"] in {"protocol_violation", "sandbox_error"}:
            result.check("messages", ok=False, otherwise=f"{event['kind']}: {dict(event)}")
    return result


def _check_single_session(
    result: CheckResult, events: list[Event], observations: Observations
) -> dict[str, float]:
    """Check P1: at most one session per account. Return the ends of accepted overlaps, by account."""
    living: defaultdict[str, dict[int, Event]] = defaultdict(dict)
    ends = {event["session"]: event["t"] for event in events if event["kind"] == "session_ended"}
    allowed_until: dict[str, float] = {}
    for event in events:
        account = event.get("account", "")
        if event["kind"] == "token_logon":
            others = []
            for one in living[account].values():
                end = min(ends.get(one["session"], math.inf), ends.get(event["session"], math.inf))
                if observations.allows_overlap(event["t"], end, one["source"]):
                    result.counts["overlaps after a loss"] += 1
                    allowed_until[account] = max(end, allowed_until.get(account, 0.0))
                else:
                    others.append(f"{one['source']} since {one['n']}")
            result.check(
                "log-ons",
                not others,
                f"{account}: {event['source']} logged on at {event['n']} beside {', '.join(others)}",
            )
            living[account][event["session"]] = event
        elif event["kind"] == "session_ended":
            living[account].pop(event["session"], None)
    return allowed_until


def _check_newest_session(
    result: CheckResult, events: list[Event], allowed_until: Mapping[str, float]
) -> None:
    """Check P1: a service that has lost an account sends nothing more for it."""
    newest: dict[str, int] = {}
    for event in events:
        if event["kind"] == "token_logon":
            newest[event["account"]] = event["session"]
        elif event["kind"] == "match_request":
            account = event["account"]
            result.check(
                "match requests",
                newest.get(account) == event["session"]
                or event["t"] <= allowed_until.get(account, 0.0),
                f"{account}: session {event['session']} asked at {event['n']}, not the newest",
            )


def _check_quotas(result: CheckResult, events: list[Event], observations: Observations) -> None:
    """Check P2: no account or address exceeds its quota, and all sent requests are counted.

    Requests counted during a loss of Redis need not be counted any more.
    """
    # Times of requests that must be counted, by key.
    sent: defaultdict[str, list[float]] = defaultdict(list)
    most: Counter[str] = Counter()
    losses = sorted(observations.losses, key=lambda loss: loss.at)
    pending = list(losses)
    for event in events:
        while pending and pending[0].at <= event["t"]:
            loss = pending.pop(0)
            for times in sent.values():
                times[:] = [t for t in times if t < loss.since]
        if event["kind"] == "match_request":
            may_be_lost = any(0 <= event["t"] - loss.at <= IN_FLIGHT_S for loss in losses)
            for key in (f"account:{event['account']}", f"ip:{event['source']}"):
                if not may_be_lost:
                    sent[key].append(event["t"])
                most[key] = max(most[key], len(sent[key]))
    for key, times in sent.items():
        kind, name = key.split(":", 1)
        limit = observations.per_account if kind == "account" else observations.per_ip
        left, counted = len(times), observations.counted.get(key, 0)
        result.check("budgets", most[key] <= limit, f"{key} sent {most[key]}, {limit} are allowed")
        result.check("budgets", counted >= left, f"{key} sent {left}, {counted} are counted")
        if kind == "account":
            day = observations.counted_by_day.get(name, 0)
            result.check("budgets", day >= left, f"{key} sent {left}, {day} on the day's key")


def _check_tokens(result: CheckResult, events: list[Event], observations: Observations) -> None:
    """Check P3: no account needs its password again, except once per loss of its token."""
    given: dict[str, Event] = {}
    for event in events:
        account, at = event.get("account", ""), event["t"]
        if event["kind"] == "token_logon" and event["n"] > observations.since:
            result.check("tokens", ok=True, otherwise="")
        if event["kind"] != "credential_logon":
            continue
        if event["n"] > observations.since:
            is_lost = observations.may_have_lost_token(given.get(account), at)
            result.check("tokens", is_lost, f"{account} needed its password again at {at:.1f}")
        given[account] = event


def check_accounts(facts: Mapping[str, Any], *, all_free: bool) -> CheckResult:
    """Check the accounts in Redis, one lease after the last fault or later.

    `all_free`: every process has stopped, so no account may be checked out.
    """
    result = CheckResult()
    for account, score in facts["scores"].items():
        lease = facts["leases"].get(account)
        result.check(
            "accounts",
            score == 0 if all_free else score == 0 or lease is not None,
            f"{account} is lost: score {score:g}, lease {lease}",
        )
    return result
