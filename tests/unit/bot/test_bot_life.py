"""One run of a bot, in virtual time: the order of its steps, and what it leaves."""

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


async def test_a_stop_logs_off_closes_and_then_gives_the_account_back(bot_env: BotUnitEnv) -> None:
    await bot_env.until_ready()
    bot_env.bot.stop()
    assert await bot_env.end() is None
    assert bot_env.script.calls[-3:] == LETTING_GO
    assert bot_env.states[-2:] == [BotState.DRAINING, BotState.STOPPED]
    assert bot_env.store.held == {}


async def test_after_a_stop_giving_back_is_tried_until_redis_answers(bot_env: BotUnitEnv) -> None:
    await bot_env.until_ready()
    bot_env.script.errors["release"] = StoreUnavailable("release")
    bot_env.bot.stop()
    await bot_env.clock.advance(1.0)
    assert await bot_env.end() is None
    assert bot_env.script.calls[-4:] == [*LETTING_GO, "release"]
    assert bot_env.store.held == {}


async def test_a_stop_lets_a_running_request_finish_first(bot_env: BotUnitEnv) -> None:
    await bot_env.until_ready()
    hold = bot_env.script.held["request 5"] = asyncio.Event()
    deadline = bot_env.clock.now() + 60
    asked = asyncio.create_task(bot_env.address.ask(ServeMatch(5, 5.0), deadline=deadline))
    await settle()
    bot_env.bot.stop()
    await settle()
    assert "log_off" not in bot_env.script.calls
    hold.set()
    assert await asked == b"answer 5"
    assert await bot_env.end() is None
    assert bot_env.script.calls[-3:] == LETTING_GO


async def test_a_stop_waits_for_no_late_answer(bot_env: BotUnitEnv) -> None:
    await bot_env.until_ready()
    bot_env.script.held["request 5"] = asyncio.Event()
    serve = ServeMatch(5, 5.0, late_s=math.inf)
    asked = asyncio.create_task(bot_env.address.ask(serve, deadline=math.inf))
    await settle()
    bot_env.bot.stop()
    await bot_env.clock.advance(4.9)
    assert not asked.done()  # it may finish
    await bot_env.clock.advance(0.2)
    with pytest.raises(GcUnavailable):
        await asked
    assert await bot_env.end() is None
    assert bot_env.script.calls[-3:] == LETTING_GO


async def test_a_stop_waits_for_no_request_whose_sender_has_left(bot_env: BotUnitEnv) -> None:
    await bot_env.until_ready()
    bot_env.script.held["request 5"] = asyncio.Event()
    asked = asyncio.create_task(bot_env.address.ask(ServeMatch(5, 500.0), deadline=math.inf))
    await settle()
    asked.cancel()
    bot_env.bot.stop()
    assert await bot_env.end() is None
    assert bot_env.script.calls[-3:] == LETTING_GO


async def test_a_late_answer_of_a_bot_that_stays_is_accepted(bot_env: BotUnitEnv) -> None:
    await bot_env.until_ready()
    hold = bot_env.script.held["request 5"] = asyncio.Event()
    serve = ServeMatch(5, 5.0, late_s=math.inf)
    asked = asyncio.create_task(bot_env.address.ask(serve, deadline=math.inf))
    await bot_env.clock.advance(1000.0)
    hold.set()
    assert await asked == b"answer 5"


async def test_a_spare_account_is_taken_before_the_present_one_is_let_go(clock: FakeClock) -> None:
    async with bot_unit_env(clock, accounts=("axe", "bane")) as bot_env:
        await bot_env.until_ready()
        bot_env.address.tell(Relog("silent", spare_rest_s=600.0))
        assert isinstance(await bot_env.end(), BudgetIsSpent)
        assert bot_env.states[-1] is BotState.EXHAUSTED
        assert bot_env.store.cooldowns == {"axe": (600.0, "silent")}
        assert list(bot_env.store.held) == ["bane"]  # for the next run
        assert bot_env.bot._memory.account == "bane"


async def test_without_a_spare_account_nothing_changes(clock: FakeClock) -> None:
    async with bot_unit_env(clock, accounts=("axe",)) as bot_env:
        await bot_env.until_ready()
        bot_env.address.tell(Relog("silent", spare_rest_s=600.0))
        await settle()
        assert bot_env.states[-1] is BotState.READY
        assert list(bot_env.store.held) == ["axe"]
        answer = await bot_env.address.ask(ServeMatch(5, 5.0), deadline=bot_env.clock.now() + 60)
        assert answer == b"answer 5"


