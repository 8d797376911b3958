"""The router in virtual time: what a refusal of the store leads to, and what the router reports."""

from __future__ import annotations

import asyncio

import pytest
from support.fake_clock import WALL_AT_ZERO, settle
from support.router_env import (
    FakeBot,
    RouterEnv,
    env_fixture,  # noqa: F401 - a fixture
    matches_fixture,  # noqa: F401 - a fixture
    silence,
)

from actors.accounts.models import Refused
from actors.actor import DEFAULT_CAPACITY
from actors.bot.messages import BotChanged, CheckLease, ReadyBot
from actors.bot.states import BotState
from actors.errors import NotReady, QuotaExhausted, RequestError
from actors.matches.match import MatchAnswer
from actors.router.bot_health import ADDRESS_LOOK_S, UNCERTAIN_S
from actors.router.bot_pool import LONGEST_ROTATION_S

pytestmark = pytest.mark.usefixtures("no_leaks")

HERE, THERE = "192.0.2.1", "198.51.100.2"
NO_LEASE = Refused("lease", 0.0)
SPENT_IP = Refused("ip", 3600.0)


def refuse(env: RouterEnv, refusal: Refused, *names: str) -> None:
    env.budgets.refusals |= {f"account of {name}": refusal for name in names}


async def told(asked: asyncio.Task[MatchAnswer]) -> QuotaExhausted:
    """Return what a request was refused with: at once, without any time passing."""
    await settle()
    assert asked.done()
    with pytest.raises(QuotaExhausted) as refused:
        await asked
    return refused.value


# -- a lease that the store does not know ----------------------------------------------------------


async def test_a_bot_whose_lease_is_refused_looks_and_the_request_waits_for_it(
    env: RouterEnv,
) -> None:
    bot = await env.add_bot("a")
    refuse(env, NO_LEASE, "a")
    asked = env.ask(7)
    await settle()
    assert (bot.lease_checks, bot.asked, asked.done()) == (1, [], False)
    report = await env.report()
    assert (report.ready, report.refusal) == (1, None)  # for all who look it is as ready as it says
    env.budgets.refusals.clear()
    env.say_ready("a")
    assert (await asked).match_id == 7


async def test_a_bot_that_says_nothing_is_used_again_a_little_later(env: RouterEnv) -> None:
    bot = await env.add_bot("a")
    refuse(env, NO_LEASE, "a")
    asked = env.ask(7)
    await env.clock.advance(UNCERTAIN_S - 0.1)
    assert bot.asked == []
    env.budgets.refusals.clear()
    await env.clock.advance(0.1)
    assert (await asked).match_id == 7


async def test_while_one_looks_another_serves(env: RouterEnv) -> None:
    await env.add_bot("a")
    other = await env.add_bot("b")
    refuse(env, NO_LEASE, "a")
    for match_id in (1, 2, 3):
        assert (await env.ask(match_id)).match_id == match_id
    assert other.asked == [1, 2, 3]


async def test_a_bot_that_lost_its_lease_is_gone_as_any_that_failed(env: RouterEnv) -> None:
    await env.add_bot("a")
    refuse(env, NO_LEASE, "a")
    asked = env.ask(7, within=2.0)
    await settle()
    env.change("a", BotState.BACKING_OFF)
    await settle()
    assert (await env.report()).refusal is not None
    await env.clock.advance(2.0)
    with pytest.raises(NotReady):
        await asked


async def test_ready_said_again_ends_no_pause_and_forgets_nothing_in_flight(
    env: RouterEnv,
) -> None:
    bot = await env.add_bot("a", silence)
    asked = [env.ask(match_id) for match_id in (1, 2)]  # as many as one bot may have
    await settle()
    env.say_ready("a")
    asked.append(env.ask(3))
    await settle()
    assert bot.asked == [1, 2]
    for one in asked:
        one.cancel()
    await asyncio.wait(asked)


