"""The router in virtual time: flights, tries, budgets."""

from __future__ import annotations

import asyncio

import pytest
from support.fake_clock import settle
from support.router_env import RouterEnv, after, match, matches_fixture, stage_fixture  # noqa: F401 - two are fixtures

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


async def test_a_match_is_brought_and_charged_before_it_is_asked_for(stage: RouterEnv) -> None:
    bot = await stage.add_bot("a")
    answer = await stage.ask(7)
    assert answer.match_id == 7
    assert b'"id":7' in answer.json
    assert stage.budgets.granted == ["account of a"]
    assert bot.asked == [7]


async def test_all_who_ask_for_one_match_share_a_flight(stage: RouterEnv) -> None:
    bot = await stage.add_bot("a", lambda _: None)
    asked = [stage.ask(7) for _ in range(5)]
    await settle()
    assert (await stage.report()).in_flight == 1
    reply = bot.waiting[0].reply
    assert reply is not None
    reply.set(match(7))
    answers = await asyncio.gather(*asked)
    assert bot.asked == [7]
    assert len({answer.json for answer in answers}) == 1


async def test_it_says_which_account_was_asked_and_none_was_for_what_is_known(
    stage: RouterEnv,
) -> None:
    bot = await stage.add_bot("a", lambda _: None)
    question, ip = GetAsked(7), "192.0.2.1"
    assert await stage.address.ask(question, deadline=stage.clock.now() + 1) is None
    asked = stage.ask(7, within=2)
    await settle()
    ready_bot = await stage.address.ask(question, deadline=stage.clock.now() + 1)
    assert ready_bot is not None
    assert (ready_bot.account, ready_bot.ip) == ("account of a", ip)
    await stage.clock.advance(2)
    with pytest.raises(TimedOut) as late:
        await asked
    assert late.value.ip == ip
    reply = bot.waiting[0].reply
    assert reply is not None
    reply.set(match(7))
    await settle()
    assert await stage.address.ask(question, deadline=stage.clock.now() + 1) is None
    assert (await stage.ask(7)).ip is None
    bot.answer = match
    assert (await stage.ask(8)).ip == ip
    bot.answer = lambda _: encode_response({"result": 15})
    with pytest.raises(MatchBlocked) as blocked:
        await stage.ask(9)
    assert blocked.value.ip == ip
    with pytest.raises(MatchBlocked) as known:
        await stage.ask(9)
    assert known.value.ip is None


async def test_a_cancelled_request_leaves_the_other_one_waiting(stage: RouterEnv) -> None:
    bot = await stage.add_bot("a", lambda _: None)
    first, second = stage.ask(7), stage.ask(7)
    await settle()
    first.cancel()
    await settle()
    reply = bot.waiting[0].reply
    assert reply is not None
    reply.set(match(7))
    assert (await second).match_id == 7


async def test_a_silent_bot_is_followed_by_another(stage: RouterEnv) -> None:
    await stage.add_bot("a", lambda _: None)
    await stage.add_bot("b")
    asked = stage.ask(7)
    await stage.clock.advance(6.0)
    assert (await asked).match_id == 7
    assert stage.budgets.granted == ["account of a", "account of b"]


async def test_silence_everywhere_costs_three_tries_and_is_a_timeout(stage: RouterEnv) -> None:
    for name in "abcd":
        await stage.add_bot(name, lambda _: None)
    asked = stage.ask(7)
    await stage.clock.advance(20.0)
    with pytest.raises(TimedOut):
        await asked
    assert len(stage.budgets.granted) == 3


async def test_a_broken_bot_is_followed_by_another_without_a_wait(stage: RouterEnv) -> None:
    await stage.add_bot("a", lambda _: SteamUnreachable("session", "gone"))
    await stage.add_bot("b")
    assert (await stage.ask(7)).match_id == 7


async def test_an_answer_about_another_match_is_never_handed_out(stage: RouterEnv) -> None:
    await stage.add_bot("a", lambda _: match(8))
    asked = stage.ask(7)
    with pytest.raises(Unusable, match="about match 8"):
        await asked