async def test_redis_that_is_away_is_no_reason_to_leave(clock: FakeClock) -> None:
    async with bot_unit_env(clock, accounts=("axe", "bane")) as bot_env:
        await bot_env.until_ready()
        bot_env.script.errors["acquire"] = StoreUnavailable("acquire")
        bot_env.address.tell(Relog("silent", spare_rest_s=600.0))
        await settle()
        assert bot_env.states[-1] is BotState.READY


async def test_a_checkout_without_an_answer_may_have_leased_any_account(clock: FakeClock) -> None:
    async with bot_unit_env(clock, accounts=("axe",)) as bot_env:
        memory = bot_env.bot._memory
        memory.account = "bane"  # of the previous run
        bot_env.script.errors["acquire"] = StoreUnavailable("acquire")
        assert isinstance(await bot_env.end(), StoreUnavailable)
        assert memory.account == ANY_HELD


async def test_questions_about_players_are_served_only_while_it_is_ready(
    bot_env: BotUnitEnv,
) -> None:
    deadline = bot_env.clock.now() + 60
    await bot_env.until_ready()
    assert await bot_env.address.ask(ServeProfile(7, 5.0), deadline=deadline) == b"card 7"
    answer = await bot_env.address.ask(ServeAliases((8, 9), 5.0), deadline=deadline)
    assert answer == b"names of 2"
    bot_env.script.errors["profile 7"] = SteamUnreachable("session", "gone")
    with pytest.raises(SteamUnreachable):
        await bot_env.address.ask(ServeProfile(7, 5.0), deadline=deadline)
    bot_env.drop(GcLost("gone"))
    with pytest.raises(GcUnavailable):
        await bot_env.address.ask(ServeProfile(7, 5.0), deadline=deadline)


async def test_several_requests_run_at_once_and_may_end_in_any_order(bot_env: BotUnitEnv) -> None:
    await bot_env.until_ready()
    holds = {n: bot_env.script.held.setdefault(f"request {n}", asyncio.Event()) for n in (1, 2)}
    deadline = bot_env.clock.now() + 60
    asked = {
        n: asyncio.create_task(bot_env.address.ask(ServeMatch(n, 5.0), deadline=deadline))
        for n in holds
    }
    await settle()
    holds[2].set()
    assert await asked[2] == b"answer 2"
    assert not asked[1].done()
    holds[1].set()
    assert await asked[1] == b"answer 1"


async def test_a_dropped_connection_keeps_the_lease_for_the_next_life(bot_env: BotUnitEnv) -> None:
    await bot_env.until_ready()
    bot_env.drop(Dropped("gone"))
    assert isinstance(await bot_env.end(), SteamUnreachable)
    assert "release" not in bot_env.script.calls
    assert bot_env.store.held == {"axe": 1}
    assert bot_env.states[-1] is BotState.BACKING_OFF


async def test_being_replaced_gives_the_account_up_for_a_while(bot_env: BotUnitEnv) -> None:
    await bot_env.until_ready()
    bot_env.drop(Dropped("logged off", 34))
    assert isinstance(await bot_env.end(), SteamUnreachable)
    assert bot_env.store.held == {}
    assert bot_env.store.cooldowns["axe"][0] > 60


async def test_a_spent_budget_cools_the_account_down_until_it_frees(bot_env: BotUnitEnv) -> None:
    await bot_env.until_ready()
    bot_env.address.tell(BudgetSpent(3600.0))
    assert isinstance(await bot_env.end(), BudgetIsSpent)
    assert bot_env.states[-1] is BotState.EXHAUSTED
    assert bot_env.store.cooldowns["axe"][0] == 3600.0
    assert bot_env.script.calls[-4:] == ["log_off", "close", "cool_down", "release"]


async def test_a_lost_lease_is_left_at_once_and_not_released(bot_env: BotUnitEnv) -> None:
    await bot_env.until_ready()
    bot_env.store.held["axe"] = 99  # the token of a newer holder
    await bot_env.clock.advance(LEASE_S / 3)
    assert isinstance(await bot_env.end(), LeaseLost)
    assert bot_env.script.calls[-2:] == ["log_off", "close"]