@pytest.mark.parametrize(
    "refused", [NO_LEASE, Refused("account", 86_400.0)], ids=["lease", "account"]
)
async def test_a_bot_that_cannot_be_told_is_used_again_soon(
    env: RouterEnv, refused: Refused
) -> None:
    """Its mailbox is full. It goes on being ready, so its seat must not be away for long."""
    deaf = FakeBot("deaf", env.clock, silence)
    await deaf.start()  # and does not run
    for _ in range(DEFAULT_CAPACITY):
        deaf.address.tell(CheckLease())
    ready_bot = ReadyBot("deaf", "account of deaf", 1, HERE, deaf.address)
    env.address.tell(BotChanged("deaf", BotState.READY, ready_bot=ready_bot))
    refuse(env, refused, "deaf")
    asked = env.ask(7, within=1.0)
    await env.clock.advance(1.0)
    assert isinstance((await asyncio.gather(asked, return_exceptions=True))[0], RequestError)
    await env.clock.advance(UNCERTAIN_S)
    report = await env.report()
    assert (report.ready, report.refusal) == (1, None)


# -- a spent address -------------------------------------------------------------------------------


async def test_a_spent_address_refuses_at_once_and_is_named(env: RouterEnv) -> None:
    bots = [await env.add_bot(name) for name in ("a", "b")]
    refuse(env, SPENT_IP, "a")  # which is news of b as well
    for match_id in (1, 2):
        error = await told(env.ask(match_id))
        assert str(error) == f"the daily budget of the address {HERE} is spent"
        assert error.retry_after == SPENT_IP.retry_after
    assert [bot.asked for bot in bots] == [[], []]


async def test_those_in_line_are_refused_with_the_first(env: RouterEnv) -> None:
    await env.add_bot("a", silence)
    served = [env.ask(match_id) for match_id in (1, 2)]
    await settle()
    waiting = [env.ask(match_id) for match_id in (3, 4)]
    await settle()
    assert (await env.report()).waiting == 2
    refuse(env, SPENT_IP, "a")
    env.bots["a"].waiting[0].set_exception(TimeoutError())
    for one in waiting:
        await told(one)
    for one in served:
        one.cancel()
    await asyncio.wait(served)


async def test_also_who_failed_once_before_does_not_wait_for_a_spent_address(
    env: RouterEnv,
) -> None:
    first = await env.add_bot("a", lambda _: b"nonsense")
    await env.add_bot("b")
    refuse(env, SPENT_IP, "b")
    await told(env.ask(1))
    assert first.asked == [1]


async def test_an_address_with_budget_left_serves_on(env: RouterEnv) -> None:
    await env.add_bot("a", ip=HERE)
    other = await env.add_bot("b", ip=THERE)
    refuse(env, SPENT_IP, "a")
    for match_id in (1, 2, 3):
        assert (await env.ask(match_id)).match_id == match_id
    assert other.asked == [1, 2, 3]
    report = await env.report()
    assert (report.ready, report.refusal, report.budget) == (1, None, "left")
    assert set(report.spent_addresses) == {HERE}


async def test_two_spent_addresses_are_both_named_and_the_sooner_counts(env: RouterEnv) -> None:
    await env.add_bot("a", ip=HERE)
    await env.add_bot("b", ip=THERE)
    refuse(env, Refused("ip", 500.0), "a")
    refuse(env, Refused("ip", 300.0), "b")
    error = await told(env.ask(1))
    assert str(error) == f"the daily budgets of the addresses {HERE}, {THERE} are spent"
    assert error.retry_after == 300.0


async def test_what_comes_back_to_a_spent_address_is_not_asked(env: RouterEnv) -> None:
    """A bot that was away meanwhile, and one that is new: the address is as spent for them."""
    await env.add_bot("a")
    refuse(env, SPENT_IP, "a")
    await told(env.ask(1))
    env.change("a", BotState.BACKING_OFF)
    late = await env.add_bot("b")
    await told(env.ask(2))
    assert late.asked == []
    env.budgets.refusals.clear()
    await env.clock.advance(SPENT_IP.retry_after)
    assert (await env.ask(3)).match_id == 3


async def test_an_address_whose_count_redis_has_lost_is_used_again_within_seconds(
    env: RouterEnv,
) -> None:
    """After FLUSHALL, an old snapshot, or a reset by an operator."""
    bots = [await env.add_bot(name) for name in ("a", "b")]
    refuse(env, SPENT_IP, "a", "b")
    await told(env.ask(1))
    await env.clock.advance(10 * ADDRESS_LOOK_S)
    assert env.budgets.looks == [HERE] * 10  # one look at a time, however many bots leave from it
    assert (await env.report()).budget == "spent"
    env.budgets.is_away = True
    await env.clock.advance(ADDRESS_LOOK_S)
    assert (await env.report()).budget == "spent"  # no answer is no news
    env.budgets.is_away = False
    env.budgets.refusals.clear()
    await env.clock.advance(ADDRESS_LOOK_S)
    report = await env.report()
    assert (report.ready, report.budget, report.spent_addresses) == (2, "left", {})
    for match_id in (2, 3):
        assert (await env.ask(match_id)).match_id == match_id
    assert [bot.asked for bot in bots] == [[2], [3]]
    looks = len(env.budgets.looks)
    await env.clock.advance(10 * ADDRESS_LOOK_S)
    assert len(env.budgets.looks) == looks


