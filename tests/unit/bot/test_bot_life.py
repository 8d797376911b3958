"""One life of a bot, in virtual time: what it does in which order, and what it leaves behind."""

from __future__ import annotations

import asyncio
import math

import pytest
from structlog.testing import capture_logs
from support.bot_unit_env import LEASE_S, BotUnitEnv, bot_unit_env
from support.fake_clock import FakeClock, settle

from actors.accounts.logon_limiter import Wait
from actors.accounts.models import ANY_HELD
from actors.bot.eresults import LogonResult
from actors.bot.messages import (
    BudgetSpent,
    CheckLease,
    Relog,
    ServeAliases,
    ServeMatch,
    ServeProfile,
)
from actors.bot.shared_causes import CauseKind
from actors.bot.states import BotState
from actors.errors import (
    ActorStopped,
    BudgetIsSpent,
    GcUnavailable,
    LeaseLost,
    PlayingElsewhere,
    SteamUnreachable,
    StoreUnavailable,
)
from actors.steam.port import Dropped, GcLost, GcReady

pytestmark = pytest.mark.usefixtures("no_leaks")

LETTING_GO = ["log_off", "close", "release"]


async def test_a_stop_logs_off_closes_and_then_gives_the_account_back(stage: BotUnitEnv) -> None:
    await stage.until_ready()
    stage.bot.stop()
    assert await stage.end() is None
    assert stage.script.calls[-3:] == LETTING_GO
    assert stage.states[-2:] == [BotState.DRAINING, BotState.STOPPED]
    assert stage.store.held == {}


async def test_after_a_stop_giving_back_is_tried_until_redis_answers(stage: BotUnitEnv) -> None:
    await stage.until_ready()
    stage.script.errors["release"] = StoreUnavailable("release")
    stage.bot.stop()
    await stage.clock.advance(1.0)
    assert await stage.end() is None
    assert stage.script.calls[-4:] == [*LETTING_GO, "release"]
    assert stage.store.held == {}


async def test_a_stop_lets_a_running_request_finish_first(stage: BotUnitEnv) -> None:
    await stage.until_ready()
    hold = stage.script.held["request 5"] = asyncio.Event()
    deadline = stage.clock.now() + 60
    asked = asyncio.create_task(stage.address.ask(ServeMatch(5, 5.0), deadline=deadline))
    await settle()
    stage.bot.stop()
    await settle()
    assert "log_off" not in stage.script.calls
    hold.set()
    assert await asked == b"answer 5"
    assert await stage.end() is None
    assert stage.script.calls[-3:] == LETTING_GO


async def test_a_stop_waits_for_no_late_answer(stage: BotUnitEnv) -> None:
    await stage.until_ready()
    stage.script.held["request 5"] = asyncio.Event()
    serve = ServeMatch(5, 5.0, late_s=math.inf)
    asked = asyncio.create_task(stage.address.ask(serve, deadline=math.inf))
    await settle()
    stage.bot.stop()
    await stage.clock.advance(4.9)
    assert not asked.done()  # it has its time
    await stage.clock.advance(0.2)
    with pytest.raises(GcUnavailable):
        await asked
    assert await stage.end() is None
    assert stage.script.calls[-3:] == LETTING_GO


async def test_a_late_answer_of_a_bot_that_stays_is_accepted(stage: BotUnitEnv) -> None:
    await stage.until_ready()
    hold = stage.script.held["request 5"] = asyncio.Event()
    serve = ServeMatch(5, 5.0, late_s=math.inf)
    asked = asyncio.create_task(stage.address.ask(serve, deadline=math.inf))
    await stage.clock.advance(1000.0)
    hold.set()
    assert await asked == b"answer 5"


async def test_a_spare_account_is_taken_before_the_present_one_is_let_go(clock: FakeClock) -> None:
    async with bot_unit_env(clock, accounts=("axe", "bane")) as stage:
        await stage.until_ready()
        stage.address.tell(Relog("silent", spare_rest_s=600.0))
        assert isinstance(await stage.end(), BudgetIsSpent)
        assert stage.states[-1] is BotState.EXHAUSTED
        assert stage.store.cooldowns == {"axe": (600.0, "silent")}
        assert list(stage.store.held) == ["bane"]  # for the next life
        assert stage.bot._memory.account == "bane"