async def test_garbage_from_a_bot_is_a_failed_try(stage: RouterEnv) -> None:
    await stage.add_bot("a", lambda _: b"\xff\xff\xff")
    await stage.add_bot("b")
    assert (await stage.ask(7)).match_id == 7


@pytest.mark.parametrize(("result", "error"), [(2, MatchNotFound), (15, MatchBlocked)])
async def test_a_verdict_of_the_gc_is_final(
    stage: RouterEnv, result: int, error: type[Exception]
) -> None:
    bot = await stage.add_bot("a", lambda _: encode_response({"result": result}))
    await stage.add_bot("b", lambda _: encode_response({"result": result}))
    with pytest.raises(error):
        await stage.ask(7)
    assert len(bot.asked) + len(stage.bots["b"].asked) == 1


async def test_trouble_inside_the_gc_is_tried_elsewhere(stage: RouterEnv) -> None:
    await stage.add_bot("a", lambda _: encode_response({"result": 16}))
    await stage.add_bot("b")
    assert (await stage.ask(7)).match_id == 7


async def test_without_bots_it_is_not_ready(stage: RouterEnv) -> None:
    with pytest.raises(NotReady) as refused:
        await stage.ask(7)
    assert refused.value.retry_after


async def test_a_spent_account_is_passed_over_and_told(stage: RouterEnv) -> None:
    spent = await stage.add_bot("a")
    await stage.add_bot("b")
    stage.budgets.refusals["account of a"] = Refused("account", 60.0)
    for match_id in range(4):
        assert (await stage.ask(match_id + 1)).match_id == match_id + 1
    assert spent.asked == []
    assert spent.spent == [60.0]


async def test_when_every_budget_is_spent_it_says_until_when(stage: RouterEnv) -> None:
    await stage.add_bot("a")
    stage.budgets.refusals["account of a"] = Refused("account", 60.0)
    first = stage.ask(7)
    await settle()
    assert not first.done()  # perhaps the bot finds another account
    stage.change("a", BotState.EXHAUSTED)
    stage.nothing_free("a", 50.0)
    for asked in (first, stage.ask(7)):
        with pytest.raises(QuotaExhausted) as refused:
            await asked
        assert refused.value.retry_after == 50.0


async def test_a_spent_ip_is_used_again_when_its_budget_frees(stage: RouterEnv) -> None:
    await stage.add_bot("a")
    stage.budgets.refusals["account of a"] = Refused("ip", 60.0)
    with pytest.raises(QuotaExhausted):
        await stage.ask(7)
    stage.budgets.refusals.clear()
    await stage.clock.advance(60.0)
    assert (await stage.ask(7)).match_id == 7


@pytest.mark.parametrize(
    ("usable_in", "expected"),
    [((1800.0,), 1800.0), ((1800.0, 60.0), 60.0), ((1800.0, None), 1800.0), ((None,), 5.0)],
)
async def test_who_waits_for_accounts_that_rest_is_told_how_long(
    stage: RouterEnv, usable_in: tuple[float | None, ...], expected: float
) -> None:
    for name, seconds in zip("ab", usable_in, strict=False):
        stage.nothing_free(name, usable_in=seconds)
    with pytest.raises(NotReady) as refused:
        await stage.ask(7)
    assert refused.value.retry_after == expected
    report = await stage.report()
    assert (report.refusal, report.retry_after) == (str(refused.value), expected)
    if expected > 60.0:
        await stage.clock.advance(60.0)
        assert (await stage.report()).retry_after == expected - 60.0


async def test_no_time_is_said_where_a_person_has_to_act_first(stage: RouterEnv) -> None:
    stage.nothing_free("a", usable_in=UNTIL_ACTED_S)
    with pytest.raises(NotReady, match="those that rest need a person") as refused:
        await stage.ask(7)
    assert refused.value.retry_after is None


@pytest.mark.parametrize("state", [BotState.CONNECTING, BotState.BACKING_OFF])
async def test_a_bot_on_its_way_is_sooner_than_an_account_that_rests(
    stage: RouterEnv, state: BotState
) -> None:
    stage.nothing_free("a", usable_in=1800.0)
    stage.change("b", state)
    report = await stage.report()
    assert report.retry_after is not None
    assert report.retry_after < 60.0


