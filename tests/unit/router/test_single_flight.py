"""The router in virtual time: flights, tries, budgets."""

from __future__ import annotations

import asyncio

import pytest
from support.fake_clock import settle
from support.router_env import RouterEnv, after, env_fixture, match, matches_fixture  # noqa: F401 - two are fixtures

from actors.accounts.models import UNTIL_ACTED_S, Refused
from actors.bot.messages import BotChanged
from actors.bot.states import BotState
from actors.errors import (
    ActorStopped,
    MatchBlocked,
    MatchNotFound,
    NotReady,
    QuotaExhausted,
    RequestStoreUnavailable,
    SteamUnreachable,
    StoreUnavailable,
    TimedOut,
    Unusable,
)
from actors.router.bot_availability import LOG_ON_S, LONGEST_RETRY_S
from actors.router.bot_health import LEFT_FOR_SPARE_S
from actors.router.messages import GetAsked
from actors.router.unanswered import OPENS_AFTER, PAUSE_S
from sandbox.gc.matches.schema import encode_response

pytestmark = pytest.mark.usefixtures("no_leaks")


async def test_a_match_is_brought_and_charged_before_it_is_asked_for(env: RouterEnv) -> None:
    bot = await env.add_bot("a")
    answer = await env.ask(7)
    assert answer.match_id == 7
    assert b'"id":7' in answer.json
    assert env.budgets.granted == ["account of a"]
    assert bot.asked == [7]


async def test_all_who_ask_for_one_match_share_a_flight(env: RouterEnv) -> None:
    bot = await env.add_bot("a", lambda _: None)
    asked = [env.ask(7) for _ in range(5)]
    await settle()
    assert (await env.report()).in_flight == 1
    bot.waiting[0].set_result(match(7))
    answers = await asyncio.gather(*asked)
    assert bot.asked == [7]
    assert len({answer.json for answer in answers}) == 1


async def test_it_says_which_account_was_asked_and_none_was_for_what_is_known(
    env: RouterEnv,
) -> None:
    bot = await env.add_bot("a", lambda _: None)
    question, ip = GetAsked(7), "192.0.2.1"
    assert await env.address.ask(question, deadline=env.clock.now() + 1) is None
    asked = env.ask(7, within=2)
    await settle()
    ready_bot = await env.address.ask(question, deadline=env.clock.now() + 1)
    assert ready_bot is not None
    assert (ready_bot.account, ready_bot.ip) == ("account of a", ip)
    await env.clock.advance(2)
    with pytest.raises(TimedOut) as late:
        await asked
    assert late.value.ip == ip
    bot.waiting[0].set_result(match(7))
    await settle()
    assert await env.address.ask(question, deadline=env.clock.now() + 1) is None
    assert (await env.ask(7)).ip is None
    bot.answer = match
    assert (await env.ask(8)).ip == ip
    bot.answer = lambda _: encode_response({"result": 15})
    with pytest.raises(MatchBlocked) as blocked:
        await env.ask(9)
    assert blocked.value.ip == ip
    with pytest.raises(MatchBlocked) as known:
        await env.ask(9)
    assert known.value.ip is None


async def test_a_cancelled_request_leaves_the_other_one_waiting(env: RouterEnv) -> None:
    bot = await env.add_bot("a", lambda _: None)
    first, second = env.ask(7), env.ask(7)
    await settle()
    first.cancel()
    await settle()
    bot.waiting[0].set_result(match(7))
    assert (await second).match_id == 7


async def test_a_silent_bot_is_followed_by_another(env: RouterEnv) -> None:
    await env.add_bot("a", lambda _: None)
    await env.add_bot("b")
    asked = env.ask(7)
    await env.clock.advance(6.0)
    assert (await asked).match_id == 7
    assert env.budgets.granted == ["account of a", "account of b"]


async def test_silence_everywhere_costs_three_tries_and_is_a_timeout(env: RouterEnv) -> None:
    for name in "abcd":
        await env.add_bot(name, lambda _: None)
    asked = env.ask(7)
    await env.clock.advance(20.0)
    with pytest.raises(TimedOut):
        await asked
    assert len(env.budgets.granted) == 3


