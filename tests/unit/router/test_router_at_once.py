"""The router in virtual time: a match is looked up and its request counted in one call of Redis."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from support.fake_clock import FakeClock, settle
from support.fake_matches import FakeMatches
from support.router_env import (
    RouterEnv,
    after,
    matches_fixture,  # noqa: F401 - a fixture
    routing,
)

from actors.accounts.models import Refused, Reserved
from actors.accounts.store import Charge
from actors.errors import StoreMisused
from actors.matches.match import Known, Source
from actors.matches.store import ANYTHING, RENEW_EVERY_S, Claim, Locked
from actors.router.messages import RouterPolicy

pytestmark = pytest.mark.usefixtures("no_leaks")

REST_S = 60.0  # of a bot between two requests
POLICY = RouterPolicy(request_timeout_s=5.0, max_in_flight=2, min_interval_s=REST_S, queue=2)


class SlowMatches(FakeMatches):
    """Delivers the answer to a lookup when it is told to; what it says was so when it was asked."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.open = asyncio.Event()

    async def lookup(
        self, claim: Claim, *, after: int = ANYTHING, charge: Charge | None = None
    ) -> Known | Locked | Claim | Reserved | Refused:
        found = await super().lookup(claim, after=after, charge=charge)
        await self.open.wait()
        return found


class MisusedMatches(FakeMatches):
    """A key of the account has the wrong type, so nothing can be counted for it."""

    async def lookup(
        self, claim: Claim, *, after: int = ANYTHING, charge: Charge | None = None
    ) -> Known | Locked | Claim | Reserved | Refused:
        found = await super().lookup(claim, after=after)
        if charge is not None and isinstance(found, Claim):
            raise StoreMisused("lookup_and_reserve", "WRONGTYPE")
        return found


@pytest.fixture
async def env(clock: FakeClock, matches: FakeMatches) -> AsyncIterator[RouterEnv]:
    async with routing(clock, matches, POLICY) as env:
        yield env


async def test_a_request_is_counted_with_the_lookup_and_then_sent(clock: FakeClock) -> None:
    slow = SlowMatches(clock)
    async with routing(clock, slow, POLICY) as env:
        bot = await env.add_bot("a")
        asked = env.ask(7)
        await settle()
        assert env.budgets.granted == ["account of a"]
        assert bot.asked == []
        slow.open.set()
        assert (await asked).source is Source.GC
        assert bot.asked == [7]
        assert slow.looks == 1
        assert env.budgets.granted == ["account of a"]


async def test_what_another_container_knows_costs_neither_a_request_nor_a_turn(
    clock: FakeClock,
    matches: FakeMatches,
    env: RouterEnv,
) -> None:
    bots = [await env.add_bot("a"), await env.add_bot("b")]
    async with routing(clock, matches, POLICY) as other:
        await other.add_bot("c")
        for match_id in (1, 2, 3):
            await clock.advance(REST_S)
            await other.ask(match_id)
    for match_id in (1, 2, 3):
        assert (await env.ask(match_id)).source is Source.REDIS
    assert env.budgets.granted == []
    assert env.router_metrics.counts == {"redis": 3}
    for match_id in (4, 5):  # both bots are as rested as they were, and in the same order
        await env.ask(match_id)
    assert [bot.asked for bot in bots] == [[4], [5]]
    assert env.router_metrics.counts["miss"] == 2


async def test_what_another_container_is_under_way_for_is_not_asked_for_again(
    clock: FakeClock,
    matches: FakeMatches,
    env: RouterEnv,
) -> None:
    bot = await env.add_bot("a")
    async with routing(clock, matches, POLICY) as other:
        await other.add_bot("b", after(2.0))
        first = other.ask(7)
        await clock.advance(1.0)
        second = env.ask(7)
        await clock.advance(0.5)
        assert env.matches.looks > 2  # it goes on looking
        await clock.advance(2.0)
        assert ((await first).source, (await second).source) == (Source.GC, Source.REDIS)
    assert (bot.asked, env.budgets.granted) == ([], [])