async def test_a_bot_on_its_way_is_worth_more_than_a_budget_tomorrow(stage: RouterEnv) -> None:
    stage.nothing_free("a", 50_000.0)
    stage.change("b", BotState.CONNECTING)
    with pytest.raises(NotReady):
        await stage.ask(7)


async def test_without_redis_nothing_is_asked(stage: RouterEnv) -> None:
    bot = await stage.add_bot("a")
    stage.budgets.refusals["account of a"] = StoreUnavailable("reserve")
    with pytest.raises(RequestStoreUnavailable):
        await stage.ask(7)
    assert bot.asked == []


async def test_no_request_is_left_waiting_when_the_router_ends(stage: RouterEnv) -> None:
    await stage.add_bot("a", lambda _: None)
    asked = stage.ask(7)
    await settle()
    stage.router.stop()
    with pytest.raises(ActorStopped):
        await asked


async def test_a_bot_that_failed_a_match_is_not_asked_for_it_while_there_is_another(
    stage: RouterEnv,
) -> None:
    silent = await stage.add_bot("a", lambda match_id: None if match_id == 7 else match(match_id))
    await stage.add_bot("b")
    asked = stage.ask(7)
    await settle()
    assert silent.asked == [7]
    assert (await stage.ask(8)).match_id == 8  # by b, so that it would be a's turn
    await stage.clock.advance(6.0)
    assert (await asked).match_id == 7
    assert silent.asked == [7]


async def test_who_joins_late_has_all_of_its_own_time(stage: RouterEnv) -> None:
    await stage.add_bot("a", lambda _: None)
    await stage.add_bot("b", after(3.0))
    hasty, patient = stage.ask(7, within=0.5), stage.ask(7, within=30.0)
    await stage.clock.advance(8.0)
    assert (await patient).match_id == 7
    with pytest.raises(TimeoutError):
        await hasty


async def test_an_account_that_misses_what_others_get_is_taken_out_early(stage: RouterEnv) -> None:
    silent = await stage.add_bot("a", lambda _: None)
    await stage.add_bot("b")
    for match_id in range(10, 20):
        asked = stage.ask(match_id)
        await stage.clock.advance(6.0)
        assert (await asked).match_id == match_id
    assert len(silent.asked) == 3
    assert silent.spent == [3600.0]


async def test_what_was_missed_on_a_connection_that_broke_is_not_held_against_the_account(
    stage: RouterEnv,
) -> None:
    await stage.add_bot("b")
    for match_id in range(10, 16):
        half_open = await stage.add_bot("a", lambda _: None)
        asked = [stage.ask(match_id), stage.ask(100 + match_id)]  # one for each
        await stage.clock.advance(6.0)
        await asyncio.gather(*asked)
        assert len(half_open.asked) == 1
        assert half_open.spent == []
        stage.address.tell(BotChanged("a", BotState.BACKING_OFF, "account of a"))
        half_open.stop()
    assert stage.budgets.granted.count("account of a") == 6


@pytest.mark.parametrize("within", [12.0, 30.0])
async def test_a_match_that_two_working_accounts_do_not_get_burns_no_third_budget(
    stage: RouterEnv, within: float
) -> None:
    for name in "abc":
        await stage.add_bot(name, lambda match_id: None if match_id == 7 else match(match_id))
    for match_id in (1, 2, 3):
        await stage.ask(match_id)
    asked = stage.ask(7, within)
    await stage.clock.advance(13.0)
    with pytest.raises(TimedOut):
        await asked
    assert len(stage.budgets.granted) == 3 + 2
    with pytest.raises(TimedOut) as refused:  # and the next one costs nothing
        await stage.ask(7)
    assert refused.value.retry_after
    assert len(stage.budgets.granted) == 3 + 2