async def test_a_broken_bot_is_followed_by_another_without_a_wait(env: RouterEnv) -> None:
    await env.add_bot("a", lambda _: SteamUnreachable("session", "gone"))
    await env.add_bot("b")
    assert (await env.ask(7)).match_id == 7


async def test_an_answer_about_another_match_is_never_handed_out(env: RouterEnv) -> None:
    await env.add_bot("a", lambda _: match(8))
    asked = env.ask(7)
    with pytest.raises(Unusable, match="about match 8"):
        await asked


async def test_garbage_from_a_bot_is_a_failed_try(env: RouterEnv) -> None:
    await env.add_bot("a", lambda _: b"\xff\xff\xff")
    await env.add_bot("b")
    assert (await env.ask(7)).match_id == 7


@pytest.mark.parametrize(("result", "error"), [(2, MatchNotFound), (15, MatchBlocked)])
async def test_a_verdict_of_the_gc_is_final(
    env: RouterEnv, result: int, error: type[Exception]
) -> None:
    bot = await env.add_bot("a", lambda _: encode_response({"result": result}))
    await env.add_bot("b", lambda _: encode_response({"result": result}))
    with pytest.raises(error):
        await env.ask(7)
    assert len(bot.asked) + len(env.bots["b"].asked) == 1


async def test_trouble_inside_the_gc_is_tried_elsewhere(env: RouterEnv) -> None:
    await env.add_bot("a", lambda _: encode_response({"result": 16}))
    await env.add_bot("b")
    assert (await env.ask(7)).match_id == 7


async def test_without_bots_it_is_not_ready(env: RouterEnv) -> None:
    with pytest.raises(NotReady) as refused:
        await env.ask(7)
    assert refused.value.retry_after


async def test_a_spent_account_is_passed_over_and_told(env: RouterEnv) -> None:
    spent = await env.add_bot("a")
    await env.add_bot("b")
    env.budgets.refusals["account of a"] = Refused("account", 60.0)
    for match_id in range(4):
        assert (await env.ask(match_id + 1)).match_id == match_id + 1
    assert spent.asked == []
    assert spent.spent == [60.0]


async def test_when_every_budget_is_spent_it_says_until_when(env: RouterEnv) -> None:
    await env.add_bot("a")
    env.budgets.refusals["account of a"] = Refused("account", 60.0)
    first = env.ask(7)
    await settle()
    assert not first.done()  # perhaps the bot finds another account
    env.change("a", BotState.EXHAUSTED)
    env.nothing_free("a", 50.0)
    for asked in (first, env.ask(7)):
        with pytest.raises(QuotaExhausted) as refused:
            await asked
        assert refused.value.retry_after == 50.0


async def test_a_spent_ip_is_used_again_when_its_budget_frees(env: RouterEnv) -> None:
    await env.add_bot("a")
    env.budgets.refusals["account of a"] = Refused("ip", 60.0)
    with pytest.raises(QuotaExhausted):
        await env.ask(7)
    env.budgets.refusals.clear()
    await env.clock.advance(60.0)
    assert (await env.ask(7)).match_id == 7


@pytest.mark.parametrize(
    ("usable_in", "expected"),
    [((1800.0,), 1800.0), ((1800.0, 60.0), 60.0), ((1800.0, None), 1800.0), ((None,), 5.0)],
)
async def test_who_waits_for_accounts_that_rest_is_told_how_long(
    env: RouterEnv, usable_in: tuple[float | None, ...], expected: float
) -> None:
    for name, seconds in zip("ab", usable_in, strict=False):
        env.nothing_free(name, usable_in=seconds)
    with pytest.raises(NotReady) as refused:
        await env.ask(7)
    assert refused.value.retry_after == expected
    report = await env.report()
    assert (report.refusal, report.retry_after) == (str(refused.value), expected)
    if expected > 60.0:
        await env.clock.advance(60.0)
        assert (await env.report()).retry_after == expected - 60.0


async def test_no_time_is_said_where_a_person_has_to_act_first(env: RouterEnv) -> None:
    env.nothing_free("a", usable_in=UNTIL_ACTED_S)
    with pytest.raises(NotReady, match="those that rest need a person") as refused:
        await env.ask(7)
    assert refused.value.retry_after is None