async def test_without_a_spare_account_nothing_changes(clock: FakeClock) -> None:
    async with bot_unit_env(clock, accounts=("axe",)) as stage:
        await stage.until_ready()
        stage.address.tell(Relog("silent", spare_rest_s=600.0))
        await settle()
        assert stage.states[-1] is BotState.READY
        assert list(stage.store.held) == ["axe"]
        answer = await stage.address.ask(ServeMatch(5, 5.0), deadline=stage.clock.now() + 60)
        assert answer == b"answer 5"


async def test_redis_that_is_away_is_no_reason_to_leave(clock: FakeClock) -> None:
    async with bot_unit_env(clock, accounts=("axe", "bane")) as stage:
        await stage.until_ready()
        stage.script.errors["acquire"] = StoreUnavailable("acquire")
        stage.address.tell(Relog("silent", spare_rest_s=600.0))
        await settle()
        assert stage.states[-1] is BotState.READY


async def test_a_checkout_without_an_answer_may_have_leased_any_account(clock: FakeClock) -> None:
    async with bot_unit_env(clock, accounts=("axe",)) as stage:
        memory = stage.bot._memory
        memory.account = "bane"  # of the life before
        stage.script.errors["acquire"] = StoreUnavailable("acquire")
        assert isinstance(await stage.end(), StoreUnavailable)
        assert memory.account == ANY_HELD


async def test_questions_about_players_are_served_only_while_it_is_ready(stage: BotUnitEnv) -> None:
    deadline = stage.clock.now() + 60
    await stage.until_ready()
    assert await stage.address.ask(ServeProfile(7, 5.0), deadline=deadline) == b"card 7"
    answer = await stage.address.ask(ServeAliases((8, 9), 5.0), deadline=deadline)
    assert answer == b"names of 2"
    stage.script.errors["profile 7"] = SteamUnreachable("session", "gone")
    with pytest.raises(SteamUnreachable):
        await stage.address.ask(ServeProfile(7, 5.0), deadline=deadline)
    stage.drop(GcLost("gone"))
    with pytest.raises(GcUnavailable):
        await stage.address.ask(ServeProfile(7, 5.0), deadline=deadline)


async def test_several_requests_run_at_once_and_may_end_in_any_order(stage: BotUnitEnv) -> None:
    await stage.until_ready()
    holds = {n: stage.script.held.setdefault(f"request {n}", asyncio.Event()) for n in (1, 2)}
    deadline = stage.clock.now() + 60
    asked = {
        n: asyncio.create_task(stage.address.ask(ServeMatch(n, 5.0), deadline=deadline))
        for n in holds
    }
    await settle()
    holds[2].set()
    assert await asked[2] == b"answer 2"
    assert not asked[1].done()
    holds[1].set()
    assert await asked[1] == b"answer 1"


async def test_a_dropped_connection_keeps_the_lease_for_the_next_life(stage: BotUnitEnv) -> None:
    await stage.until_ready()
    stage.drop(Dropped("gone"))
    assert isinstance(await stage.end(), SteamUnreachable)
    assert "release" not in stage.script.calls
    assert stage.store.held == {"axe": 1}
    assert stage.states[-1] is BotState.BACKING_OFF


async def test_being_replaced_gives_the_account_up_for_a_while(stage: BotUnitEnv) -> None:
    await stage.until_ready()
    stage.drop(Dropped("logged off", 34))
    assert isinstance(await stage.end(), SteamUnreachable)
    assert stage.store.held == {}
    assert stage.store.cooldowns["axe"][0] > 60


async def test_a_spent_budget_cools_the_account_down_until_it_frees(stage: BotUnitEnv) -> None:
    await stage.until_ready()
    stage.address.tell(BudgetSpent(3600.0))
    assert isinstance(await stage.end(), BudgetIsSpent)
    assert stage.states[-1] is BotState.EXHAUSTED
    assert stage.store.cooldowns["axe"][0] == 3600.0
    assert stage.script.calls[-4:] == ["log_off", "close", "cool_down", "release"]