async def test_silence_is_heard_to_its_end_though_no_request_waits_any_more(
    stage: RouterEnv,
) -> None:
    """Only a try of full length is evidence; a shorter one may have missed a slow answer."""
    for name in "ab":
        await stage.add_bot(name, lambda match_id: None if match_id == 7 else match(match_id))
    for match_id in (1, 2):
        await stage.ask(match_id)
    asked = stage.ask(7, within=3.0)
    await stage.clock.advance(4.0)
    with pytest.raises(TimedOut):
        await asked
    assert len(stage.budgets.granted) == 2 + 2
    asked = stage.ask(7, within=0.5)
    await stage.clock.advance(1.0)  # it waits for what is in the air, and costs nothing
    with pytest.raises(TimedOut):
        await asked
    await stage.clock.advance(6.0)
    with pytest.raises(TimedOut, match="does not answer"):
        await stage.ask(7)
    assert len(stage.budgets.granted) == 2 + 2


async def refused_for(stage: RouterEnv) -> float | None:
    with pytest.raises(NotReady) as refused:
        await stage.ask(1)
    return refused.value.retry_after


async def test_it_says_when_the_first_bot_may_be_back(stage: RouterEnv) -> None:
    for name, in_s in (("a", 300.0), ("b", 40.0)):
        stage.change(name, BotState.BACKING_OFF)
        stage.address.tell(BotChanged(name, BotState.BACKING_OFF, goes_on_in=in_s))
    assert await refused_for(stage) == 40.0 + LOG_ON_S
    stage.change("a", BotState.CONNECTING)
    assert await refused_for(stage) == LOG_ON_S


async def test_who_waits_for_a_log_on_of_its_turn_is_expected_then(stage: RouterEnv) -> None:
    stage.address.tell(BotChanged("a", BotState.CONNECTING, goes_on_in=100.0))
    assert await refused_for(stage) == 100.0 + LOG_ON_S


async def test_what_is_overdue_is_asked_for_less_and_less_often(stage: RouterEnv) -> None:
    stage.change("a", BotState.LAUNCHING)
    await stage.clock.advance(12.0)
    assert await refused_for(stage) == 12.0
    await stage.clock.advance(600.0)
    assert await refused_for(stage) == LONGEST_RETRY_S


async def test_a_silent_gc_does_not_cost_whole_budgets(stage: RouterEnv) -> None:
    for name in "ab":
        await stage.add_bot(name, lambda _: None)
    for number in range(60):  # ten minutes of a request every ten seconds
        asked = stage.ask(1000 + number, within=20.0)
        await stage.clock.advance(10.0)
        asked.cancel()
        await asyncio.wait({asked})
    assert len(stage.budgets.granted) < 40  # of 180 that would have been asked in vain


async def pause(stage: RouterEnv) -> None:
    """Ask until the only bot is paused for its silence."""
    for number in range(OPENS_AFTER):
        asked = stage.ask(1000 + number, within=6.0)
        await stage.clock.advance(8.0)
        await asyncio.wait({asked})
    assert (await stage.report()).ready == 0


async def test_a_bot_that_is_silent_is_paused_probed_and_told_to_log_on_again(
    stage: RouterEnv,
) -> None:
    silent = await stage.add_bot("a", lambda _: None)
    await pause(stage)
    assert await refused_for(stage) is not None
    assert (silent.spares, silent.relogs) == (
        [LEFT_FOR_SPARE_S],
        0,
    )  # a spare account, if one is free
    await stage.clock.advance(PAUSE_S)
    first, second = stage.ask(2000, within=12.0), stage.ask(2001, within=12.0)
    await stage.clock.advance(12.0)
    await asyncio.wait({first, second})
    assert silent.asked[OPENS_AFTER:] == [2000]  # one at a time
    assert silent.relogs == 1


async def test_a_bot_that_answers_its_probe_is_used_as_before(stage: RouterEnv) -> None:
    is_silent = True
    bot = await stage.add_bot("a", lambda match_id: None if is_silent else match(match_id))
    await pause(stage)
    is_silent = False
    await stage.clock.advance(PAUSE_S)
    for number in range(3):
        assert (await stage.ask(2000 + number)).match_id == 2000 + number
    assert bot.relogs == 0
