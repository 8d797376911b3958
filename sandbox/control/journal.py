"""Journal of events, by which tests check the service.

The journal is in memory, append-only and numbered from 1. Every kind of event has fixed fields
(`KINDS`). Each entry updates the derived facts (sessions now, most at once per account, requests per
account), so that reading them is cheap.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

Event = dict[str, Any]

KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "directory_request": ("method", "cmtype", "status", "source"),
    "connection_opened": ("connection", "cm", "transport", "source"),
    "connection_closed": ("connection", "cm", "account", "reason"),
    "protocol_violation": ("connection", "cm", "account", "reason"),
    "client_hello": ("connection", "protocol_version"),
    "rsa_key_request": ("connection", "account", "source"),
    "credentials_begun": ("connection", "account", "source", "eresult", "guards"),
    "guard_code": ("connection", "account", "code_type", "eresult"),
    "credential_logon": ("connection", "account", "source", "guard"),
    "token_logon": ("connection", "account", "source", "session", "steamid", "logon_id"),
    "token_renewed": ("connection", "account", "renewed"),
    "tokens_revoked": ("account",),
    "logon_refused": ("connection", "account", "source", "flow", "eresult", "reason"),
    "logon_ignored": ("connection", "account", "source"),
    # clean: the client logged off first. idle_s: seconds since its last message.
    "session_ended": ("connection", "account", "session", "reason", "eresult", "clean", "idle_s"),
    "play_kicked": ("account", "session", "by_session"),
    "games_played": ("account", "session", "apps", "blocked"),
    "license_request": ("account", "session", "apps", "granted"),
    "gc_hello": ("account", "session", "outcome"),
    "gc_welcome": ("account", "session", "size"),
    "gc_session_lost": ("account", "session", "reason"),
    # outcome: answered, not_found, blocked, result_N, silent_quota_account, silent_quota_ip,
    # silent_fault, silent_no_session
    "match_request": ("account", "match_id", "outcome", "session", "source"),
    # took_s: from the arrival of the request to the departure of the answer.
    "match_answer": ("account", "match_id", "took_s"),
    # The same outcomes; profile cards have a quota of their own.
    "profile_request": ("account", "account_id", "outcome", "session", "source"),
    "aliases_request": ("account", "count", "outcome", "session"),
    "gc_request": ("account", "session", "msgtype", "outcome"),
    # start: first byte of the file; sent: bytes of the body
    "replay_request": ("name", "method", "status", "start", "sent", "source"),
    "connections_dropped": ("count", "mode"),
    "faults_changed": ("faults",),
    "scenario_ended": ("name", "outcome"),
    "sandbox_error": ("connection", "error"),
}


@dataclass(slots=True)
class _Waiter:
    kinds: frozenset[str]
    since: int
    match: Mapping[str, str]
    missing: int
    done: asyncio.Future[bool]


@dataclass(slots=True)
class Facts:
    """Facts derived from the entries."""

    kinds: Counter[str] = field(default_factory=Counter)
    connections_now: int = 0
    sessions_now: Counter[str] = field(default_factory=Counter)
    max_concurrent: Counter[str] = field(default_factory=Counter)
    logons: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    served: Counter[str] = field(default_factory=Counter)  # counted against the account's quota
    served_by_source: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)


class Journal:
    """The events and the facts derived from them."""

    def __init__(self) -> None:
        self._entries: list[tuple[Any, ...]] = []  # (unix time, kind, *fields): tuples save memory
        self._waiters: list[_Waiter] = []
        self.facts = Facts()

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, kind: str, **values: Any) -> None:
        """Append one event; `values` must have exactly the fields of its kind."""
        names = KINDS[kind]
        if len(names) != len(values):
            raise TypeError(f"{kind} has the fields {names}")
        self._entries.append((time.time(), kind, *[values[name] for name in names]))
        self._update_facts(kind, values)
        if self._waiters:
            self._notify()

    def read(
        self, *, since: int = 0, kinds: frozenset[str] = frozenset(), limit: int
    ) -> list[Event]:
        """Return at most `limit` events numbered above `since`, of `kinds` or of all kinds."""
        found = []
        for number in range(since + 1, len(self._entries) + 1):
            if kinds and self._entries[number - 1][1] not in kinds:
                continue
            found.append(self.event(number))
            if len(found) == limit:
                break
        return found

    def event(self, number: int) -> Event:
        """Return one event as a dict: n, t (unix seconds), kind and the kind's fields."""
        at, kind, *values = self._entries[number - 1]
        return {"n": number, "t": at, "kind": kind, **dict(zip(KINDS[kind], values, strict=True))}

    def write_to(self, path: Path) -> None:
        """Write every event as a line of JSON; an existing file is replaced."""
        with path.open("wb") as file:
            for number in range(1, len(self._entries) + 1):
                file.write(orjson.dumps(self.event(number), option=orjson.OPT_APPEND_NEWLINE))

    async def wait(
        self,
        kinds: frozenset[str],
        count: int,
        timeout_s: float,
        *,
        since: int = 0,
        match: Mapping[str, str] | None = None,
    ) -> bool:
        """Wait until `count` events of `kinds` numbered above `since` exist; return False on timeout.

        `match`: values of fields, compared as text.
        """
        match = match or {}
        found = sum(1 for _ in self._matching(kinds, since, match))
        if found >= count:
            return True
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        waiter = _Waiter(kinds, since, match, count - found, done)
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                return await done
        except TimeoutError:
            return False
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _matching(
        self, kinds: frozenset[str], since: int, match: Mapping[str, str]
    ) -> Iterator[Event]:
        for number in range(since + 1, len(self._entries) + 1):
            if self._entries[number - 1][1] in kinds:
                event = self.event(number)
                if _matches(event, match):
                    yield event

    def _notify(self) -> None:
        number = len(self._entries)
        event = self.event(number)
        for waiter in list(self._waiters):
            if event["kind"] not in waiter.kinds or number <= waiter.since:
                continue
            if not _matches(event, waiter.match):
                continue
            waiter.missing -= 1
            if waiter.missing == 0 and not waiter.done.done():
                waiter.done.set_result(True)

    def _update_facts(self, kind: str, values: Mapping[str, Any]) -> None:
        facts = self.facts
        facts.kinds[kind] += 1
        if kind == "match_request":
            _count_request(facts, values)
        elif kind == "token_logon":
            account = values["account"]
            facts.logons[account] += 1
            facts.sessions_now[account] += 1
            now = facts.sessions_now[account]
            facts.max_concurrent[account] = max(now, facts.max_concurrent[account])
        elif kind == "session_ended":
            facts.sessions_now[values["account"]] -= 1
        elif kind == "connection_opened":
            facts.connections_now += 1
        elif kind == "connection_closed":
            facts.connections_now -= 1


def _count_request(facts: Facts, values: Mapping[str, Any]) -> None:
    outcome = values["outcome"]
    facts.requests[values["account"]] += 1
    facts.outcomes[outcome] += 1
    if not outcome.startswith("silent"):
        facts.served[values["account"]] += 1
        facts.served_by_source[values["source"]] += 1


def _matches(event: Event, match: Mapping[str, str]) -> bool:
    return all(str(event.get(name)) == wanted for name, wanted in match.items())
