"""`/status` carries the alerts of the page, and has them also when the lookout is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from aiohttp.test_utils import make_mocked_request
from fake_clock import FakeClock, settle

from actors.actor import Actor, Address, Envelope
from actors.headline import Level, Line
from actors.http.outputs import Status
from actors.http.status import ASK_S, StatusRoutes
from actors.messages import FleetReport, RouterReport

pytestmark = pytest.mark.usefixtures("no_leaks")

LINES = (
    Line(Level.OUTAGE, "steam-unreachable", "Away since {when}.", "Nothing to do.", 1_800_000_000),
    Line(Level.ACT, "account-needs-person", "mail needs a code.", about=("account", "mail")),
)
ALERTS = [
    {
        "severity": "outage",
        "kind": "steam-unreachable",
        "text": "Away since {when}.",
        "todo": "Nothing to do.",
        "when": 1_800_000_000,
        "about": None,
    },
    {
        "severity": "act",
        "kind": "account-needs-person",
        "text": "mail needs a code.",
        "todo": None,
        "when": None,
        "about": {"type": "account", "name": "mail"},
    },
]
FACTS = {"version": "1", "instance": "host"}
CONFIG = {"refused": None}


class Asked(Actor[Any]):
    """Answers whatever it is asked with `answer`; None: not at all."""

    def __init__(self, name: str, answer: object, clock: FakeClock) -> None:
        super().__init__(Address(name), clock=clock)
        self.answer = answer

    async def handle(self, envelope: Envelope[Any]) -> None:
        if self.answer is not None and envelope.reply is not None:
            envelope.reply.set(self.answer)


@dataclass
class Served:
    """The route, and what it asks."""

    routes: StatusRoutes
    lookout: Asked
    clock: FakeClock

    async def status(self) -> dict[str, Any]:
        asking = asyncio.create_task(self.routes.status(make_mocked_request("GET", "/status")))
        await self.clock.advance(ASK_S * 2)
        answer = await asking
        assert answer.status == 200
        assert isinstance(answer.body, bytes)
        found: dict[str, Any] = orjson.loads(answer.body)
        Status.model_validate(found)
        return found


@pytest.fixture
async def served(clock: FakeClock) -> AsyncIterator[Served]:
    roster = Asked("roster", FleetReport(()), clock)
    router = Asked("router", RouterReport(0, 0, 0), clock)
    lookout = Asked("lookout", LINES, clock)
    actors = (roster, router, lookout)
    for one in actors:
        await one.start()
    running = [asyncio.create_task(one.run()) for one in actors]
    routes = StatusRoutes(
        *(one.address for one in actors),
        clock=clock,
        about=FACTS,
        config=lambda: CONFIG,
        log=lambda: {"dropped_lines": 0, "waiting_lines": 0},
    )
    yield Served(routes, lookout, clock)
    for one in actors:
        one.stop()
    await settle()
    await asyncio.gather(*running)


async def test_the_alerts_are_those_of_the_page(served: Served) -> None:
    assert (await served.status())["alerts"] == ALERTS


async def test_a_lookout_that_does_not_answer_costs_no_key(served: Served) -> None:
    served.lookout.answer = None
    assert (await served.status())["alerts"] == []
    served.lookout.answer = LINES
    assert (await served.status())["alerts"] == ALERTS
    served.lookout.answer = None
    found = await served.status()
    assert found["alerts"] == ALERTS  # as they were known last
    assert found.keys() == {*FACTS, "config", "bots", "router", "alerts", "log", "fleet"}
