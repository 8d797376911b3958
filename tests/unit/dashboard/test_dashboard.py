"""The dashboard polls often only while a page is open, and sends all pages the same events."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, MutableMapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from support.fake_clock import FakeClock, settle
from support.scripted_child import capturing_log

from actors.accounts.admin import AccountAdmin, AccountRow, AccountState, IpRow
from actors.accounts.store import AccountStore
from actors.actor import Actor, Address
from actors.bot.messages import BotReport, FleetControl, FleetPlan
from actors.bot.registry import BotRegistry
from actors.bot.shared_causes import CauseKind, SharedCause
from actors.bot.states import BotState
from actors.dashboard.cause_log import LastingCauses
from actors.dashboard.dashboard import REDIS_S, Dashboard
from actors.dashboard.event_stream import Watcher
from actors.dashboard.history import Traffic
from actors.errors import ActorStopped, StoreUnavailable
from actors.router.messages import RouterReport

pytestmark = pytest.mark.usefixtures("no_leaks")


class FakeRouter(Actor[Any]):
    """Answers with `answer`, and counts the polls."""

    def __init__(self, answer: RouterReport, clock: FakeClock) -> None:
        super().__init__(Address("router"), clock=clock)
        self.answer = answer
        self.times = 0

    async def handle(self, message: object) -> RouterReport:
        del message
        self.times += 1
        return self.answer


class FakeRegistry:
    """Reports the bots of a test."""

    def __init__(self, *bots: BotReport) -> None:
        self.bots = bots

    def reports(self) -> tuple[BotReport, ...]:
        return self.bots


class FakeCauses:
    def __init__(self, causes: list[SharedCause]) -> None:
        self._causes = causes

    def active(self) -> tuple[SharedCause, ...]:
        return tuple(self._causes)


class FakeFleet:
    def plan(self) -> FleetPlan:
        return FleetPlan(1, 1, drained=False, parked=(), leaving=())


@dataclass
class Redis:
    """What Redis knows, and how often it was asked."""

    rows: list[AccountRow] = field(default_factory=list)
    is_away: bool = False
    times: int = 0
    answers: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.answers.set()

    async def overview(self) -> list[AccountRow]:
        self.times += 1
        await self.answers.wait()
        if self.is_away:
            raise StoreUnavailable("overview")
        return self.rows

    def avoided(self) -> dict[str, str]:
        return {}

    async def ip_budgets(self, ips: list[str]) -> list[IpRow]:
        return [IpRow(ip, 1, 449, 60.0) for ip in ips]


def bot(bot_id: str, state: BotState = BotState.READY, ip: str | None = None) -> BotReport:
    return BotReport(bot_id, state, 0.0, None, 0, None, None, ip=ip)


def account(name: str) -> AccountRow:
    return AccountRow(name, AccountState.FREE, 0, 90, None, None, None, None, None, None)


@dataclass
class DashboardEnv:
    """A dashboard, its sources, and the clock."""

    clock: FakeClock
    registry: FakeRegistry
    router: FakeRouter
    redis: Redis
    dashboard: Dashboard
    causes: list[SharedCause]
    lines: list[MutableMapping[str, Any]]  # of the log

    async def alerts(self) -> list[str]:
        return [line.kind for line in (await self.dashboard.snapshot()).headlines]

    async def watch(self) -> Watcher:
        return await self.dashboard.watch()

    def fleet(self, *bots: BotReport) -> None:
        self.registry.bots = bots


@pytest.fixture
async def env(clock: FakeClock, request: pytest.FixtureRequest) -> AsyncIterator[DashboardEnv]:
    """Yield the environment; `request.param`: whether Redis answers from the beginning."""
    registry, redis = FakeRegistry(bot("bot-1")), Redis([account("axe")])
    router = FakeRouter(RouterReport(1, 0, 0), clock)
    if not getattr(request, "param", True):
        redis.answers.clear()
    causes: list[SharedCause] = []
    log, lines = capturing_log()
    dashboard = Dashboard(
        registry=cast("BotRegistry", registry),
        router=router.address,
        fleet=cast("FleetControl", FakeFleet()),
        accounts=cast("AccountAdmin", redis),
        store=cast("AccountStore", redis),
        traffic=Traffic(),
        about={"version": "0"},
        config=dict,
        causes=cast("LastingCauses", FakeCauses(causes)),
        epoch="e",
        clock=clock,
        log=log,
    )
    services = (router, dashboard)
    for one in services:
        await one.start()
    tasks = [asyncio.create_task(one.run()) for one in services]
    await settle()
    yield DashboardEnv(clock, registry, router, redis, dashboard, causes, lines)
    for one in reversed(services):
        one.stop()
    await settle()
    await clock.advance(60)
    await asyncio.gather(*tasks)


def events(watcher: Watcher) -> list[tuple[str, dict[str, Any]]]:
    """Take what has arrived."""
    chunks, found = b"".join(watcher._chunks), []
    watcher._chunks.clear()
    for block in chunks.decode().split("\n\n"):
        with contextlib.suppress(ValueError):
            _, name, data = block.split("\n")
            found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


async def test_unwatched_it_looks_once_per_point_of_the_history(env: DashboardEnv) -> None:
    before = env.router.times, env.redis.times
    await env.clock.advance(600)
    assert env.router.times - before[0] == 60
    assert env.redis.times - before[1] == 10


async def test_watched_it_looks_and_tells_twice_a_second_however_much_happens(
    env: DashboardEnv,
) -> None:
    watcher = await env.watch()
    events(watcher)
    told = 0
    for step in range(100):  # ten seconds
        env.fleet(bot("bot-1", list(BotState)[step % 11]))
        await env.clock.advance(0.1)
        told += len(events(watcher))
    assert 18 <= told <= 21


async def test_what_does_not_change_is_not_told(env: DashboardEnv) -> None:
    watcher = await env.watch()
    events(watcher)
    await env.clock.advance(9)
    told = events(watcher)
    assert all(set(data) <= {"at", "history"} for _, data in told)
    assert len(told) <= 1


async def test_no_page_waits_long_for_redis_and_an_order_makes_it_look_at_once(
    env: DashboardEnv,
) -> None:
    watcher = await env.watch()
    events(watcher)
    env.redis.rows = [account("axe"), account("bane")]
    await env.clock.advance(1)
    assert not any("accounts" in data for _, data in events(watcher))
    env.dashboard.refresh()
    await env.clock.advance(1)
    told = [data["accounts"] for _, data in events(watcher) if "accounts" in data]
    assert [row["account"] for row in told[0]] == ["bane"]
    env.redis.rows = [account("axe")]
    await env.clock.advance(6)
    assert any(data.get("gone_accounts") == ["bane"] for _, data in events(watcher))


async def test_while_redis_is_away_what_was_known_stays_and_the_headline_says_so(
    env: DashboardEnv,
) -> None:
    watcher = await env.watch()
    events(watcher)
    env.redis.is_away = True
    await env.clock.advance(6)
    told = [data for _, data in events(watcher) if "headlines" in data]
    assert "Redis is unreachable" in told[-1]["headlines"][0]["text"]
    assert not any("gone_accounts" in data for data in told)
    ((name, whole),) = events(await env.watch())
    assert name == "snapshot"
    assert [row["account"] for row in whole["accounts"]] == ["axe"]


async def test_a_redis_that_does_not_answer_keeps_nothing_else_from_being_told(
    env: DashboardEnv,
) -> None:
    watcher = await env.watch()
    events(watcher)
    env.redis.answers.clear()
    await env.clock.advance(6)
    events(watcher)
    env.fleet(bot("bot-1", BotState.BACKING_OFF))
    env.causes.append(
        SharedCause(CauseKind.REDIS_UNREACHABLE, env.clock.wall(), "silence", frozenset())
    )
    await env.clock.advance(0.5)
    told = [data for _, data in events(watcher)]
    assert told[0]["bots"][0]["state"] == "backing_off"
    assert told[0]["headlines"][0]["kind"] == "redis-unreachable"
    assert await env.alerts() == [line["kind"] for line in told[0]["headlines"]]
    env.redis.rows = [account("bane")]
    env.redis.answers.set()
    await env.clock.advance(0.5)
    known = [data["accounts"] for _, data in events(watcher) if "accounts" in data]
    assert [row["account"] for row in known[0]] == ["bane"]


@pytest.mark.parametrize("env", [False], indirect=True)
async def test_accounts_are_not_said_to_be_missing_before_redis_has_said_so(
    env: DashboardEnv,
) -> None:
    env.redis.rows = []
    await env.clock.advance(REDIS_S)
    assert await env.alerts() == ["well"]
    env.redis.answers.set()
    await settle()
    assert await env.alerts() == ["no-accounts"]


async def test_the_budget_of_a_new_address_is_looked_up_at_once(env: DashboardEnv) -> None:
    watcher = await env.watch()
    events(watcher)
    env.fleet(bot("bot-1", ip="192.0.2.1"))
    await env.clock.advance(0.5)
    told = [data["ips"] for _, data in events(watcher) if "ips" in data]
    assert [row["ip"] for row in told[0]] == ["192.0.2.1"]


async def test_a_router_that_does_not_answer_leaves_the_rest_of_the_snapshot(
    env: DashboardEnv,
) -> None:
    env.router.stop()
    await settle()
    ((_, whole),) = events(await env.watch())
    assert [row["bot_id"] for row in whole["bots"]] == ["bot-1"]
    assert whole["router"] is None


async def test_a_dashboard_that_does_not_run_refuses_watchers(env: DashboardEnv) -> None:
    watcher = await env.watch()
    env.dashboard.stop()
    await settle()
    with pytest.raises(StopAsyncIteration):
        await anext(watcher)
    for ask in (env.watch, env.alerts):
        with pytest.raises(ActorStopped):
            await ask()


async def test_a_bug_in_a_poll_ends_the_run_and_the_next_run_works(
    clock: FakeClock, env: DashboardEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    dashboard = env.dashboard
    dashboard.stop()
    await settle()
    await dashboard.start()
    running = asyncio.create_task(dashboard.run())
    with monkeypatch.context() as patch:
        patch.setattr(env.registry, "reports", lambda: 1 / 0)
        await clock.advance(60)
        with pytest.raises(ZeroDivisionError):
            await running
    await dashboard.start()
    running = asyncio.create_task(dashboard.run())
    assert await env.alerts() == ["well"]
    dashboard.stop()
    await running


async def test_who_left_is_looked_out_for_no_more(env: DashboardEnv) -> None:
    watcher = await env.watch()
    env.dashboard.unwatch(watcher)
    before = env.router.times
    await env.clock.advance(100)
    assert env.router.times - before == 10


async def test_a_quiet_stream_gives_a_sign_of_life(env: DashboardEnv) -> None:
    watcher = await env.watch()
    events(watcher)
    seen = 0
    for _ in range(30):
        await env.clock.advance(1)
        seen += len(watcher._chunks)
        watcher._chunks.clear()
    assert seen >= 2


STEAM = SharedCause(CauseKind.STEAM_UNREACHABLE, 0.0, "connection refused", frozenset({"bot-1"}))
REDIS = SharedCause(CauseKind.REDIS_UNREACHABLE, 0.0, "timed out", frozenset())


async def test_the_alerts_are_of_now_with_and_without_an_open_page(env: DashboardEnv) -> None:
    assert await env.alerts() == ["well"]
    env.fleet(bot("bot-1", BotState.BACKING_OFF))
    env.causes.append(STEAM)
    assert await env.alerts() == ["steam-unreachable"]


async def test_the_alerts_are_those_of_the_page_that_is_open(env: DashboardEnv) -> None:
    watcher = await env.watch()
    env.causes.append(STEAM)
    await env.clock.advance(0.5)
    told = [data["headlines"] for _, data in events(watcher) if "headlines" in data]
    assert [line["kind"] for line in told[-1]] == await env.alerts()


async def test_who_asks_for_alerts_waits_for_no_redis_that_is_known_to_be_away(
    env: DashboardEnv,
) -> None:
    await env.alerts()
    await env.clock.advance(6)
    env.redis.is_away = True
    env.causes.append(REDIS)
    before = env.redis.times
    assert (await env.alerts())[0] == "redis-unreachable"
    assert env.redis.times == before


async def test_a_cause_is_in_the_log_within_a_second_also_when_no_page_is_open(
    env: DashboardEnv,
) -> None:
    await env.clock.advance(3)
    env.causes.append(STEAM)
    await env.clock.advance(1)
    assert [line["event"] for line in env.lines] == ["shared_cause_begun"]
    assert (env.lines[0]["bots"], env.lines[0]["of"]) == (1, 1)
    env.causes.clear()
    await env.clock.advance(1)
    assert [line["event"] for line in env.lines] == ["shared_cause_begun", "shared_cause_ended"]
