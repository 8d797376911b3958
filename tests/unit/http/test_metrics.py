"""What is counted and how it is written out; the bounds on how many series there are."""

from __future__ import annotations

import ast
import asyncio
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from support.exposition import Exposition
from support.fake_clock import FakeClock
from support.http_env import get, serving

from actors.accounts.admin import AccountAdmin, AccountRow, AccountState, IpRow
from actors.accounts.logon_limiter import Wait
from actors.accounts.models import BUDGET_SPENT, QuotaLimits
from actors.actor import Actor, Address
from actors.bot.eresults import LogonResult, action_reason
from actors.bot.messages import BotChanged, BotRemoved, BotReport
from actors.bot.metrics import FleetMetrics, LogonMetrics
from actors.bot.registry import BotRegistry
from actors.bot.shared_causes import CauseKind, SharedCause
from actors.bot.states import BotState
from actors.dashboard.cause_log import LastingCauses
from actors.errors import StoreUnavailable
from actors.http.metrics import REFRESH_S, HttpMetrics, MetricsRoute
from actors.http.polled_metrics import ACCOUNTS_S, PolledMetrics
from actors.metrics import Format, Instruments
from actors.redis.metrics import RedisMetrics
from actors.router.messages import RouterReport
from supervisor.app.metrics import Metrics
from supervisor.child import ChildState, ChildStatus
from supervisor.clock import SystemClock

ROOT = Path(__file__).parents[3]
S = BotState


@pytest.fixture(name="instruments")
def instruments_fixture() -> Instruments:
    return Instruments()


def shown(instruments: Instruments) -> Exposition:
    return Exposition(instruments.written(Format.TEXT).decode())


def test_one_file_knows_the_library() -> None:
    def imports(path: Path) -> Iterator[str]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield node.module or ""

    found = {
        str(path.relative_to(ROOT))
        for package in ("actors", "supervisor", "sandbox")
        for path in (ROOT / package).rglob("*.py")
        if any(name.split(".")[0] == "prometheus_client" for name in imports(path))
    }
    assert found == {"actors/metrics.py"}


def test_both_forms_say_the_same(instruments: Instruments) -> None:
    instruments.counter("a_total", "A.", "x").labels('"\n\\').inc(2)
    instruments.histogram("b_seconds", "B.", (0.5, 1)).observe(0.7)
    instruments.gauge("c", "C.").set(math.nan)
    instruments.facts("d", "D.", {"version": "1"})
    instruments.counted_elsewhere("e_total", "E.", ("field",), lambda: {("f#1",): 3})
    instruments.counts("f_total", "F.", "x", "y")["a", 200] += 2
    latency = instruments.latencies("g_seconds", "G.", (0.5, 1.0), "x").of("a")
    for seconds in (0.1, 0.5, 0.7, 9.0):
        latency.observe(seconds)
    text = shown(instruments)
    openmetrics = Exposition(instruments.written(Format.OPENMETRICS).decode(), is_openmetrics=True)
    for one in (text, openmetrics):
        assert one.value("a_total", x='"\n\\') == 2
        assert one.value("b_seconds_bucket", le="0.5") == 0
        assert one.value("b_seconds_bucket", le="1.0") == 1
        assert math.isnan(one.value("c"))
        assert one.value("d_info", version="1") == 1
        assert one.value("e_total", field="f#1") == 3
        assert one.value("f_total", x="a", y="200") == 2
        assert one.values("g_seconds_bucket", "le") == {"0.5": 2, "1.0": 3, "+Inf": 4}
        assert one.value("g_seconds_sum", x="a") == pytest.approx(10.3)
        assert one.value("g_seconds_count", x="a") == 4
        assert one.value("process_open_fds") > 0
    assert not any(name.endswith("_created") for name in text.types)


# -- the fleet ---------------------------------------------------------------------------------


def life(fleet: FleetMetrics, *states: BotState, result: LogonResult | None = None) -> None:
    for state in states:
        fleet.tell(BotChanged("bot-1", state, result=result if state is states[-1] else None))


def test_changes_of_state_are_counted_once_each(instruments: Instruments) -> None:
    fleet = FleetMetrics(instruments)
    life(fleet, S.WAITING_FOR_ACCOUNT, S.WAITING_FOR_ACCOUNT, S.CONNECTING, S.CONNECTING)
    fleet.tell(BotRemoved("bot-1"))
    life(fleet, S.WAITING_FOR_ACCOUNT)
    changes = shown(instruments).values("botapi_bot_transitions_total", "state_from")
    assert changes == {"none": 2, "waiting_for_account": 1}