async def test_a_bot_that_is_to_check_its_lease_renews_at_once_and_says_that_it_is_ready(
    bot_env: BotUnitEnv,
) -> None:
    await bot_env.until_ready()
    said, done = len(bot_env.changes), len(bot_env.script.calls)
    bot_env.address.tell(CheckLease())
    await bot_env.until_settled()
    assert bot_env.script.calls[done:] == ["renew"]
    assert [one.ready_bot for one in bot_env.changes[said:]] == [
        bot_env.changes[said - 1].ready_bot
    ]


async def test_a_bot_that_is_to_check_a_lease_it_lost_leaves_at_once(bot_env: BotUnitEnv) -> None:
    await bot_env.until_ready()
    bot_env.store.held["axe"] = 99  # the token of a newer holder
    bot_env.address.tell(CheckLease())
    assert isinstance(await bot_env.end(), LeaseLost)
    assert bot_env.states[-1] is BotState.BACKING_OFF


async def test_who_is_served_learns_at_once_that_the_lease_is_lost(bot_env: BotUnitEnv) -> None:
    await bot_env.until_ready()
    bot_env.script.held["request 5"] = asyncio.Event()
    bot_env.script.held["log_off"] = asyncio.Event()  # slow
    deadline = bot_env.clock.now() + 600
    asked = asyncio.create_task(bot_env.address.ask(ServeMatch(5, 5.0), deadline=deadline))
    await settle()
    bot_env.store.held["axe"] = 99  # the token of a newer holder
    await bot_env.clock.advance(LEASE_S / 3)
    with pytest.raises(GcUnavailable):
        await asked
    bot_env.script.held["log_off"].set()
    assert isinstance(await bot_env.end(), LeaseLost)


async def test_a_lease_lost_while_draining_ends_the_wait_for_what_is_served(
    bot_env: BotUnitEnv,
) -> None:
    await bot_env.until_ready()
    bot_env.script.held["request 5"] = asyncio.Event()
    deadline = bot_env.clock.now() + 600
    asked = asyncio.create_task(bot_env.address.ask(ServeMatch(5, 500.0), deadline=deadline))
    await settle()
    bot_env.bot.stop()
    await settle()
    assert "log_off" not in bot_env.script.calls
    bot_env.store.held["axe"] = 99  # the token of a newer holder
    await bot_env.clock.advance(LEASE_S / 3)
    assert await bot_env.end() is None
    with pytest.raises(GcUnavailable):
        await asked
    assert "log_off" in bot_env.script.calls
    assert bot_env.states[-1] is BotState.STOPPED


async def test_an_unreachable_redis_fences_the_bot_before_its_lease_ends(
    bot_env: BotUnitEnv,
) -> None:
    await bot_env.until_ready()
    began = bot_env.clock.now()
    bot_env.script.errors["renew"] = StoreUnavailable("renew")
    while not bot_env.run.done():
        bot_env.script.errors["renew"] = StoreUnavailable("renew")
        await bot_env.clock.advance(1.0)
    assert isinstance(bot_env.run.exception(), LeaseLost)
    assert bot_env.clock.now() - began <= LEASE_S - 8.0


async def test_a_lost_gc_session_takes_the_seat_away_until_it_is_back(bot_env: BotUnitEnv) -> None:
    await bot_env.until_ready()
    bot_env.drop(GcLost("no session"))
    assert bot_env.changes[-1].state is BotState.LAUNCHING
    assert bot_env.changes[-1].ready_bot is None
    bot_env.drop(GcReady())
    assert bot_env.changes[-1].ready_bot is not None


async def test_a_gc_session_that_does_not_return_ends_the_life(bot_env: BotUnitEnv) -> None:
    await bot_env.until_ready()
    bot_env.drop(GcLost("no session"))
    await bot_env.clock.advance(5 * 60.0)
    assert not bot_env.run.done()  # a log-on cannot restore a GC that is down
    await bot_env.clock.advance(6 * 60.0)
    assert isinstance(await bot_env.end(), GcUnavailable)
    assert bot_env.script.calls[-3:] == LETTING_GO


async def test_an_account_that_plays_elsewhere_is_left_after_a_minute(bot_env: BotUnitEnv) -> None:
    await bot_env.until_ready()
    bot_env.drop(GcLost("another session of the account is playing", plays_elsewhere=True))
    await bot_env.clock.advance(61.0)
    assert isinstance(await bot_env.end(), PlayingElsewhere)
    assert bot_env.changes[-1].result is LogonResult.PLAYING_ELSEWHERE


