"""The router in virtual time: answers that come late, and a Game Coordinator that is slow for all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

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

from actors.actor import fail
from actors.bot.messages import BotChanged
from actors.bot.states import BotState
from actors.errors import GcUnavailable, TimedOut
from actors.router.attempt import BOT_GRACE_S
from actors.router.bot_health import ALONE_TIMES, LEAST_S, TIMES, Hedging
from actors.router.messages import RetireBot, RouterPolicy
from actors.router.rotation import Standing
from actors.router.unanswered import OPENS_AFTER

pytestmark = pytest.mark.usefixtures("no_leaks")

SLOW_S = 6.0  # more than request_timeout
DEADLINE_S = 15.0
LATE_S = POLICY.request_timeout_s + BOT_GRACE_S
ROOMY = RouterPolicy(POLICY.request_timeout_s, max_in_flight=5, min_interval_s=0.0, queue=100)


def unpunished(env: RouterEnv) -> bool:
    bots = env.bots.values()
    is_left_alone = all((bot.relogs, bot.spares, bot.spent) == (0, [], []) for bot in bots)
    entries = env.router._pool.rotation._entries.values()
    is_used = all(entry.standing is Standing.GOOD for entry in entries)
    return is_left_alone and is_used and len(entries) == len(env.bots)


# -- all are slow ------------------------------------------------------------------------------


@pytest.mark.parametrize("warm", [0, 12, 100], ids=lambda n: f"after {n} quick answers")
@pytest.mark.parametrize(
    ("bots", "every_s"), [(1, 1.0), (3, 0.0), (3, 0.2), (3, 1.0), (12, 0.0), (12, 1.0), (30, 0.1)]
)
async def test_a_gc_that_is_slow_for_all_serves_all_and_is_the_fault_of_none(
    clock: FakeClock, matches: FakeMatches, bots: int, warm: int, every_s: float
) -> None:
    took_s = 0.1
    async with routing(clock, matches, ROOMY) as env:
        for number in range(bots):
            await env.add_bot(str(number), lambda one: Later(took_s, match(one)))
        for number in range(warm):
            asked = env.ask(1000 + number)
            await clock.advance(took_s)
            await asked
        before = len(env.budgets.granted)
        took_s = SLOW_S
        asking = []
        for number in range(12):
            asking.append(env.ask(number + 1, within=DEADLINE_S))
            await clock.advance(every_s)
        await clock.advance(DEADLINE_S)
        assert [one.result().match_id for one in asking] == list(range(1, 13))
        # A few to find out that it is not one bot's fault.
        assert len(env.budgets.granted) - before <= 12 + 3
        assert unpunished(env)


def test_what_is_slow_now_is_measured_by_what_is_answered_now() -> None:
    """Hundreds of quick answers before do not make a slow one a fault."""
    hedging = Hedging()
    for number in range(100):
        hedging.answered(0.1, float(number))
    assert hedging.is_slow(asked_at=200.0, now=1000.0) is None
    hedging.answered(6.0, 206.0)
    assert hedging.is_slow(asked_at=200.0, now=200.0 + TIMES * 6.0 - 0.1) is False
    assert hedging.is_slow(asked_at=200.0, now=200.0 + TIMES * 6.0) is True


@pytest.mark.parametrize(
    ("meanwhile", "silent_after_s"),
    [([], ALONE_TIMES * 5.0), ([0.1], 5.0), ([2.0], TIMES * 2.0), ([6.0], TIMES * 6.0)],
)
def test_silence_lasts_several_times_as_long_as_the_answers_of_others(
    meanwhile: list[float], silent_after_s: float
) -> None:
    hedging = Hedging()
    for seconds in meanwhile:
        hedging.answered(seconds, 101.0)
    assert hedging.silent_at(100.0, timeout_s=5.0) == 100.0 + silent_after_s


async def test_a_bot_that_is_slower_than_the_others_is_demoted(env: RouterEnv) -> None:
    for name in "bc":
        await env.add_bot(name, after(0.1))
    await env.add_bot("a", after(3.0))
    for match_id in (1, 2, 3):
        asked = env.ask(match_id)
        await env.clock.advance(1.5)
        await asked
    standing = env.router._pool.rotation.standing(env.ready_bots["a"])
    assert standing in (Standing.DEPRIORITISED, Standing.PROBATION)


# -- late answers ------------------------------------------------------------------------------


@pytest.mark.parametrize("late_s", [LATE_S + 1.0, 30.0, 3600.0])
async def test_a_late_answer_is_remembered_here_and_by_all_containers(
    env: RouterEnv, late_s: float
) -> None:
    bot = await env.add_bot("a", after(late_s))
    asked = env.ask(7, within=3.0)
    await env.clock.advance(late_s)
    with pytest.raises(TimedOut):
        await asked
    await settle()
    assert 7 in env.matches.known
    assert (await env.ask(7)).match_id == 7
    assert bot.asked == [7]
    assert env.matches.claims == {}


async def test_a_late_answer_serves_those_who_wait_by_then(
    clock: FakeClock, matches: FakeMatches
) -> None:
    """Also when their own request is at another bot that is silent."""
    async with routing(clock, matches, ROOMY) as env:
        await env.add_bot("a", after(30.0))
        first = env.ask(7, within=5.0)
        await clock.advance(20.0)
        with pytest.raises(TimedOut):
            await first
        await env.add_bot("b", silence)
        second = env.ask(7, within=20.0)
        await clock.advance(10.0)
        assert (await second).match_id == 7
        assert (await env.report()).in_flight == 0


async def test_a_late_answer_about_another_match_is_never_handed_out(env: RouterEnv) -> None:
    await env.add_bot("a", lambda match_id: Later(8.0, match(match_id + 1)))
    asked = [env.ask(7), env.ask(8)]
    await env.clock.advance(30.0)
    for one in asked:
        assert one.done()
        assert one.exception() is not None
    assert env.matches.known == {}


async def test_a_late_request_is_no_load_and_a_silent_bot_gets_three_at_most(
    clock: FakeClock, matches: FakeMatches
) -> None:
    async with routing(clock, matches, ROOMY) as env:
        bot = await env.add_bot("a", silence)
        asked = []
        for number in range(9):
            asked.append(env.ask(number + 1, within=9.0))
            await clock.advance(1.1)
        assert len(bot.asked) == OPENS_AFTER
        await clock.advance(LATE_S)
        assert env.router._pool.rotation.loads().get("a", 0) == 0
        for one in asked:
            one.cancel()
        await asyncio.wait(asked)


async def test_a_bot_leaves_without_waiting_for_late_answers(env: RouterEnv) -> None:
    bot = await env.add_bot("a", after(60.0))
    asked = env.ask(7, within=3.0)
    await env.clock.advance(LATE_S)
    with pytest.raises(TimedOut):
        await asked
    retired = asyncio.create_task(env.address.ask(RetireBot("a"), deadline=env.clock.now() + 1.0))
    await settle()
    assert retired.done()
    assert bot.asked == [7]
    await retired


async def test_an_answer_that_its_session_took_along_is_no_silence(env: RouterEnv) -> None:
    """The connection broke while late requests were out: they say nothing about the account."""
    for match_id in range(1, 7):
        bot = await env.add_bot("a", lambda _: Later(8.0, b""))
        asked = env.ask(match_id, within=20.0)
        await env.clock.advance(7.0)
        for answer in bot.waiting:
            fail(answer, GcUnavailable("gone"))
        env.address.tell(BotChanged("a", BotState.BACKING_OFF, "account of a"))
        bot.stop()
        asked.cancel()
        await asyncio.wait({asked})
    assert (
        env.router_metrics.counts["circuit_spare"]
        == env.router_metrics.counts["circuit_pause"]
        == 0
    )


async def test_a_silent_bot_among_answered_ones_is_found_out_as_soon_as_ever(
    env: RouterEnv,
) -> None:
    silent = await env.add_bot("a", silence)
    await env.add_bot("b", after(0.1))
    for number in range(8):
        asked = env.ask(number + 1)
        await env.clock.advance(LATE_S)
        await asked
    assert len(silent.asked) == OPENS_AFTER
    assert silent.spent == [3600.0]


@pytest.mark.parametrize("make", [lambda: after(LEAST_S * 8), lambda: silence])
async def test_containers_do_not_wait_for_the_late_requests_of_one(
    clock: FakeClock, matches: FakeMatches, make: Callable[[], Answer]
) -> None:
    async with routing(clock, matches) as one, routing(clock, matches) as two:
        await one.add_bot("a", make())
        await two.add_bot("b")
        first = one.ask(7, within=2.0)
        await settle()
        second = two.ask(7, within=10.0)
        await clock.advance(LATE_S + 1.0)
        assert (await second).match_id == 7
        with pytest.raises(TimedOut):
            await first
        await clock.advance(20.0)