async def test_who_takes_over_asks_a_bot_then(
    clock: FakeClock,
    matches: FakeMatches,
    env: RouterEnv,
) -> None:
    bot = await env.add_bot("a")
    claim = Claim(7)
    assert not isinstance(await matches.lookup(claim), Locked)
    asked = env.ask(7)
    await clock.advance(1.0)
    assert bot.asked == []
    await matches.release(claim)
    await clock.advance(1.0)
    assert (await asked).source is Source.GC
    assert (bot.asked, env.budgets.granted) == ([7], ["account of a"])


async def test_a_spent_account_is_followed_by_another(env: RouterEnv) -> None:
    await env.add_bot("a")
    bot = await env.add_bot("b")
    env.budgets.refusals["account of a"] = Refused("account", 60.0)
    assert (await env.ask(7)).source is Source.GC
    assert (bot.asked, env.budgets.granted) == ([7], ["account of b"])
    assert env.router_metrics.counts == {"miss": 1, "refused_account": 1}


async def test_an_account_that_cannot_be_counted_is_followed_by_another(clock: FakeClock) -> None:
    matches = MisusedMatches(clock)
    async with routing(clock, matches, POLICY) as env:
        await env.add_bot("a")
        bot = await env.add_bot("b")
        env.budgets.misused.add("account of a")
        assert (await env.ask(7)).source is Source.GC
        assert (bot.asked, env.budgets.granted) == ([7], ["account of b"])
        assert env.router_metrics.counts == {"miss": 1, "broke": 1}


async def test_what_is_counted_is_asked_for_though_the_client_went_away(clock: FakeClock) -> None:
    slow = SlowMatches(clock)
    async with routing(clock, slow, POLICY) as env:
        bot = await env.add_bot("a", after(3.0))
        asked = env.ask(7)
        await settle()
        asked.cancel()
        await settle()
        slow.open.set()
        await settle()
        assert (bot.asked, slow.looks) == ([7], 1)
        await clock.advance(RENEW_EVERY_S * 2.5)
        assert slow.renewals == 2
        await clock.advance(3.0)
        assert 7 in slow.known


@pytest.mark.parametrize("turns", range(24))
async def test_who_goes_away_leaves_nothing_half_done(
    clock: FakeClock,
    matches: FakeMatches,
    env: RouterEnv,
    turns: int,
) -> None:
    """At whatever moment: what is counted is asked for and heard, what is not is free for others."""
    bot = await env.add_bot("a", after(3.0))
    asked = env.ask(7)
    for _ in range(turns):
        await asyncio.sleep(0)
    asked.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asked
    await settle()
    assert len(env.budgets.granted) == len(bot.asked)
    await clock.advance(RENEW_EVERY_S * 1.5)
    assert bool(matches.claims) == bool(bot.asked) == bool(matches.renewals)
    await clock.advance(3.0)
    assert (7 in matches.known) == bool(bot.asked)
    assert matches.claims == {}
    assert env.router._fetches == {}
    again = env.ask(7)
    await clock.advance(REST_S)
    assert (await again).match_id == 7
    assert bot.asked == [7]


@pytest.mark.parametrize("turns", range(24))
async def test_who_goes_away_while_no_bot_is_free_leaves_no_place_in_the_queue(
    env: RouterEnv, turns: int
) -> None:
    bot = await env.add_bot("a", after(1.0))
    first = env.ask(1)
    await settle()
    asked = env.ask(7)
    for _ in range(turns):
        await asyncio.sleep(0)
    asked.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asked
    await settle()
    assert (await env.report()).waiting == 0
    assert env.matches.claims.keys() == {1}
    await env.clock.advance(REST_S)
    assert (await first).match_id == 1
    assert bot.asked == [1]
    assert env.router._fetches == {}
