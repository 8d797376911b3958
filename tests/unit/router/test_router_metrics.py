"""What the router counts, in virtual time."""

from __future__ import annotations

import asyncio

import pytest
from support.fake_clock import FakeClock, settle
from support.fake_matches import FakeMatches
from support.router_env import (  # noqa: F401 - two are fixtures
    POLICY,
    RouterEnv,
    after,
    env_fixture,
    matches_fixture,
    routing,
    silence,
)

from actors.accounts.models import Refused
from actors.errors import GcUnavailable, RequestError, StoreUnavailable
from actors.router.bot_health import ALONE_TIMES
from actors.router.unanswered import OPENS_AFTER

pytestmark = pytest.mark.usefixtures("no_leaks")


async def test_each_match_is_looked_up_once(env: RouterEnv) -> None:
    await env.add_bot("a", after(0.2))
    asked = [env.ask(7) for _ in range(3)]
    await settle()
    await env.clock.advance(0.2)
    await asyncio.gather(*asked)
    await env.ask(7)
    assert env.router_metrics.counts == {"miss": 1, "joined": 2, "memory": 1}
    assert env.router_metrics.latencies == [pytest.approx(0.2)]


async def test_what_another_container_knows_or_drops_is_told_apart(
    env: RouterEnv, clock: FakeClock, matches: FakeMatches
) -> None:
    async with routing(clock, matches) as other:
        slow = await other.add_bot("b", silence)
        await env.add_bot("a")
        await env.ask(7)
        await other.ask(7)
        assert other.router_metrics.counts == {"redis": 1}
        theirs = other.ask(8)
        await settle()
        ours = env.ask(8)
        await settle()
        assert env.router_metrics.counts == {"miss": 1}
        theirs.cancel()
        slow.waiting[0].set_exception(GcUnavailable("gone"))
        await clock.advance(1.0)
        await ours
        assert env.router_metrics.counts == {"miss": 2, "took_over": 1}


async def test_failures_are_counted_by_kind(env: RouterEnv) -> None:
    answers = {7: None, 8: GcUnavailable("no"), 9: b"\xff"}
    await env.add_bot("a", lambda match_id: answers[match_id])
    for match_id in answers:
        asked = env.ask(match_id, within=POLICY.request_timeout_s * 2)
        await env.clock.advance(POLICY.request_timeout_s * 4)
        with pytest.raises(RequestError):
            await asked
    assert env.router_metrics.counts["silent"] >= 1
    assert env.router_metrics.counts["broke"] >= 1
    assert env.router_metrics.counts["unusable"] >= 1
    assert env.router_metrics.latencies == []


async def test_refusals_are_counted_by_what_is_spent(env: RouterEnv) -> None:
    await env.add_bot("a")
    for scope in ("ip", "lease"):
        env.budgets.refusals["account of a"] = Refused(scope, 1.0)
        asked = env.ask(7, within=0.5)
        await env.clock.advance(1.0)
        with pytest.raises(RequestError):
            await asked
    assert {
        name: count for name, count in env.router_metrics.counts.items() if "refused" in name
    } == {
        "refused_ip": 1,
        "refused_lease": 1,
    }


async def test_a_redis_that_is_away_is_no_refusal(env: RouterEnv) -> None:
    await env.add_bot("a")
    env.budgets.refusals["account of a"] = StoreUnavailable("reserve")
    with pytest.raises(RequestError):
        await env.ask(7)
    assert env.router_metrics.counts == {}  # nor was it looked up


async def test_hedges_are_counted(env: RouterEnv) -> None:
    await env.add_bot("a", silence)
    await env.add_bot("b", silence)
    asked = env.ask(7)
    await env.clock.advance(1.5)
    assert env.router_metrics.counts == {"miss": 1, "hedged": 1}
    asked.cancel()
    await settle()


async def test_an_account_that_stays_silent_is_counted(env: RouterEnv) -> None:
    await env.add_bot("a", silence)
    for match_id in range(OPENS_AFTER):
        asked = env.ask(match_id, within=POLICY.request_timeout_s)
        await env.clock.advance(ALONE_TIMES * POLICY.request_timeout_s + 1)
        with pytest.raises(RequestError):
            await asked
    assert env.router_metrics.counts["circuit_spare"] == 1
    assert env.router_metrics.counts["silent"] == OPENS_AFTER