async def test_an_address_that_frees_and_is_spent_again_is_looked_at_once_at_a_time(
    env: RouterEnv,
) -> None:
    """As in a rolling window, in which one request frees after the other."""
    await env.add_bot("a")
    for match_id in range(3):
        refuse(env, Refused("ip", 0.5), "a")
        await told(env.ask(match_id))
        await env.clock.advance(0.6)
    refuse(env, SPENT_IP, "a")
    await told(env.ask(9))
    env.budgets.looks.clear()
    await env.clock.advance(10 * ADDRESS_LOOK_S)
    assert env.budgets.looks == [HERE] * 10


async def test_a_bot_that_fails_for_ever_does_not_hide_that_the_address_is_spent(
    env: RouterEnv,
) -> None:
    for name in ("a", "b"):
        await env.add_bot(name)
    env.change("b", BotState.BACKING_OFF)
    env.address.tell(BotChanged("b", BotState.BACKING_OFF, goes_on_in=300.0))  # parked
    env.address.tell(BotChanged("c", BotState.BACKING_OFF, goes_on_in=300.0))  # never was ready
    refuse(env, SPENT_IP, "a")
    await told(env.ask(1))
    assert (await env.report()).budget == "spent"


async def test_a_bot_of_another_address_on_its_way_is_worth_coming_back_for(
    env: RouterEnv,
) -> None:
    await env.add_bot("a", ip=HERE)
    await env.add_bot("b", ip=THERE)
    env.change("b", BotState.BACKING_OFF)
    refuse(env, SPENT_IP, "a")
    with pytest.raises(NotReady):
        await env.ask(1)
    assert (await env.report()).budget == "left"


async def test_the_report_says_what_a_request_is_told(env: RouterEnv) -> None:
    await env.add_bot("a")
    refuse(env, SPENT_IP, "a")
    error = await told(env.ask(1))
    report = await env.report()
    assert (report.ready, report.budget, report.refusal) == (0, "spent", str(error))
    frees_at = round(WALL_AT_ZERO + env.clock.now() + SPENT_IP.retry_after)
    assert report.frees_at == report.spent_addresses[HERE] == frees_at


async def test_without_bots_it_is_no_budget(env: RouterEnv) -> None:
    report = await env.report()
    assert (report.ready, report.budget, report.frees_at) == (0, "left", None)
    assert report.refusal == "no bot is ready to ask the Game Coordinator"


@pytest.mark.parametrize("seconds", [5.0, 2100.0], ids=["pacing", "rate limit"])
async def test_a_bot_that_may_log_on_only_much_later_is_not_waited_for(
    env: RouterEnv, seconds: float
) -> None:
    """It has taken another account, and Steam has had enough of its address."""
    await env.add_bot("a")
    env.change("a", BotState.EXHAUSTED)
    env.address.tell(BotChanged("a", BotState.CONNECTING, goes_on_in=seconds))
    asked = env.ask(1)
    await settle()
    assert asked.done() == (seconds > LONGEST_ROTATION_S)
    if asked.done():
        with pytest.raises(NotReady) as refused:
            await asked
        assert refused.value.retry_after is not None
        assert refused.value.retry_after >= seconds
        return
    await env.add_bot("a2")
    assert (await asked).match_id == 1


async def test_a_bot_under_way_to_another_account_is_no_refusal(env: RouterEnv) -> None:
    await env.add_bot("a")
    refuse(env, Refused("account", 60.0), "a")
    asked = env.ask(1)
    await settle()
    assert (await env.report()).refusal is None
    env.change("a", BotState.EXHAUSTED)
    await settle()
    assert (await env.report()).refusal is None
    env.nothing_free("a", 60.0)
    error = await told(asked)
    assert str(error) == "the daily budget of every account is spent"
    assert (await env.report()).budget == "spent"