@pytest.mark.parametrize(
    ("ends_in", "result", "counted_as"),
    [
        (S.LAUNCHING, None, "ok"),
        (S.BACKING_OFF, LogonResult.RATE_LIMITED, "rate_limited"),
        (S.BACKING_OFF, None, "none"),
        (S.NEEDS_HUMAN, LogonResult.NEEDS_HUMAN, "needs_human"),
        (S.DRAINING, None, None),  # our own doing
    ],
)
def test_log_ons_are_counted_by_verdict(
    instruments: Instruments, ends_in: BotState, result: LogonResult | None, counted_as: str | None
) -> None:
    fleet = FleetMetrics(instruments)
    life(fleet, S.CONNECTING, S.AUTHENTICATING, ends_in, result=result)
    found = shown(instruments)
    log_ons = found.values("botapi_logons_total", "verdict")
    assert {word for word, count in log_ons.items() if count} == {counted_as} - {None}
    assert sum(found.values("botapi_sessions_ended_total", "verdict").values()) == 0


@pytest.mark.parametrize("state", [S.LAUNCHING, S.READY])
def test_sessions_end_by_verdict(instruments: Instruments, state: BotState) -> None:
    fleet = FleetMetrics(instruments)
    life(fleet, state, S.BACKING_OFF, result=LogonResult.REPLACED)
    life(fleet, state, S.BACKING_OFF)
    life(fleet, state, S.EXHAUSTED)
    found = shown(instruments).values("botapi_sessions_ended_total", "verdict")
    assert {word: count for word, count in found.items() if count} == {"replaced": 1, "none": 1}


# -- pacing ------------------------------------------------------------------------------------


async def test_a_rate_limit_shows_until_it_is_over(
    clock: FakeClock, instruments: Instruments
) -> None:
    log_ons = LogonMetrics(instruments, clock=clock)

    def open_s() -> float:
        return shown(instruments).value("botapi_logon_circuit_open_seconds")

    log_ons.waited(Wait(10, "pacing"))
    assert open_s() == 0
    log_ons.waited(Wait(100, "rate-limit"))
    log_ons.limited(Wait(100, "rate-limit"))
    assert open_s() == 100
    await clock.advance(60)
    assert open_s() == 40
    await clock.advance(60)
    assert open_s() == 0
    log_ons.limited(Wait(50, "rate-limit"))
    assert open_s() == 50
    log_ons.allowed()
    assert open_s() == 0
    log_ons.waited(Wait(50, "rate-limit"))
    waits = shown(instruments).values("botapi_logon_waits_total", "reason")
    assert waits == {"pacing": 1, "rate-limit": 2}


# -- what is asked for a scrape ----------------------------------------------------------------


class FakeRouter(Actor[Any]):
    """Answers every question alike, and counts."""

    def __init__(self, clock: FakeClock | SystemClock) -> None:
        super().__init__(Address("router"), clock=clock)
        self.times = 0

    async def handle(self, message: object) -> RouterReport:
        del message
        self.times += 1
        return RouterReport(1, 2, 3)


class FakeRegistry:
    """Reports three bots, the first one parked."""

    def reports(self) -> tuple[BotReport, ...]:
        states = (S.PARKED, S.READY, S.READY)
        return tuple(
            BotReport(f"bot-{n}", state, 0, f"a{n}", 0, None, None, ip="192.0.2.1")
            for n, state in enumerate(states)
        )


class Accounts:
    quota = QuotaLimits(90, 450)

    def __init__(self, rows: list[AccountRow] | None = None) -> None:
        self.rows = rows or []
        self.looks = 0
        self.is_away = False

    async def overview(self) -> list[AccountRow]:
        self.looks += 1
        if self.is_away:
            raise StoreUnavailable("overview")
        return self.rows

    async def ip_budgets(self, ips: Any) -> list[IpRow]:
        return [IpRow(ip, 50, 400, 1.0) for ip in ips]


def account(name: str, state: AccountState, left: int, reason: str | None = None) -> AccountRow:
    return AccountRow(name, state, 90 - left, left, None, None, None, None, reason, None)


PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
ROWS = [
    account("abaddon", AccountState.IN_USE, 70),
    account("axe", AccountState.FREE, 10),
    account("bane", AccountState.COOLING_DOWN, 90, action_reason("a code")),
    account("chen", AccountState.COOLING_DOWN, 5, BUDGET_SPENT),
]