@pytest.mark.parametrize("state", [BotState.CONNECTING, BotState.BACKING_OFF])
async def test_a_bot_on_its_way_is_sooner_than_an_account_that_rests(
    env: RouterEnv, state: BotState
) -> None:
    env.nothing_free("a", usable_in=1800.0)
    env.change("b", state)
    report = await env.report()
    assert report.retry_after is not None
    assert report.retry_after < 60.0


async def test_a_bot_on_its_way_is_worth_more_than_a_budget_tomorrow(env: RouterEnv) -> None:
    env.nothing_free("a", 50_000.0)
    env.change("b", BotState.CONNECTING)
    with pytest.raises(NotReady):
        await env.ask(7)


async def test_without_redis_nothing_is_asked(env: RouterEnv) -> None:
    bot = await env.add_bot("a")
    env.budgets.refusals["account of a"] = StoreUnavailable("reserve")
    with pytest.raises(RequestStoreUnavailable):
        await env.ask(7)
    assert bot.asked == []


async def test_no_request_is_left_waiting_when_the_router_ends(env: RouterEnv) -> None:
    await env.add_bot("a", lambda _: None)
    asked = env.ask(7)
    await settle()
    env.router.stop()
    with pytest.raises(ActorStopped):
        await asked


async def test_a_bot_that_failed_a_match_is_not_asked_for_it_while_there_is_another(
    env: RouterEnv,
) -> None:
    silent = await env.add_bot("a", lambda match_id: None if match_id == 7 else match(match_id))
    await env.add_bot("b")
    asked = env.ask(7)
    await settle()
    assert silent.asked == [7]
    assert (await env.ask(8)).match_id == 8  # by b, so that it would be a's turn
    await env.clock.advance(6.0)
    assert (await asked).match_id == 7
    assert silent.asked == [7]


async def test_who_joins_late_has_all_of_its_own_time(env: RouterEnv) -> None:
    await env.add_bot("a", lambda _: None)
    await env.add_bot("b", after(3.0))
    hasty, patient = env.ask(7, within=0.5), env.ask(7, within=30.0)
    await env.clock.advance(8.0)
    assert (await patient).match_id == 7
    with pytest.raises(TimeoutError):
        await hasty


async def test_an_account_that_misses_what_others_get_is_taken_out_early(env: RouterEnv) -> None:
    silent = await env.add_bot("a", lambda _: None)
    await env.add_bot("b")
    for match_id in range(10, 20):
        asked = env.ask(match_id)
        await env.clock.advance(6.0)
        assert (await asked).match_id == match_id
    assert len(silent.asked) == 3
    assert silent.spent == [3600.0]


async def test_what_was_missed_on_a_connection_that_broke_is_not_held_against_the_account(
    env: RouterEnv,
) -> None:
    await env.add_bot("b")
    for match_id in range(10, 16):
        half_open = await env.add_bot("a", lambda _: None)
        asked = [env.ask(match_id), env.ask(100 + match_id)]  # one for each
        await env.clock.advance(6.0)
        await asyncio.gather(*asked)
        assert len(half_open.asked) == 1
        assert half_open.spent == []
        env.address.tell(BotChanged("a", BotState.BACKING_OFF, "account of a"))
        half_open.stop()
    assert env.budgets.granted.count("account of a") == 6


@pytest.mark.parametrize("within", [12.0, 30.0])
async def test_a_match_that_two_working_accounts_do_not_get_burns_no_third_budget(
    env: RouterEnv, within: float
) -> None:
    for name in "abc":
        await env.add_bot(name, lambda match_id: None if match_id == 7 else match(match_id))
    for match_id in (1, 2, 3):
        await env.ask(match_id)
    asked = env.ask(7, within)
    await env.clock.advance(13.0)
    with pytest.raises(TimedOut):
        await asked
    assert len(env.budgets.granted) == 3 + 2
    with pytest.raises(TimedOut) as refused:  # and the next one costs nothing
        await env.ask(7)
    assert refused.value.retry_after
    assert len(env.budgets.granted) == 3 + 2


