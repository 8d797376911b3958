"""`/status` carries the alerts of the page, and has them also when the dashboard does not run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any, cast

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from support.fake_clock import FakeClock, settle

from actors.accounts.admin import AccountState
from actors.actor import Actor, Address
from actors.bot.messages import BotReport, FleetPlan
from actors.bot.registry import BotRegistry
from actors.bot.states import BotState
from actors.dashboard.dashboard import Dashboard
from actors.dashboard.snapshot import AccountView, Alert, Severity, Snapshot
from actors.http.auth.admission import Admission
from actors.http.openapi.outputs import StatusOutput
from actors.http.routes.status import ASK_S, StatusRoutes
from actors.router.messages import RouterReport

pytestmark = pytest.mark.usefixtures("no_leaks")

LINES = (
    Alert(
        Severity.OUTAGE, "steam-unreachable", "Away since {when}.", "Nothing to do.", 1_800_000_000
    ),
    Alert(Severity.ACT, "account-needs-person", "mail needs a code.", about=("account", "mail")),
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
NEEDY = AccountView(
    *("mail", AccountState.COOLING_DOWN, 0, 90, None, None, 1, "needs a code", None, None),
    needs_you=True,
    need="a code",
    command="botapi accounts login mail",
)
WELL = AccountView(
    *("axe", AccountState.FREE, 0, 90, None, None, None, None, None, None), needs_you=False
)
PLAN = FleetPlan(2, 2, drained=False, parked=(), leaving=())
PICTURE = Snapshot({}, {"mail": NEEDY, "axe": WELL}, {}, PLAN, None, {}, headlines=LINES)
NEEDS = [{"account": "mail", "need": "a code", "command": "botapi accounts login mail"}]
FACTS = {"version": "1", "instance": "host"}
CONFIG = {"refused": None}
LOG = {"dropped_lines": 0, "waiting_lines": 0}


class FakeRouter(Actor[Any]):
    """Answers every question alike."""

    async def handle(self, message: object) -> RouterReport:
        del message
        return RouterReport(0, 0, 0)


class FakeRegistry:
    def __init__(self) -> None:
        self.bots: tuple[BotReport, ...] = ()

    def reports(self) -> tuple[BotReport, ...]:
        return self.bots


class FakeDashboard:
    """Answers with `answer`; None: not at all."""

    def __init__(self) -> None:
        self.answer: Snapshot | None = PICTURE

    async def snapshot(self) -> Snapshot:
        if self.answer is None:
            await asyncio.Event().wait()
            raise AssertionError
        return self.answer


@dataclass
class Served:
    """The route and its sources."""

    routes: StatusRoutes
    registry: FakeRegistry
    dashboard: FakeDashboard
    clock: FakeClock

    async def status(self) -> dict[str, Any]:
        asking = asyncio.create_task(self.routes.status(make_mocked_request("GET", "/status")))
        await self.clock.advance(ASK_S * 2)
        answer = await asking
        assert answer.status == 200
        assert isinstance(answer.body, bytes)
        found: dict[str, Any] = orjson.loads(answer.body)
        StatusOutput.model_validate(found)
        return found


names: list[bool] = []  # whether the next one who asks may see them


class FakeAdmission:
    def may_see_names(self, _request: web.Request) -> bool:
        return names.pop() if names else True


@pytest.fixture
async def served(clock: FakeClock) -> AsyncIterator[Served]:
    router, registry, dashboard = (
        FakeRouter(Address("router"), clock=clock),
        FakeRegistry(),
        FakeDashboard(),
    )
    await router.start()
    running = asyncio.create_task(router.run())
    routes = StatusRoutes(
        cast("BotRegistry", registry),
        router.address,
        cast("Dashboard", dashboard),
        cast("Admission", FakeAdmission()),
        facts=lambda: {**FACTS, "config": CONFIG, "log": LOG},
        clock=clock,
    )
    yield Served(routes, registry, dashboard, clock)
    router.stop()
    await settle()
    await running


async def test_alerts_and_needs_are_those_of_the_page(served: Served) -> None:
    found = await served.status()
    assert (found["alerts"], found["needs"]) == (ALERTS, NEEDS)


@pytest.mark.parametrize("states", [(), (BotState.READY,), (BotState.PARKED, BotState.PARKED)])
async def test_every_state_is_counted_also_where_no_bot_has_it(
    served: Served, states: tuple[BotState, ...]
) -> None:
    served.registry.bots = tuple(
        BotReport(f"bot-{n}", one, 0.0, None, 0, None, None) for n, one in enumerate(states)
    )
    counts = (await served.status())["bots"]
    assert counts == {"count": len(states)} | {one.value: states.count(one) for one in BotState}


async def test_a_dashboard_that_does_not_answer_costs_no_key(served: Served) -> None:
    served.dashboard.answer = None
    found = await served.status()
    assert (found["alerts"], found["needs"]) == ([], [])
    served.dashboard.answer = PICTURE
    assert (await served.status())["alerts"] == ALERTS
    served.dashboard.answer = None
    found = await served.status()
    assert (found["alerts"], found["needs"]) == (ALERTS, NEEDS)  # as they were known last
    assert found.keys() == {*FACTS, "config", "bots", "router", "alerts", "needs", "log", "fleet"}


async def test_who_may_not_see_names_sees_all_but_them(served: Served) -> None:
    report = BotReport("bot-1", BotState.READY, 1.0, "mail", 2, "mail: the password is wrong", None)
    served.registry.bots = (report,)
    lines = (
        *LINES,
        LINES[1],
        Alert(Severity.ACT, "unusable-here", "This cannot use 1: mail is bad."),
    )
    served.dashboard.answer = replace(PICTURE, headlines=lines)
    whole = await served.status()
    names.append(False)
    found = await served.status()
    assert "mail" in repr(whole)
    assert "mail" not in repr(found)
    assert found.keys() == whole.keys()
    assert [one["kind"] for one in found["alerts"]] == [
        "steam-unreachable",
        "account-needs-person",
        "unusable-here",
    ]
    (bot,) = found["fleet"]
    assert (bot["bot_id"], bot["state"], bot["restarts"]) == ("bot-1", "ready", 2)
