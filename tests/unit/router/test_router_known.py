"""The router in virtual time: what is known costs nothing, in one container or in several."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from support.fake_clock import FakeClock, settle
from support.fake_matches import FakeMatches
from support.router_env import (
    POLICY,
    RouterEnv,
    after,
    env_fixture,  # noqa: F401 - a fixture
    matches_fixture,  # noqa: F401 - a fixture
    routing,
    silence,
)

from actors.accounts.models import Refused
from actors.errors import (
    ActorStopped,
    MatchBlocked,
    MatchNotFound,
    RequestStoreUnavailable,
    SteamUnreachable,
    TimedOut,
)
from actors.matches.cache import Freshness
from actors.matches.match import Source
from actors.matches.store import CLAIM_S, RENEW_EVERY_S, Claim
from actors.router.messages import Reconfigure, RouterPolicy
from sandbox.gc.matches.schema import encode_response

pytestmark = pytest.mark.usefixtures("no_leaks")

FRESHNESS = Freshness(ttl_s=100.0, recent_ttl_s=10.0, negative_ttl_s=5.0, memory_entries=2)


def policy(freshness: Freshness = FRESHNESS) -> RouterPolicy:
    return RouterPolicy(5.0, max_in_flight=2, min_interval_s=0.0, queue=2, freshness=freshness)


# -- one container ---------------------------------------------------------------------------------


async def test_what_is_known_costs_no_request_and_no_look(env: RouterEnv) -> None:
    bot = await env.add_bot("a")
    first = await env.ask(7)
    second = await env.ask(7)
    assert (first.source, second.source) == (Source.GC, Source.MEMORY)
    assert second.json is first.json
    assert bot.asked == [7]
    assert env.matches.looks == 1


async def test_news_are_asked_for_and_stored(env: RouterEnv) -> None:
    salt = 1
    bot = await env.add_bot(
        "a",
        lambda _: encode_response(
            {"result": 1, "match": {"match_id": "7", "cluster": 1, "replay_salt": salt}}
        ),
    )
    await env.ask(7)
    salt = 2
    assert (await env.ask(7)).replay.salt == 1
    assert (await env.ask(7, refresh=True)).replay.salt == 2
    assert (await env.ask(7)).replay.salt == 2
    assert bot.asked == [7, 7]


async def test_who_wants_news_is_not_served_what_a_flight_finds_known(
    clock: FakeClock, matches: FakeMatches
) -> None:
    async with routing(clock, matches, policy()) as one, routing(clock, matches, policy()) as two:
        await one.add_bot("a")
        bot = await two.add_bot("b")
        await one.ask(7)
        await settle()
        old = two.ask(7)
        while matches.looks < 2:  # noqa: ASYNC110 - turns of the loop are counted, not time
            await asyncio.sleep(0)
        # The look is under way when it turns out that news are wanted.
        new = two.ask(7, refresh=True)
        assert (await new).source is Source.GC
        await old
        assert bot.asked == [7]


@pytest.mark.parametrize(("result", "error"), [(2, MatchNotFound), (15, MatchBlocked)])
async def test_a_refusal_is_remembered_for_a_while(
    clock: FakeClock, matches: FakeMatches, result: int, error: type[Exception]
) -> None:
    async with routing(clock, matches, policy()) as env:
        bot = await env.add_bot("a", lambda _: encode_response({"result": result}))
        for _ in range(2):
            with pytest.raises(error):
                await env.ask(7)
        await clock.advance(2.0)
        with pytest.raises(error) as refused:
            await env.ask(7)
        assert bot.asked == [7]
        retry_after = getattr(refused.value, "retry_after")  # noqa: B009 - of either error
        assert retry_after == (pytest.approx(3.0) if error is MatchNotFound else None)
        await clock.advance(3.0)
        with pytest.raises(error):
            await env.ask(7)
        assert bot.asked == [7, 7]


async def test_memory_is_bounded_and_follows_the_settings(
    clock: FakeClock, matches: FakeMatches
) -> None:
    async with routing(clock, matches, policy()) as env:
        bot = await env.add_bot("a")
        for match_id in (1, 2, 3):
            await env.ask(match_id)
        assert (await env.ask(3)).source is Source.MEMORY
        answer = await env.ask(1)
        assert answer.match_id == 1
        assert bot.asked == [1, 2, 3]  # the rest is in Redis
        env.address.tell(Reconfigure(policy(Freshness(memory_entries=0))))
        looks = matches.looks
        await env.ask(3)
        assert matches.looks == looks + 1


async def test_without_redis_what_is_in_memory_is_still_answered(env: RouterEnv) -> None:
    bot = await env.add_bot("a")
    await env.ask(7)
    env.matches.is_away = True
    assert (await env.ask(7)).match_id == 7
    with pytest.raises(RequestStoreUnavailable):
        await env.ask(8)
    assert bot.asked == [7]


async def test_an_answer_that_cannot_be_stored_is_handed_out_all_the_same(env: RouterEnv) -> None:
    await env.add_bot("a", after(1.0))
    asked = env.ask(7)
    await settle()
    env.matches.is_away = True
    await env.clock.advance(1.0)
    assert (await asked).match_id == 7


# -- several containers ----------------------------------------------------------------------------


async def test_many_in_three_containers_cost_one_request(
    clock: FakeClock, matches: FakeMatches
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        envs = [await stack.enter_async_context(routing(clock, matches)) for _ in range(3)]
        for env in envs:
            await env.add_bot("a", after(2.0))
        asked = [env.ask(7) for env in envs for _ in range(100)]
        await clock.advance(3.0)
        answers = await asyncio.gather(*asked)
        assert len({answer.json for answer in answers}) == 1
        assert sum(len(env.budgets.granted) for env in envs) == 1
        assert matches.looks < 60
        assert matches.claims == {}


async def test_a_flight_is_held_for_as_long_as_it_takes(
    clock: FakeClock, matches: FakeMatches
) -> None:
    async with routing(clock, matches) as one, routing(clock, matches) as two:
        await one.add_bot("a", after(CLAIM_S + 1.5))
        bot = await two.add_bot("b")
        first = one.ask(7)
        await settle()
        second = two.ask(7)
        await clock.advance(CLAIM_S + 2.0)
        assert (await first).json == (await second).json
        assert bot.asked == []


async def test_a_flight_of_several_tries_is_held_once(
    clock: FakeClock, matches: FakeMatches
) -> None:
    async with routing(clock, matches) as env:
        await env.add_bot("a", lambda _: b"garbage")
        await env.add_bot("b", lambda _: SteamUnreachable("session", "gone"))
        await env.add_bot("c", after(4.0))
        asked = env.ask(7)
        await clock.advance(4.0)
        assert (await asked).match_id == 7
        assert matches.renewals <= 4


async def test_when_the_pilot_dies_another_container_takes_over(
    clock: FakeClock, matches: FakeMatches
) -> None:
    async with routing(clock, matches) as env:
        bot = await env.add_bot("a")
        await matches.lookup(Claim(7))  # and is never heard of again
        asked = env.ask(7, within=5.0)
        await clock.advance(CLAIM_S - RENEW_EVERY_S)
        assert not asked.done()
        await clock.advance(RENEW_EVERY_S + 0.5)
        assert (await asked).match_id == 7
        assert bot.asked == [7]


@pytest.mark.parametrize("why", ["no bot", "spent", "silent", "gone away"])
async def test_when_one_container_fails_another_takes_over_at_once(
    clock: FakeClock, matches: FakeMatches, why: str
) -> None:
    async with routing(clock, matches, POLICY) as one, routing(clock, matches, POLICY) as two:
        await two.add_bot("b")
        if why != "no bot":
            await one.add_bot("a", silence)
        if why == "spent":
            one.budgets.refusals["account of a"] = Refused("ip", 60.0)
        failing = one.ask(7, within=2.0)
        await settle()
        second = two.ask(7, within=10.0)
        if why == "gone away":
            failing.cancel()
        await clock.advance(9.0)
        assert (await second).match_id == 7
        await asyncio.wait([failing])
        assert failing.cancelled() == (why == "gone away")


async def test_who_waits_in_line_holds_up_no_other_container(
    clock: FakeClock, matches: FakeMatches
) -> None:
    async with routing(clock, matches) as one, routing(clock, matches) as two:
        busy = await one.add_bot("a", after(4.0))
        await two.add_bot("b")
        for match_id in (1, 2):
            one.ask(match_id)
        await settle()
        in_line = one.ask(7)
        await settle()
        assert (await two.ask(7)).match_id == 7
        await clock.advance(4.5)
        assert (await in_line).source is Source.REDIS
        assert busy.asked == [1, 2]  # its turn came, and it was not needed


async def test_a_flight_another_router_does_not_finish_is_a_timeout(
    clock: FakeClock, matches: FakeMatches
) -> None:
    async with routing(clock, matches) as one, routing(clock, matches) as two:
        await one.add_bot("a", silence)
        await two.add_bot("b")
        first = one.ask(7, within=20.0)
        await settle()
        second = two.ask(7, within=2.0)
        await clock.advance(2.5)
        with pytest.raises(TimedOut):
            await second
        assert two.budgets.granted == []
        first.cancel()
        await clock.advance(10.0)


async def test_a_stop_gives_the_flight_up(clock: FakeClock, matches: FakeMatches) -> None:
    async with routing(clock, matches) as one:
        await one.add_bot("a", silence)
        asked = one.ask(7)
        await settle()
        assert matches.claims
    with pytest.raises(ActorStopped):
        await asked
    assert matches.claims == {}
