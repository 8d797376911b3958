"""The router in virtual time: who waits in line, and for what."""

from __future__ import annotations

import asyncio

import pytest
from support.fake_clock import settle
from support.router_env import RouterEnv, after, match, matches_fixture, stage_fixture  # noqa: F401 - two are fixtures

from actors.accounts.models import Refused
from actors.bot.states import BotState
from actors.errors import Busy, NotReady, QuotaExhausted, SteamUnreachable
from actors.router.bot_pool import LONGEST_ROTATION_S

pytestmark = pytest.mark.usefixtures("no_leaks")


async def test_the_waiting_line_is_bounded_and_served_in_order(stage: RouterEnv) -> None:
    bot = await stage.add_bot("a", lambda _: None)
    asked = [stage.ask(match_id) for match_id in (1, 2, 3, 4, 5)]  # two fly, two wait
    await settle()
    with pytest.raises(Busy):
        await asked[4]
    assert bot.asked == [1, 2]
    for number in range(4):
        bot.waiting[number].set_result(match(number + 1))
        await settle()
    assert bot.asked == [1, 2, 3, 4]
    assert [(await one).match_id for one in asked[:4]] == [1, 2, 3, 4]


async def test_who_waits_in_line_beyond_the_deadline_is_told_so(stage: RouterEnv) -> None:
    await stage.add_bot("a", lambda _: None)
    for match_id in (1, 2):
        stage.ask(match_id).add_done_callback(lambda done: done.exception())
    waiting = stage.ask(3, within=2.0)
    await stage.clock.advance(2.0)
    with pytest.raises(Busy):
        await waiting
    await stage.clock.advance(60.0)


async def test_who_joins_in_line_has_all_of_its_own_time(stage: RouterEnv) -> None:
    await stage.add_bot("a", after(3.0))
    for match_id in (1, 2):
        stage.ask(match_id)
    hasty = stage.ask(7, within=1.0)
    await settle()
    patient = stage.ask(7, within=10.0)
    await stage.clock.advance(6.0)
    assert (await patient).match_id == 7
    with pytest.raises(TimeoutError):
        await hasty


async def test_who_joins_in_line_makes_it_as_important(stage: RouterEnv) -> None:
    bot = await stage.add_bot("a", after(1.0))
    asked = [stage.ask(match_id) for match_id in (1, 2, 3, 4)]
    await settle()
    asked.append(stage.ask(4, priority=5))
    await stage.clock.advance(1.0)
    assert bot.asked == [1, 2, 4, 3]
    await stage.clock.advance(2.0)
    await asyncio.gather(*asked)


async def test_clients_in_line_take_turns(stage: RouterEnv) -> None:
    bot = await stage.add_bot("a", after(1.0))
    asked = [stage.ask(match_id, client="greedy") for match_id in (1, 2, 3, 4)]
    await settle()
    asked.append(stage.ask(5, client="modest"))
    await stage.clock.advance(3.0)
    assert bot.asked == [1, 2, 3, 5]  # and for 4 there was no room any more
    with pytest.raises(Busy):
        await asked[3]
    await asyncio.wait(asked)


async def test_who_goes_away_frees_the_place_in_line_at_once(stage: RouterEnv) -> None:
    bot = await stage.add_bot("a", after(1.0))
    asked = [stage.ask(match_id) for match_id in (1, 2, 3, 4)]
    shared = stage.ask(4)
    await settle()
    asked[2].cancel()
    asked[3].cancel()
    await settle()
    assert (await stage.report()).waiting == 1  # for the caller that shares it
    late = stage.ask(5)
    await stage.clock.advance(2.0)
    await asyncio.gather(shared, late)
    assert bot.asked == [1, 2, 4, 5]
    await asyncio.wait(asked)


async def test_who_asked_a_bot_that_broke_waits_for_the_next_one(stage: RouterEnv) -> None:
    bot = await stage.add_bot("a", lambda _: None)
    asked = stage.ask(7)
    await settle()
    stage.change("a", BotState.BACKING_OFF)
    bot.waiting[0].set_exception(SteamUnreachable("session", "gone"))
    await stage.clock.advance(3.0)
    assert not asked.done()
    await stage.add_bot("b")
    assert (await asked).match_id == 7


async def test_while_a_bot_takes_another_account_requests_wait_for_it(stage: RouterEnv) -> None:
    await stage.add_bot("a")
    stage.budgets.refusals["account of a"] = Refused("account", 60.0)
    stage.change("a", BotState.EXHAUSTED)
    asked = stage.ask(7)
    for state in (BotState.WAITING_FOR_ACCOUNT, BotState.CONNECTING, BotState.LAUNCHING):
        stage.change("a", state)
        await settle()
        assert not asked.done()
    await stage.add_bot("a2")
    assert (await asked).match_id == 7


async def test_a_bot_that_takes_long_for_another_account_is_not_waited_for(
    stage: RouterEnv,
) -> None:
    """Steam does not answer it: its earlier rotation, which was quick, gives it no time either."""
    await stage.add_bot("a")
    stage.change("a", BotState.EXHAUSTED)
    await stage.clock.advance(LONGEST_ROTATION_S - 1.0)
    stage.say_ready("a")
    await stage.clock.advance(0.5)
    stage.change("a", BotState.EXHAUSTED)
    stage.change("a", BotState.CONNECTING)
    asked = stage.ask(7)
    await stage.clock.advance(LONGEST_ROTATION_S - 0.5)
    assert not asked.done()
    assert (await stage.report()).refusal is None
    await stage.clock.advance(0.5)
    with pytest.raises(NotReady):
        await asked
    assert (await stage.report()).refusal is not None


@pytest.mark.parametrize("ends", ["nothing_free", "backing_off"])
async def test_when_there_is_no_other_account_no_request_waits_on(
    stage: RouterEnv, ends: str
) -> None:
    await stage.add_bot("a")
    stage.change("a", BotState.EXHAUSTED)
    asked = stage.ask(7)
    await settle()
    if ends == "nothing_free":
        stage.nothing_free("a", 60.0)
    else:
        stage.change("a", BotState.BACKING_OFF)
    with pytest.raises(QuotaExhausted if ends == "nothing_free" else NotReady):
        await asked
