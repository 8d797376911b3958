"""Clients that request matches from every member and record the answers."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from bench.chaos.consistency import Refusal
from bench.chaos.member import Member

FIRST_MATCH: Final = 6_000_000_000
ERROR_WORDS: Final = frozenset(
    {"notready", "busy", "timeout", "store-unavailable", "quota-exhausted"}
)
DEADLINE_S: Final = 8.0  # of the service
SLACK_S: Final = 4.0  # for a busy machine


@dataclass
class Load:
    """Answers to the clients. `violations`: answers that must not occur."""

    answers: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(FIRST_MATCH, 20))

    async def run(self, member: Member, every_s: float) -> None:
        """Send requests to one member until cancelled."""
        async with aiohttp.ClientSession() as client, asyncio.TaskGroup() as requests:
            while True:
                member.detect_exit()
                if member.is_up:
                    requests.create_task(self._request(client, member, next(self._ids)))
                await asyncio.sleep(every_s)

    async def _request(self, client: aiohttp.ClientSession, member: Member, match_id: int) -> None:
        disruptions, asked = member.disruptions, time.time()
        url = f"{member.service.url}/match-details?match_id={match_id}"
        timeout = aiohttp.ClientTimeout(total=DEADLINE_S + SLACK_S)
        try:
            async with client.get(url, timeout=timeout) as answer:
                self._record(member, match_id, asked, answer.status, await answer.json())
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            if member.disruptions == disruptions and member.service.process.poll() is None:
                self.violations.append(f"{member.name}: match {match_id} unanswered: {error!r}")
            else:
                self.answers["process gone"] += 1

    def _record(
        self, member: Member, match_id: int, asked: float, status: int, body: dict[str, object]
    ) -> None:
        if status == 200:
            if body.get("id") != match_id:
                self.violations.append(f"{member.name}: asked for {match_id}, got {body.get('id')}")
            self.answers["data"] += 1
        elif body.get("error") in ERROR_WORDS:
            word = str(body["error"])
            self.answers[word] += 1
            self.refusals.append(Refusal(member.name, word, asked, time.time()))
        else:
            self.violations.append(f"{member.name}: match {match_id} answered {status} {body}")
