"""The router in virtual time: when a second bot is asked, and what becomes of the first."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from support.fake_clock import FakeClock, settle
from support.fake_matches import FakeMatches
from support.router_env import (
    POLICY,
    Answer,
    Later,
    RouterEnv,
    after,
    env_fixture,  # noqa: F401 - a fixture
    match,
    matches_fixture,  # noqa: F401 - a fixture
    routing,
    silence,
)

from actors.errors import SteamUnreachable, StoreUnavailable, TimedOut
from actors.router.bot_health import (
    AT_MOST,
    LEAST_S,
    LONGEST_S,
    PER_ANSWER,
    TIMES,
    TYPICAL_S,
    Hedging,
)
from actors.router.messages import RouterPolicy

pytestmark = pytest.mark.usefixtures("no_leaks")

OVERDUE_S = TIMES * TYPICAL_S  # while no answer was seen


# -- the numbers -----------------------------------------------------------------------------------


def test_overdue_is_a_multiple_of_what_answers_lately_took() -> None:
    hedging = Hedging()
    assert hedging.overdue_s == OVERDUE_S
    for _ in range(100):
        hedging.answered(0.5, 1.0)
    assert hedging.overdue_s == TIMES * 0.5
    for _ in range(100):
        hedging.answered(0.001, 2.0)
    assert hedging.overdue_s == LEAST_S


def test_a_slow_bot_among_many_does_not_move_it() -> None:
    hedging = Hedging()
    for number in range(100):
        hedging.answered(30.0 if number % 10 == 0 else 0.3, 1.0)
    assert hedging.overdue_s == TIMES * 0.3


def test_hedges_are_a_share_of_the_answers() -> None:
    hedging = Hedging()
    hedges = 0
    for _ in range(1000):
        while hedging.is_allowed:
            hedging.hedged()
            hedges += 1
        hedging.answered(0.1, 1.0)
    assert hedges == pytest.approx(AT_MOST + 1000 * PER_ANSWER, abs=1)


# -- moving on -------------------------------------------------------------------------------------


async def test_a_silent_bot_does_not_take_the_whole_deadline(env: RouterEnv) -> None:
    await env.add_bot("a", silence)
    await env.add_bot("b")
    asked = env.ask(7, within=5.0)
    await env.clock.advance(OVERDUE_S)
    assert (await asked).match_id == 7
    assert env.budgets.granted == ["account of a", "account of b"]
    await env.clock.advance(10.0)


async def test_a_slow_bot_may_still_be_the_first(env: RouterEnv) -> None:
    await env.add_bot("a", after(OVERDUE_S + 0.5))
    await env.add_bot("b", after(3.0))
    asked = env.ask(7, within=5.0)
    await env.clock.advance(OVERDUE_S + 0.5)
    assert (await asked).match_id == 7
    await env.clock.advance(10.0)


async def test_with_one_bot_there_is_no_other_to_move_on_to(env: RouterEnv) -> None:
    bot = await env.add_bot("a", after(4.0))
    asked = env.ask(7, within=5.0)
    await env.clock.advance(4.0)
    assert (await asked).match_id == 7
    assert bot.asked == [7]


async def test_when_all_are_busy_a_hedge_makes_it_no_worse(env: RouterEnv) -> None:
    for name in "ab":
        await env.add_bot(name, after(1.5))
    asked = [env.ask(match_id) for match_id in (1, 2, 3, 4)]
    await env.clock.advance(1.5)
    await asyncio.gather(*asked)
    assert len(env.budgets.granted) == 4


async def test_when_every_bot_is_slow_hedges_end(env: RouterEnv) -> None:
    """Then it is the Game Coordinator, and asking twice makes it slower."""
    for number in range(20):
        await env.add_bot(str(number), after(3.0))
    for number in range(60):
        asked = env.ask(number + 1, within=15.0)
        await env.clock.advance(3.5)
        await asked
    assert len(env.budgets.granted) <= 60 + AT_MOST


async def test_without_a_hedge_left_half_of_the_time_is_kept_for_another(
    env: RouterEnv,
) -> None:
    await env.add_bot("a", silence)
    await env.add_bot("b")
    hedging = env.router._health.hedging
    while hedging.is_allowed:
        hedging.hedged()
    asked = env.ask(7, within=5.0)
    await env.clock.advance(2.4)
    assert not asked.done()
    await env.clock.advance(0.1)
    assert (await asked).match_id == 7
    await env.clock.advance(10.0)


async def test_a_silent_gc_is_not_hedged_when_no_bot_is_idle(env: RouterEnv) -> None:
    for number in range(30):
        await env.add_bot(str(number), silence)
    asked = [env.ask(match_id + 1, within=4.5) for match_id in range(30)]
    await env.clock.advance(OVERDUE_S + 0.5)
    assert len(env.budgets.granted) == 30
    for one in asked:
        one.cancel()
    await env.clock.advance(10.0)


async def test_no_bot_is_asked_twice_at_once_for_the_same_match(env: RouterEnv) -> None:
    """Also when it is the only one that has room."""
    bot = await env.add_bot("a", lambda match_id: None if match_id == 7 else match(match_id))
    await env.add_bot("b", after(4.0))
    asked = [env.ask(match_id, within=4.5) for match_id in (7, 1, 2, 3)]
    await env.clock.advance(4.5)
    assert bot.asked[:2] == [7, 2]
    assert env.bots["b"].asked[:2] == [1, 3]
    assert bot.asked.count(7) == 1
    with pytest.raises(TimedOut):
        await asked[0]
    await asyncio.gather(*asked[1:])
    await env.clock.advance(10.0)


async def test_with_one_bot_looking_for_another_costs_no_turn(
    clock: FakeClock, matches: FakeMatches
) -> None:
    policy = RouterPolicy(5.0, max_in_flight=2, min_interval_s=1.0, queue=2)
    async with routing(clock, matches, policy) as env:
        bot = await env.add_bot("a", after(4.0))
        first = env.ask(7, within=5.0)
        await clock.advance(2.6)  # since 2.5 s it would have liked another
        second = env.ask(8, within=5.0)
        await settle()
        assert bot.asked == [7, 8]
        await clock.advance(4.0)
        await asyncio.gather(first, second)


async def test_two_silent_bots_leave_time_for_a_third(env: RouterEnv) -> None:
    await env.add_bot("a", silence)
    await env.add_bot("b", silence)
    asked = env.ask(7, within=5.0)
    await env.clock.advance(OVERDUE_S)  # both are asked now
    await env.add_bot("c")
    await env.clock.advance(3.0)
    assert (await asked).match_id == 7
    await env.clock.advance(10.0)


async def test_no_bot_is_asked_that_would_have_no_time_to_answer(env: RouterEnv) -> None:
    await env.add_bot("a", silence)
    await env.add_bot("b")
    asked = env.ask(7, within=OVERDUE_S + 0.1)
    await env.clock.advance(OVERDUE_S + 0.2)
    with pytest.raises(TimedOut):
        await asked
    assert len(env.budgets.granted) == 1
    await env.clock.advance(10.0)


async def test_a_broken_bot_beside_one_in_the_air_waits_for_that(env: RouterEnv) -> None:
    await env.add_bot("a", after(2.0))
    await env.add_bot("b", lambda _: SteamUnreachable("session", "gone"))
    await env.add_bot("c")
    asked = env.ask(7)
    await env.clock.advance(2.0)
    assert (await asked).match_id == 7
    assert env.bots["c"].asked == []


async def test_when_redis_goes_away_what_is_in_the_air_still_lands(env: RouterEnv) -> None:
    await env.add_bot("a", after(2.0))
    await env.add_bot("b")
    env.budgets.refusals["account of b"] = StoreUnavailable("reserve")
    asked = env.ask(7)
    await env.clock.advance(2.0)
    assert (await asked).match_id == 7
    assert env.bots["b"].asked == []


# -- what is paid for ------------------------------------------------------------------------------


async def test_a_late_answer_is_known_to_the_next_who_asks(env: RouterEnv) -> None:
    bot = await env.add_bot("a", after(4.0))
    asked = env.ask(7, within=1.0)
    await env.clock.advance(3.0)
    with pytest.raises(TimedOut):
        await asked
    again = env.ask(7, within=5.0)  # joins what is in the air
    await env.clock.advance(1.0)
    assert (await again).match_id == 7
    assert (await env.ask(7)).match_id == 7
    assert bot.asked == [7]


async def test_who_goes_away_before_anything_was_sent_costs_nothing(env: RouterEnv) -> None:
    await env.add_bot("a")
    asked = env.ask(7)
    await asyncio.sleep(0)
    asked.cancel()
    await settle()
    assert env.budgets.granted == []
    assert env.matches.claims == {}
    assert (await env.report()).in_flight == 0


async def test_the_answer_for_a_caller_that_went_away_is_kept(env: RouterEnv) -> None:
    bot = await env.add_bot("a", after(1.0))
    asked = env.ask(7)
    await settle()
    asked.cancel()
    await env.clock.advance(1.0)
    assert (await env.ask(7)).match_id == 7
    assert bot.asked == [7]


async def test_no_other_bot_is_asked_for_a_caller_that_went_away(env: RouterEnv) -> None:
    await env.add_bot("a", silence)
    await env.add_bot("b")
    asked = env.ask(7)
    await settle()
    asked.cancel()
    await env.clock.advance(20.0)
    assert env.bots["b"].asked == []
    assert (await env.report()).in_flight == 0


# -- fewer turns -----------------------------------------------------------------------------------


async def serve(env: RouterEnv, count: int, every_s: float) -> Counter[str]:
    """Ask for `count` matches in turn, and return how many requests each bot got."""
    before = Counter(env.budgets.granted)
    for number in range(count):
        asked = env.ask(1000 + len(env.budgets.granted) * 1000 + number, within=5.0)
        await env.clock.advance(every_s)
        await asked
    return Counter(env.budgets.granted) - before


@pytest.mark.parametrize("bad", [silence, after(3.0)])
async def test_a_bot_that_is_slow_or_silent_gets_fewer_turns(env: RouterEnv, bad: Answer) -> None:
    for name in "bcdefghij":
        await env.add_bot(name, after(0.05))
    await env.add_bot("a", bad)
    used = await serve(env, 100, every_s=1.5)
    assert used["account of a"] <= 8
    assert max(used.values()) - min(used[f"account of {name}"] for name in "bcdefghij") <= 4
    await env.clock.advance(10.0)


async def test_a_bot_that_is_fast_again_gets_its_turns_back(env: RouterEnv) -> None:
    speed = 3.0
    for name in "bcd":
        await env.add_bot(name, after(0.05))
    await env.add_bot("a", lambda match_id: Later(speed, match(match_id)))
    await serve(env, 20, every_s=1.5)
    speed = 0.05
    await env.clock.advance(LONGEST_S)
    used = await serve(env, 40, every_s=0.1)
    assert used["account of a"] == pytest.approx(10, abs=1)
    before = len(env.budgets.granted)
    asked = [env.ask(number + 1) for number in range(4 * POLICY.max_in_flight)]
    await settle()
    assert len(env.budgets.granted) == before + len(asked)  # as many at a time as anybody
    await env.clock.advance(1.0)
    await asyncio.gather(*asked)


async def test_demoted_bots_serve_when_there_are_no_others(env: RouterEnv) -> None:
    for name in "ab":
        await env.add_bot(name, after(2.0))
    for number in range(10):
        asked = env.ask(number + 1, within=5.0)
        await env.clock.advance(2.5)
        await asked
    used = Counter(env.budgets.granted)
    assert used.keys() == {"account of a", "account of b"}


async def test_one_in_ten_silent_and_one_in_ten_slow_cost_little(
    clock: FakeClock,
    env: RouterEnv,
) -> None:
    for number in range(20):
        speed: Answer = {0: silence, 10: silence, 5: after(3.0), 15: after(3.0)}.get(
            number, after(0.05)
        )
        await env.add_bot(str(number), speed)
    asked = []
    for number in range(500):
        asked.append(env.ask(1000 + number, within=5.0))
        await clock.advance(0.1)
    await clock.advance(10.0)
    assert all(one.exception() is None for one in asked)
    assert len(env.budgets.granted) / 500 < 1.1