async def test_a_request_to_a_bot_without_a_gc_session_fails_at_once(bot_env: BotUnitEnv) -> None:
    await bot_env.until_ready()
    bot_env.drop(GcLost("no session"))
    with pytest.raises(GcUnavailable):
        await bot_env.address.ask(ServeMatch(5, 5.0), deadline=bot_env.clock.now() + 60)


async def test_a_bot_that_has_ended_refuses_a_match_at_once(bot_env: BotUnitEnv) -> None:
    await bot_env.until_ready()
    bot_env.drop(Dropped("gone"))
    await bot_env.end()
    with pytest.raises(ActorStopped):
        await bot_env.address.ask(ServeMatch(5, 5.0), deadline=bot_env.clock.now() + 60)


async def test_a_bot_without_an_account_is_silent(bot_env: BotUnitEnv) -> None:
    for _ in range(2):
        await bot_env.store.acquire("another instance")
    with capture_logs() as lines:
        await bot_env.until_settled()
        await bot_env.clock.advance(3600.0)
        assert bot_env.script.calls.count("acquire") > 300
        assert lines == []


@pytest.mark.parametrize("deed", ["acquire", "open", "authenticate", "log_on", "launch"])
async def test_a_stop_at_any_moment_ends_the_life_without_blame(
    bot_env: BotUnitEnv, deed: str
) -> None:
    bot_env.script.held[deed] = asyncio.Event()
    await bot_env.until_settled()
    assert bot_env.script.calls[-1] == deed
    bot_env.bot.stop()
    assert await bot_env.end() is None
    assert bot_env.states[-1] is BotState.STOPPED


async def test_no_free_account_is_waited_for_and_says_when_a_budget_frees(clock: FakeClock) -> None:
    async with bot_unit_env(clock, accounts=()) as bot_env:
        await bot_env.until_settled()
        await clock.advance(20.0)
        assert bot_env.script.calls.count("acquire") in range(3, 10)
        assert bot_env.changes[-1].budget_frees_in == 30.0


async def test_it_is_in_service_from_when_it_is_ready_first(bot_env: BotUnitEnv) -> None:
    bot_env.script.held["launch"] = asyncio.Event()
    await bot_env.until_settled()
    await bot_env.clock.advance(30.0)
    assert bot_env.bot.in_service_since is None
    bot_env.script.held["launch"].set()
    await bot_env.until_ready()
    ready_at = bot_env.clock.now()
    await bot_env.clock.advance(5.0)
    bot_env.drop(GcLost("restarted"))
    bot_env.drop(GcReady())
    await bot_env.until_ready()
    assert bot_env.bot.in_service_since == ready_at


async def test_the_session_is_told_until_when_the_lease_allows_it(bot_env: BotUnitEnv) -> None:
    begun = bot_env.clock.now()
    await bot_env.until_ready()
    assert bot_env.steam.link is not None
    assert bot_env.steam.link.fence_at == begun + LEASE_S - 8.0
    await bot_env.clock.advance(LEASE_S / 3)
    assert bot_env.steam.link.fence_at == begun + LEASE_S / 3 + LEASE_S - 8.0


# -- published and logged ------------------------------------------------------------------------


async def test_a_log_on_that_has_to_wait_says_for_what(bot_env: BotUnitEnv) -> None:
    bot_env.limiter.waits = [Wait(5.0, "rate-limit"), Wait(5.0, "pacing")]
    await bot_env.until_settled()
    await bot_env.clock.advance(30)
    waits = [change.waits for change in bot_env.changes if change.waits is not None]
    assert waits == ["rate-limit", "pacing"]
    assert bot_env.changes[-1].waits is None


async def test_a_failure_tells_the_cause_that_it_is_part_of(bot_env: BotUnitEnv) -> None:
    bot_env.script.errors["open"] = error = SteamUnreachable("connect", "cm1:443: refused")
    with capture_logs() as lines:
        assert await bot_env.end() is error
    assert error.is_reported
    assert bot_env.changes[-1].state is BotState.BACKING_OFF
    assert bot_env.changes[-1].cause is CauseKind.STEAM_UNREACHABLE
    assert {line["log_level"] for line in lines if line["event"] == "bot_state_changed"} == {
        "debug"
    }