class Surveyed:
    def __init__(self, clock: FakeClock, rows: list[AccountRow]) -> None:
        self.instruments = Instruments()
        self.router = FakeRouter(clock)
        self.accounts = Accounts(rows)
        self.causes: tuple[SharedCause, ...] = ()
        self.polled = PolledMetrics(
            cast("BotRegistry", FakeRegistry()),
            self.router.address,
            cast("AccountAdmin", self.accounts),
            cast("LastingCauses", self),
            self.instruments,
            names_accounts=False,
            clock=clock,
        )

    def active(self) -> tuple[SharedCause, ...]:
        return self.causes

    async def look(self) -> Exposition:
        await self.polled.refresh()
        return shown(self.instruments)


@pytest.fixture(name="surveyed")
async def surveyed_fixture(clock: FakeClock) -> Any:
    surveyed = Surveyed(clock, ROWS)
    await surveyed.router.start()
    running = asyncio.create_task(surveyed.router.run())
    yield surveyed
    surveyed.router.stop()
    await running


async def test_a_survey_shows_what_every_source_says(surveyed: Surveyed) -> None:
    found = await surveyed.look()
    assert found.values("botapi_source_up", "source") == {"router": 1, "redis": 1}
    bots = found.values("botapi_bots", "state")
    assert bots.keys() == set(BotState)
    assert (bots["ready"], bots["parked"], bots["needs_human"]) == (2, 1, 0)
    assert found.value("botapi_requests_waiting") == 3
    assert found.value("botapi_flights") == 2
    assert found.values("botapi_accounts", "state")["cooling down"] == 2
    assert found.value("botapi_accounts_needing_human") == 1
    assert found.value("botapi_accounts_usable") == 3
    assert found.value("botapi_quota_left") == 80
    assert found.value("botapi_quota_left_worst_account") == 0
    assert found.value("botapi_ip_quota_left", ip="192.0.2.1") == 400
    assert found.values("botapi_quota_limit", "scope") == {"account": 90, "ip": 450}


async def test_every_kind_of_shared_cause_has_a_series(surveyed: Surveyed) -> None:
    found = await surveyed.look()
    assert found.values("botapi_shared_cause", "kind") == dict.fromkeys(CauseKind, 0)
    kind = CauseKind.GC_UNAVAILABLE
    surveyed.causes = (SharedCause(kind, 0.0, "away", frozenset({"bot-1"})),)
    found = await surveyed.look()
    assert found.values("botapi_shared_cause", "kind") == dict.fromkeys(CauseKind, 0) | {kind: 1}
    surveyed.causes = ()
    found = await surveyed.look()
    assert found.values("botapi_shared_cause", "kind")[kind] == 0


async def test_accounts_are_named_only_if_that_is_wanted(
    surveyed: Surveyed, clock: FakeClock
) -> None:
    assert (await surveyed.look()).labels("botapi_account_quota_left") == {}
    surveyed.polled.reconfigure(names_accounts=True)
    await clock.advance(ACCOUNTS_S)
    found = await surveyed.look()
    assert found.values("botapi_account_quota_left", "account") == {
        "abaddon": 70,
        "axe": 10,
        "bane": 90,
        "chen": 5,
    }
    surveyed.polled.reconfigure(names_accounts=False)
    await clock.advance(ACCOUNTS_S)
    assert (await surveyed.look()).labels("botapi_account_quota_left") == {}


async def test_redis_is_asked_rarely(surveyed: Surveyed, clock: FakeClock) -> None:
    for _ in range(5):
        await surveyed.look()
        await clock.advance(ACCOUNTS_S / 5)
    assert surveyed.accounts.looks == 1
    await surveyed.look()
    assert surveyed.accounts.looks == 2


async def test_what_is_not_known_is_not_shown(surveyed: Surveyed, clock: FakeClock) -> None:
    await surveyed.look()
    surveyed.accounts.is_away = True
    surveyed.router.stop()
    await clock.advance(ACCOUNTS_S)
    found = await surveyed.look()
    assert found.values("botapi_source_up", "source") == {"router": 0, "redis": 0}
    assert found.labels("botapi_accounts") == {}
    assert found.labels("botapi_ip_quota_left") == {}
    for name in ("botapi_quota_left", "botapi_requests_waiting", "botapi_accounts_needing_human"):
        assert math.isnan(found.value(name)), name
    surveyed.accounts.is_away = False
    found = await surveyed.look()
    assert found.value("botapi_quota_left") == 80  # at once, though it was asked just now


