"""The router in virtual time: who waits in line, and for what."""

from __future__ import annotations

import asyncio

import pytest
from support.fake_clock import settle
from support.router_env import RouterEnv, after, env_fixture, match, matches_fixture  # noqa: F401 - two are fixtures

from actors.accounts.models import Refused
from actors.bot.states import BotState
from actors.errors import Busy, NotReady, QuotaExhausted, SteamUnreachable
from actors.router.bot_pool import LONGEST_ROTATION_S

pytestmark = pytest.mark.usefixtures("no_leaks")


async def test_the_waiting_line_is_bounded_and_served_in_order(env: RouterEnv) -> None:
    bot = await env.add_bot("a", lambda _: None)
    asked = [env.ask(match_id) for match_id in (1, 2, 3, 4, 5)]  # two fly, two wait
    await settle()
    with pytest.raises(Busy):
        await asked[4]
    assert bot.asked == [1, 2]
    for number in range(4):
        bot.waiting[number].set_result(match(number + 1))
        await settle()
    assert bot.asked == [1, 2, 3, 4]
    assert [(await one).match_id for one in asked[:4]] == [1, 2, 3, 4]


async def test_who_waits_in_line_beyond_the_deadline_is_told_so(env: RouterEnv) -> None:
    await env.add_bot("a", lambda _: None)
    for match_id in (1, 2):
        env.ask(match_id).add_done_callback(lambda done: done.exception())
    waiting = env.ask(3, within=2.0)
    await env.clock.advance(2.0)
    with pytest.raises(Busy):
        await waiting
    await env.clock.advance(60.0)


async def test_who_joins_in_line_has_all_of_its_own_time(env: RouterEnv) -> None:
    await env.add_bot("a", after(3.0))
    for match_id in (1, 2):
        env.ask(match_id)
    hasty = env.ask(7, within=1.0)
    await settle()
    patient = env.ask(7, within=10.0)
    await env.clock.advance(6.0)
    assert (await patient).match_id == 7
    with pytest.raises(TimeoutError):
        await hasty


async def test_who_joins_in_line_makes_it_as_important(env: RouterEnv) -> None:
    bot = await env.add_bot("a", after(1.0))
    asked = [env.ask(match_id) for match_id in (1, 2, 3, 4)]
    await settle()
    asked.append(env.ask(4, priority=5))
    await env.clock.advance(1.0)
    assert bot.asked == [1, 2, 4, 3]
    await env.clock.advance(2.0)
    await asyncio.gather(*asked)


async def test_clients_in_line_take_turns(env: RouterEnv) -> None:
    bot = await env.add_bot("a", after(1.0))
    asked = [env.ask(match_id, client="greedy") for match_id in (1, 2, 3, 4)]
    await settle()
    asked.append(env.ask(5, client="modest"))
    await env.clock.advance(3.0)
    assert bot.asked == [1, 2, 3, 5]  # and for 4 there was no room any more
    with pytest.raises(Busy):
        await asked[3]
    await asyncio.wait(asked)


async def test_who_goes_away_frees_the_place_in_line_at_once(env: RouterEnv) -> None:
    bot = await env.add_bot("a", after(1.0))
    asked = [env.ask(match_id) for match_id in (1, 2, 3, 4)]
    shared = env.ask(4)
    await settle()
    asked[2].cancel()
    asked[3].cancel()
    await settle()
    assert (await env.report()).waiting == 1  # for the caller that shares it
    late = env.ask(5)
    await env.clock.advance(2.0)
    await asyncio.gather(shared, late)
    assert bot.asked == [1, 2, 4, 5]
    await asyncio.wait(asked)


async def test_who_asked_a_bot_that_broke_waits_for_the_next_one(env: RouterEnv) -> None:
    bot = await env.add_bot("a", lambda _: None)
    asked = env.ask(7)
    await settle()
    env.change("a", BotState.BACKING_OFF)
    bot.waiting[0].set_exception(SteamUnreachable("session", "gone"))
    await env.clock.advance(3.0)
    assert not asked.done()
    await env.add_bot("b")
    assert (await asked).match_id == 7


async def test_while_a_bot_takes_another_account_requests_wait_for_it(env: RouterEnv) -> None:
    await env.add_bot("a")
    env.budgets.refusals["account of a"] = Refused("account", 60.0)
    env.change("a", BotState.EXHAUSTED)
    asked = env.ask(7)
    for state in (BotState.WAITING_FOR_ACCOUNT, BotState.CONNECTING, BotState.LAUNCHING):
        env.change("a", state)
        await settle()
        assert not asked.done()
    await env.add_bot("a2")
    assert (await asked).match_id == 7


async def test_a_bot_that_takes_long_for_another_account_is_not_waited_for(
    env: RouterEnv,
) -> None:
    """Steam does not answer it: its earlier rotation, which was quick, gives it no time either."""
    await env.add_bot("a")
    env.change("a", BotState.EXHAUSTED)
    await env.clock.advance(LONGEST_ROTATION_S - 1.0)
    env.say_ready("a")
    await env.clock.advance(0.5)
    env.change("a", BotState.EXHAUSTED)
    env.change("a", BotState.CONNECTING)
    asked = env.ask(7)
    await env.clock.advance(LONGEST_ROTATION_S - 0.5)
    assert not asked.done()
    assert (await env.report()).refusal is None
    await env.clock.advance(0.5)
    with pytest.raises(NotReady):
        await asked
    assert (await env.report()).refusal is not None


@pytest.mark.parametrize("ends", ["nothing_free", "backing_off"])
async def test_when_there_is_no_other_account_no_request_waits_on(
    env: RouterEnv, ends: str
) -> None:
    await env.add_bot("a")
    env.change("a", BotState.EXHAUSTED)
    asked = env.ask(7)
    await settle()
    if ends == "nothing_free":
        env.nothing_free("a", 60.0)
    else:
        env.change("a", BotState.BACKING_OFF)
    with pytest.raises(QuotaExhausted if ends == "nothing_free" else NotReady):
        await asked