async def test_a_lost_lease_is_left_at_once_and_not_released(stage: BotUnitEnv) -> None:
    await stage.until_ready()
    stage.store.held["axe"] = 99  # the token of a newer holder
    await stage.clock.advance(LEASE_S / 3)
    assert isinstance(await stage.end(), LeaseLost)
    assert stage.script.calls[-2:] == ["log_off", "close"]


async def test_a_bot_that_is_to_check_its_lease_renews_at_once_and_says_that_it_is_ready(
    stage: BotUnitEnv,
) -> None:
    await stage.until_ready()
    said, done = len(stage.changes), len(stage.script.calls)
    stage.address.tell(CheckLease())
    await stage.until_settled()
    assert stage.script.calls[done:] == ["renew"]
    assert [one.seat for one in stage.changes[said:]] == [stage.changes[said - 1].seat]


async def test_a_bot_that_is_to_check_a_lease_it_lost_leaves_at_once(stage: BotUnitEnv) -> None:
    await stage.until_ready()
    stage.store.held["axe"] = 99  # the token of a newer holder
    stage.address.tell(CheckLease())
    assert isinstance(await stage.end(), LeaseLost)
    assert stage.states[-1] is BotState.BACKING_OFF


async def test_who_is_served_learns_at_once_that_the_lease_is_lost(stage: BotUnitEnv) -> None:
    await stage.until_ready()
    stage.script.held["request 5"] = asyncio.Event()
    stage.script.held["log_off"] = asyncio.Event()  # takes its time
    deadline = stage.clock.now() + 600
    asked = asyncio.create_task(stage.address.ask(ServeMatch(5, 5.0), deadline=deadline))
    await settle()
    stage.store.held["axe"] = 99  # the token of a newer holder
    await stage.clock.advance(LEASE_S / 3)
    with pytest.raises(GcUnavailable):
        await asked
    stage.script.held["log_off"].set()
    assert isinstance(await stage.end(), LeaseLost)


async def test_a_lease_lost_while_draining_ends_the_wait_for_what_is_served(
    stage: BotUnitEnv,
) -> None:
    await stage.until_ready()
    stage.script.held["request 5"] = asyncio.Event()
    deadline = stage.clock.now() + 600
    asked = asyncio.create_task(stage.address.ask(ServeMatch(5, 500.0), deadline=deadline))
    await settle()
    stage.bot.stop()
    await settle()
    assert "log_off" not in stage.script.calls
    stage.store.held["axe"] = 99  # the token of a newer holder
    await stage.clock.advance(LEASE_S / 3)
    assert await stage.end() is None
    with pytest.raises(GcUnavailable):
        await asked
    assert "log_off" in stage.script.calls
    assert stage.states[-1] is BotState.STOPPED


async def test_an_unreachable_redis_fences_the_bot_before_its_lease_ends(stage: BotUnitEnv) -> None:
    await stage.until_ready()
    began = stage.clock.now()
    stage.script.errors["renew"] = StoreUnavailable("renew")
    while not stage.run.done():
        stage.script.errors["renew"] = StoreUnavailable("renew")
        await stage.clock.advance(1.0)
    assert isinstance(stage.run.exception(), LeaseLost)
    assert stage.clock.now() - began <= LEASE_S - 8.0


async def test_a_lost_gc_session_takes_the_seat_away_until_it_is_back(stage: BotUnitEnv) -> None:
    await stage.until_ready()
    stage.drop(GcLost("no session"))
    assert stage.changes[-1].state is BotState.LAUNCHING
    assert stage.changes[-1].seat is None
    stage.drop(GcReady())
    assert stage.changes[-1].seat is not None


async def test_a_gc_session_that_does_not_return_ends_the_life(stage: BotUnitEnv) -> None:
    await stage.until_ready()
    stage.drop(GcLost("no session"))
    await stage.clock.advance(5 * 60.0)
    assert not stage.run.done()  # a log-on does not bring a GC back that is away
    await stage.clock.advance(6 * 60.0)
    assert isinstance(await stage.end(), GcUnavailable)
    assert stage.script.calls[-3:] == LETTING_GO