async def test_within_a_second_every_scrape_is_given_the_same(
    surveyed: Surveyed, clock: FakeClock
) -> None:
    route = MetricsRoute(surveyed.polled, surveyed.instruments, clock=clock)
    first = await route.written(Format.TEXT)
    assert await route.written(Format.TEXT) is first
    assert (await route.written(Format.OPENMETRICS)).endswith(b"# EOF\n")
    assert surveyed.router.times == 1
    await clock.advance(REFRESH_S)
    assert await route.written(Format.TEXT) is not first
    assert surveyed.router.times == 2


# -- HTTP ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, Format.TEXT),
        ("*/*", Format.TEXT),
        ("text/html", Format.TEXT),
        ("application/openmetrics-text", Format.OPENMETRICS),
        (
            PROMETHEUS,
            Format.OPENMETRICS,
        ),
        ("application/openmetrics-text;version=no;q=0.1,text/plain", Format.TEXT),
    ],
)
async def test_a_scraper_gets_the_form_that_it_likes(
    surveyed: Surveyed, clock: FakeClock, accept: str | None, form: Format
) -> None:
    headers = {} if accept is None else {"Accept": accept}
    route = MetricsRoute(surveyed.polled, surveyed.instruments, clock=clock)
    answer = await route.metrics(make_mocked_request("GET", "/metrics", headers=headers))
    assert answer.body == await route.written(form)
    assert answer.headers["Content-Type"] == form.content_type
    assert "Accept" in answer.headers["Vary"]


async def test_what_clients_write_makes_no_series(instruments: Instruments) -> None:
    async def match(request: web.Request) -> web.Response:
        return web.Response(text=request.match_info["match_id"])

    metrics = HttpMetrics(instruments, SystemClock())
    async with serving({"/matches/{match_id}": match}, metrics=metrics) as server:
        series = set()
        for number in range(150):
            await server.ask(get(f"/matches/{number}?x={number}"))
            await server.ask(get(f"/none/{number}"))
            await server.ask(get(f"/ok?{number}", X_Request_Id=str(number)))
            series.add(len(shown(instruments)))
    assert len(series) == 1
    found = shown(instruments)
    routes = {"/matches/{match_id}": 150, "(none)": 150, "/ok": 150}
    assert found.values("botapi_http_requests_total", "route") == routes
    assert found.values("botapi_http_latency_seconds_count", "route") == routes
    errors = found.values("botapi_http_requests_total", "error")
    assert errors["not-found"] == 150


# -- bounds --------------------------------------------------------------------------------------


def count_series(bots: int) -> int:
    """Return how many series there are when so many bots have been through everything."""
    metrics = Metrics(version="1", clock=SystemClock())
    for number in range(bots):
        name = f"bot-{number}"
        for before in BotState:
            for after in BotState:
                metrics.bots.tell(BotChanged(name, before, account=name, reason=name))
                metrics.bots.tell(BotChanged(name, after, result=LogonResult.RETRY))
        for state in ChildState:
            metrics.children.on_bot(ChildStatus(name, state, 0, restarts=number))
    written = metrics.instruments.written(Format.TEXT).decode()
    assert "bot-1" not in written
    return len(Exposition(written))


def test_there_are_no_more_series_for_more_bots() -> None:
    assert count_series(300) == count_series(3)


def test_restarts_are_counted_by_part_and_for_all_bots_together() -> None:
    metrics = Metrics(version="1", clock=SystemClock())
    for restarts in range(3):
        for state in (ChildState.STARTING, ChildState.RUNNING, ChildState.BACKING_OFF):
            metrics.children.on_child(ChildStatus("router", state, 0, restarts=restarts))
            metrics.children.on_bot(ChildStatus("bot-1", state, 0, restarts=restarts))
            metrics.children.on_bot(ChildStatus("bot-2", state, 0, restarts=restarts))
    found = shown(metrics.instruments)
    assert found.values("botapi_child_restarts_total", "child") == {"bot": 4, "router": 2}
    assert found.value("botapi_child_up", child="router") == 0
    metrics.children.on_child(ChildStatus("router", ChildState.RUNNING, 0))
    assert shown(metrics.instruments).value("botapi_child_up", child="router") == 1


def test_scripts_are_measured_by_name(instruments: Instruments) -> None:
    redis = RedisMetrics(instruments)
    redis.answered("reserve", 0.002)
    redis.failed("acquire", "gone")
    redis.refused("acquire")
    found = shown(instruments)
    assert found.values("botapi_redis_latency_seconds_count", "script") == {
        "reserve": 1,
        "acquire": 0,
    }
    assert found.values("botapi_redis_failures_total", "script") == {"reserve": 0, "acquire": 2}