async def test_silence_is_heard_to_its_end_though_no_request_waits_any_more(
    env: RouterEnv,
) -> None:
    """Only a try of full length is evidence; a shorter one may have missed a slow answer."""
    for name in "ab":
        await env.add_bot(name, lambda match_id: None if match_id == 7 else match(match_id))
    for match_id in (1, 2):
        await env.ask(match_id)
    asked = env.ask(7, within=3.0)
    await env.clock.advance(4.0)
    with pytest.raises(TimedOut):
        await asked
    assert len(env.budgets.granted) == 2 + 2
    asked = env.ask(7, within=0.5)
    await env.clock.advance(1.0)  # it waits for what is in the air, and costs nothing
    with pytest.raises(TimedOut):
        await asked
    await env.clock.advance(6.0)
    with pytest.raises(TimedOut, match="does not answer"):
        await env.ask(7)
    assert len(env.budgets.granted) == 2 + 2


async def refused_for(env: RouterEnv) -> float | None:
    with pytest.raises(NotReady) as refused:
        await env.ask(1)
    return refused.value.retry_after


async def test_it_says_when_the_first_bot_may_be_back(env: RouterEnv) -> None:
    for name, in_s in (("a", 300.0), ("b", 40.0)):
        env.change(name, BotState.BACKING_OFF)
        env.address.tell(BotChanged(name, BotState.BACKING_OFF, goes_on_in=in_s))
    assert await refused_for(env) == 40.0 + LOG_ON_S
    env.change("a", BotState.CONNECTING)
    assert await refused_for(env) == LOG_ON_S


async def test_who_waits_for_a_log_on_of_its_turn_is_expected_then(env: RouterEnv) -> None:
    env.address.tell(BotChanged("a", BotState.CONNECTING, goes_on_in=100.0))
    assert await refused_for(env) == 100.0 + LOG_ON_S


async def test_what_is_overdue_is_asked_for_less_and_less_often(env: RouterEnv) -> None:
    env.change("a", BotState.LAUNCHING)
    await env.clock.advance(12.0)
    assert await refused_for(env) == 12.0
    await env.clock.advance(600.0)
    assert await refused_for(env) == LONGEST_RETRY_S


async def test_a_silent_gc_does_not_cost_whole_budgets(env: RouterEnv) -> None:
    for name in "ab":
        await env.add_bot(name, lambda _: None)
    for number in range(60):  # ten minutes of a request every ten seconds
        asked = env.ask(1000 + number, within=20.0)
        await env.clock.advance(10.0)
        asked.cancel()
        await asyncio.wait({asked})
    assert len(env.budgets.granted) < 40  # of 180 that would have been asked in vain


async def pause(env: RouterEnv) -> None:
    """Ask until the only bot is paused for its silence."""
    for number in range(OPENS_AFTER):
        asked = env.ask(1000 + number, within=6.0)
        await env.clock.advance(8.0)
        await asyncio.wait({asked})
    assert (await env.report()).ready == 0


async def test_a_bot_that_is_silent_is_paused_probed_and_told_to_log_on_again(
    env: RouterEnv,
) -> None:
    silent = await env.add_bot("a", lambda _: None)
    await pause(env)
    assert await refused_for(env) is not None
    assert (silent.spares, silent.relogs) == (
        [LEFT_FOR_SPARE_S],
        0,
    )  # a spare account, if one is free
    await env.clock.advance(PAUSE_S)
    first, second = env.ask(2000, within=12.0), env.ask(2001, within=12.0)
    await env.clock.advance(12.0)
    await asyncio.wait({first, second})
    assert silent.asked[OPENS_AFTER:] == [2000]  # one at a time
    assert silent.relogs == 1


async def test_a_bot_that_answers_its_probe_is_used_as_before(env: RouterEnv) -> None:
    is_silent = True
    bot = await env.add_bot("a", lambda match_id: None if is_silent else match(match_id))
    await pause(env)
    is_silent = False
    await env.clock.advance(PAUSE_S)
    for number in range(3):
        assert (await env.ask(2000 + number)).match_id == 2000 + number
    assert bot.relogs == 0