async def test_an_account_that_plays_elsewhere_is_left_after_a_minute(stage: BotUnitEnv) -> None:
    await stage.until_ready()
    stage.drop(GcLost("another session of the account is playing", plays_elsewhere=True))
    await stage.clock.advance(61.0)
    assert isinstance(await stage.end(), PlayingElsewhere)
    assert stage.changes[-1].result is LogonResult.PLAYING_ELSEWHERE


async def test_a_request_to_a_bot_without_a_gc_session_fails_at_once(stage: BotUnitEnv) -> None:
    await stage.until_ready()
    stage.drop(GcLost("no session"))
    with pytest.raises(GcUnavailable):
        await stage.address.ask(ServeMatch(5, 5.0), deadline=stage.clock.now() + 60)


async def test_a_bot_that_has_ended_refuses_a_match_at_once(stage: BotUnitEnv) -> None:
    await stage.until_ready()
    stage.drop(Dropped("gone"))
    await stage.end()
    with pytest.raises(ActorStopped):
        await stage.address.ask(ServeMatch(5, 5.0), deadline=stage.clock.now() + 60)


async def test_a_bot_without_an_account_is_silent(stage: BotUnitEnv) -> None:
    for _ in range(2):
        await stage.store.acquire("another instance")
    with capture_logs() as lines:
        await stage.until_settled()
        await stage.clock.advance(3600.0)
        assert stage.script.calls.count("acquire") > 300
        assert lines == []


@pytest.mark.parametrize("deed", ["acquire", "open", "authenticate", "log_on", "launch"])
async def test_a_stop_at_any_moment_ends_the_life_without_blame(
    stage: BotUnitEnv, deed: str
) -> None:
    stage.script.held[deed] = asyncio.Event()
    await stage.until_settled()
    assert stage.script.calls[-1] == deed
    stage.bot.stop()
    assert await stage.end() is None
    assert stage.states[-1] is BotState.STOPPED


async def test_no_free_account_is_waited_for_and_says_when_a_budget_frees(clock: FakeClock) -> None:
    async with bot_unit_env(clock, accounts=()) as stage:
        await stage.until_settled()
        await clock.advance(20.0)
        assert stage.script.calls.count("acquire") in range(3, 10)
        assert stage.changes[-1].budget_frees_in == 30.0


async def test_it_is_in_service_from_when_it_is_ready_first(stage: BotUnitEnv) -> None:
    stage.script.held["launch"] = asyncio.Event()
    await stage.until_settled()
    await stage.clock.advance(30.0)
    assert stage.bot.in_service_since is None
    stage.script.held["launch"].set()
    await stage.until_ready()
    ready_at = stage.clock.now()
    await stage.clock.advance(5.0)
    stage.drop(GcLost("restarted"))
    stage.drop(GcReady())
    await stage.until_ready()
    assert stage.bot.in_service_since == ready_at


async def test_the_session_is_told_until_when_the_lease_allows_it(stage: BotUnitEnv) -> None:
    begun = stage.clock.now()
    await stage.until_ready()
    assert stage.steam.link is not None
    assert stage.steam.link.fence_at == begun + LEASE_S - 8.0
    await stage.clock.advance(LEASE_S / 3)
    assert stage.steam.link.fence_at == begun + LEASE_S / 3 + LEASE_S - 8.0


# -- what is told and logged of it --------------------------------------------------------------


async def test_a_log_on_that_has_to_wait_says_for_what(stage: BotUnitEnv) -> None:
    stage.limiter.waits = [Wait(5.0, "rate-limit"), Wait(5.0, "pacing")]
    await stage.until_settled()
    await stage.clock.advance(30)
    waits = [change.waits for change in stage.changes if change.waits is not None]
    assert waits == ["rate-limit", "pacing"]
    assert stage.changes[-1].waits is None


async def test_a_failure_tells_the_cause_that_it_is_part_of(stage: BotUnitEnv) -> None:
    stage.script.errors["open"] = error = SteamUnreachable("connect", "cm1:443: refused")
    with capture_logs() as lines:
        assert await stage.end() is error
    assert error.is_reported
    assert stage.changes[-1].state is BotState.BACKING_OFF
    assert stage.changes[-1].cause is CauseKind.STEAM_UNREACHABLE
    assert {line["log_level"] for line in lines if line["event"] == "bot_state_changed"} == {
        "debug"
    }
