"""Whether the promises were kept, by what the simulated Steam saw. Pure: events in, verdict out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Event = Mapping[str, Any]


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
class Evidence:
    """What is judged: the journal, from `begun` on a journal number, and what Redis holds at the end."""

    events: Iterable[Event]
    begun: int
    per_account: int
    per_ip: int
    counted: Mapping[str, int]  # "account:NAME" or "ip:ADDRESS" -> requests
    by_day: Mapping[str, float]


def judge(evidence: Evidence) -> Verdict:
    """Judge one round."""
    verdict = Verdict()
    events = list(evidence.events)
    _one_session_at_a_time(verdict, events)
    _nothing_after_the_end(verdict, events)
    _within_quota(verdict, events, evidence)
    _no_token_lost(verdict, events, evidence.begun)
    for event in events:
        if event["kind"] in {"protocol_violation", "sandbox_error"}:
            verdict.check("messages", ok=False, otherwise=f"{event['kind']}: {dict(event)}")
    return verdict


def _one_session_at_a_time(verdict: Verdict, events: list[Event]) -> None:
    """P1: an account has one session at most."""
    living: defaultdict[str, dict[int, Event]] = defaultdict(dict)
    for event in events:
        if event["kind"] == "token_logon":
            sessions = living[event["account"]]
            others = ", ".join(f"{one['source']} since {one['n']}" for one in sessions.values())
            verdict.check(
                "log-ons",
                not sessions,
                f"{event['account']}: {event['source']} logged on at {event['n']} beside {others}",
            )
            sessions[event["session"]] = event
        elif event["kind"] == "session_ended":
            living[event["account"]].pop(event["session"], None)


def _nothing_after_the_end(verdict: Verdict, events: list[Event]) -> None:
    """P1: who has lost an account sends nothing more for it."""
    newest: dict[str, int] = {}
    for event in events:
        if event["kind"] == "token_logon":
            newest[event["account"]] = event["session"]
        elif event["kind"] == "match_request":
            verdict.check(
                "match requests",
                newest.get(event["account"]) == event["session"],
                f"{event['account']}: session {event['session']} asked at {event['n']}, not the newest",
            )


def _within_quota(verdict: Verdict, events: list[Event], evidence: Evidence) -> None:
    """P2: nobody sends more than allowed, and everything that was sent is counted."""
    seen: Counter[str] = Counter()
    for event in events:
        if event["kind"] == "match_request":
            seen[f"account:{event['account']}"] += 1
            seen[f"ip:{event['source']}"] += 1
    for key, sent in seen.items():
        kind, name = key.split(":", 1)
        limit = evidence.per_account if kind == "account" else evidence.per_ip
        counted = evidence.counted.get(key, 0)
        verdict.check("budgets", sent <= limit, f"{key} sent {sent}, {limit} are allowed")
        verdict.check("budgets", counted >= sent, f"{key} sent {sent}, {counted} are counted")
        if kind == "account":
            day = evidence.by_day.get(name, 0)
            verdict.check("budgets", day >= sent, f"{key} sent {sent}, {day} on the day's key")


def _no_token_lost(verdict: Verdict, events: list[Event], begun: int) -> None:
    """P3: who was logged on once needs no password again."""
    for event in events:
        if event["n"] > begun and event["kind"] == "token_logon":
            verdict.check("tokens", ok=True, otherwise="")
        if event["n"] > begun and event["kind"] == "credential_logon":
            verdict.check(
                "tokens", ok=False, otherwise=f"{event['account']} needed its password again"
            )


def accounts_in_order(facts: Mapping[str, Any], *, all_free: bool) -> Verdict:
    """Judge what Redis says after a lease without faults; `all_free`: after everybody has stopped."""
    verdict = Verdict()
    for account, score in facts["scores"].items():
        lease = facts["leases"].get(account)
        verdict.check(
            "accounts",
            score == 0 if all_free else score == 0 or lease is not None,
            f"{account} is lost: score {score:g}, lease {lease}",
        )
    return verdict
