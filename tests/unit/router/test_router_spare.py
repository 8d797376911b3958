"""The router in virtual time: accounts that Valve counts out sooner than we do, and spare ones."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from dataclasses import dataclass, field

import pytest
from support.fake_clock import FakeClock
from support.fake_matches import FakeMatches
from support.router_env import (
    FakeBot,
    RouterEnv,
    after,
    match,
    matches_fixture,  # noqa: F401 - a fixture
    routing,
)

from actors.bot.messages import BotChanged, ReadyBot
from actors.bot.states import BotState
from actors.errors import RequestDropped, RequestError, TimedOut
from actors.router.bot_health import LEFT_FOR_SPARE_S, SPENT_EARLY_S
from actors.router.messages import RouterPolicy
from actors.router.unanswered import OPENS_AFTER

pytestmark = pytest.mark.usefixtures("no_leaks")

POLICY = RouterPolicy(5.0, max_in_flight=5, min_interval_s=0.0, queue=100)
LOG_ON_S = 2.0


@pytest.fixture(params=["silent", "dropped"])
def in_vain(request: pytest.FixtureRequest) -> Exception | None:
    """Requests in vain stay without an answer, or the GC says that it drops them."""
    return RequestDropped() if request.param == "dropped" else None


@dataclass
class Fleet:
    """Bots that take accounts out of `free`; each account is answered so often at most."""

    env: RouterEnv
    limit: int
    free: list[str]
    in_vain: Exception | None  # what a request that is not served comes to; None: silence
    is_gc_away: bool = False
    answered: Counter[str] = field(default_factory=Counter)
    silent: Counter[str] = field(default_factory=Counter)
    log_ons: list[float] = field(default_factory=list)
    accounts: dict[str, str] = field(default_factory=dict)  # by bot
    changes: dict[str, tuple[int, int, int]] = field(default_factory=dict)

    async def add(self, name: str) -> None:
        bot = await self.env.add_bot(name, lambda match_id: self.answer(name, match_id))
        self.take(bot)
        self.ready(bot)

    def answer(self, name: str, match_id: int) -> bytes | Exception | None:
        account = self.accounts[name]
        if self.is_gc_away or self.answered[account] >= self.limit:
            self.silent[account] += 1
            return self.in_vain
        self.answered[account] += 1
        return match(match_id)

    def take(self, bot: FakeBot) -> None:
        self.accounts[bot.address.name] = self.free.pop(0)
        self.changes[bot.address.name] = (len(bot.spares), len(bot.spent), bot.relogs)

    def ready(self, bot: FakeBot) -> None:
        name = bot.address.name
        ready_bot = ReadyBot(name, self.accounts[name], 1, "192.0.2.1", bot.address)
        self.log_ons.append(self.env.clock.now())
        self.env.address.tell(BotChanged(name, BotState.READY, ready_bot=ready_bot))

    def obey(self) -> None:
        """Do what the bots were told, as bots do."""
        for name, bot in self.env.bots.items():
            spares, spent, relogs = self.changes[name]
            self.changes[name] = (len(bot.spares), len(bot.spent), bot.relogs)
            is_spent = len(bot.spent) > spent
            if is_spent or (len(bot.spares) > spares and self.free):
                self.env.change(name, BotState.EXHAUSTED)
                if self.free:
                    self.take(bot)
                    self.ready_later(bot)
                else:
                    self.env.nothing_free(name, SPENT_EARLY_S)
            elif bot.relogs > relogs:
                self.env.change(name, BotState.BACKING_OFF)
                self.ready_later(bot)

    def ready_later(self, bot: FakeBot) -> None:
        clock = self.env.clock
        clock.call_at(clock.now() + LOG_ON_S, lambda: self.ready(bot))

    async def serve(self, seconds: int, first_id: int = 1) -> Counter[str]:
        """Ask for one match a second; return what the answers were."""
        asked = []
        for number in range(seconds):
            asked.append(self.env.ask(first_id + number, within=15.0))
            for _ in range(4):
                await self.env.clock.advance(0.25)
                self.obey()
        for _ in range(80):
            await self.env.clock.advance(0.25)
            self.obey()
        await asyncio.wait(asked)
        return Counter(type(one.exception()).__name__ for one in asked)


async def test_spare_accounts_are_used_when_the_limit_of_the_gc_is_below_ours(
    clock: FakeClock, matches: FakeMatches, in_vain: Exception | None
) -> None:
    """Steam-side limit 5, three bots, eight accounts, one request a second."""
    async with routing(clock, matches, POLICY) as env:
        fleet = Fleet(
            env, limit=5, free=[f"account-{number}" for number in range(8)], in_vain=in_vain
        )
        for name in ("bot-1", "bot-2", "bot-3"):
            await fleet.add(name)
        outcomes = await fleet.serve(65)
        assert sum(fleet.answered.values()) == 8 * 5
        assert outcomes["NoneType"] == 8 * 5
        # A handful, the last ones' probes included.
        assert max(fleet.silent.values()) <= OPENS_AFTER + 4
        assert sum(fleet.silent.values()) <= 8 * (OPENS_AFTER + 1) + 6


async def test_while_there_are_spare_accounts_few_requests_fail(
    clock: FakeClock, matches: FakeMatches, in_vain: Exception | None
) -> None:
    async with routing(clock, matches, POLICY) as env:
        fleet = Fleet(
            env, limit=5, free=[f"account-{number}" for number in range(50)], in_vain=in_vain
        )
        for name in ("bot-1", "bot-2", "bot-3"):
            await fleet.add(name)
        outcomes = await fleet.serve(120)
        # A drop is over at once: where all accounts are spent, no log-on of a spare one is waited for.
        assert outcomes["NoneType"] >= (0.85 if in_vain is None else 0.8) * 120


async def test_one_account_that_is_spent_early_is_changed_without_any_trial(
    clock: FakeClock, matches: FakeMatches, in_vain: Exception | None
) -> None:
    async with routing(clock, matches, POLICY) as env:
        fleet = Fleet(env, limit=1000, free=["spent", "good-1", "good-2", "spare"], in_vain=in_vain)
        fleet.answered["spent"] = 1000
        for name in ("bot-1", "bot-2", "bot-3"):
            await fleet.add(name)
        outcomes = await fleet.serve(60)
        assert outcomes == {"NoneType": 60}
        assert fleet.silent["spent"] <= OPENS_AFTER
        assert fleet.accounts["bot-1"] == "spare"
        assert env.bots["bot-1"].spent == [SPENT_EARLY_S]


async def test_a_silent_gc_costs_one_log_on_at_a_time_and_no_account(
    clock: FakeClock, matches: FakeMatches, in_vain: Exception | None
) -> None:
    """Ten minutes of silence for all, with as many spare accounts as one likes."""
    async with routing(clock, matches, POLICY) as env:
        fleet = Fleet(
            env,
            limit=10_000,
            free=[f"account-{number}" for number in range(100)],
            in_vain=in_vain,
        )
        for name in ("bot-1", "bot-2", "bot-3", "bot-4", "bot-5"):
            await fleet.add(name)
        await fleet.serve(10)
        before = len(fleet.log_ons)
        fleet.is_gc_away = True
        await fleet.serve(600, first_id=1000)
        # 60, 120, 240 s ... of each kind, and the first ones.
        assert len(fleet.log_ons) - before <= 9
        assert all(bot.spent == [] for bot in env.bots.values())  # none is to blame
        fleet.is_gc_away = False
        await clock.advance(120.0)
        assert (await fleet.serve(30, first_id=5000))["NoneType"] == 30


async def test_without_a_spare_account_nothing_changes_but_the_pause(
    clock: FakeClock, matches: FakeMatches, in_vain: Exception | None
) -> None:
    async with routing(clock, matches, POLICY) as env:
        fleet = Fleet(env, limit=5, free=["account-1"], in_vain=in_vain)
        await fleet.add("bot-1")
        await fleet.serve(40)
        bot = env.bots["bot-1"]
        assert bot.spares[0] == LEFT_FOR_SPARE_S  # it was asked to take one
        assert fleet.accounts == {"bot-1": "account-1"}
        assert fleet.silent["account-1"] <= OPENS_AFTER + 4
        asked = env.ask(9999)
        await clock.advance(35.0)
        with pytest.raises(RequestError) as refused:
            await asked
        assert refused.value.retry_after


async def test_a_gc_that_was_away_for_a_while_is_the_fault_of_no_account(
    clock: FakeClock, matches: FakeMatches, in_vain: Exception | None
) -> None:
    """The spare account is answered because the GC is back, and so are all the others."""
    async with routing(clock, matches, POLICY) as env:
        fleet = Fleet(
            env, limit=10_000, free=[f"account-{number}" for number in range(6)], in_vain=in_vain
        )
        for number in range(1, 6):
            await fleet.add(f"bot-{number}")
        await fleet.serve(10)
        fleet.is_gc_away = True
        await fleet.serve(6, first_id=1000)
        assert any(bot.spares for bot in env.bots.values())
        fleet.is_gc_away = False
        await fleet.serve(10, first_id=2000)
        await clock.advance(60.0)
        assert (await fleet.serve(30, first_id=5000))["NoneType"] == 30
        assert all(bot.spent == [] for bot in env.bots.values())
        assert (await env.report()).ready == 5


async def test_those_that_are_silent_beside_a_spare_account_are_spent(
    clock: FakeClock, matches: FakeMatches, in_vain: Exception | None
) -> None:
    async with routing(clock, matches, POLICY) as env:
        fleet = Fleet(
            env, limit=1000, free=["spent-1", "spent-2", "spent-3", "good"], in_vain=in_vain
        )
        fleet.answered.update({"spent-1": 1000, "spent-2": 1000, "spent-3": 1000})
        for name in ("bot-1", "bot-2", "bot-3"):
            await fleet.add(name)
        await fleet.serve(60)
        assert sum(len(bot.spares) for bot in env.bots.values()) == 1
        assert sorted(bot.spent for bot in env.bots.values()) == [
            [],
            [SPENT_EARLY_S],
            [SPENT_EARLY_S],
        ]
        assert all(count <= OPENS_AFTER + 2 for count in fleet.silent.values())
        assert sum(bot.relogs for bot in env.bots.values()) == 0


# --- requests that the GC throws away -------------------------------------------------------------
async def test_drops_between_answers_are_no_evidence(
    clock: FakeClock, matches: FakeMatches
) -> None:
    async with routing(clock, matches, POLICY) as env:
        turns = itertools.count()
        moody = await env.add_bot(
            "moody", lambda match_id: RequestDropped() if next(turns) % 3 else match(match_id)
        )
        await env.add_bot("good")
        for match_id in range(1, 61):
            await env.ask(match_id)
            await clock.advance(2.0)
        assert len(moody.asked) >= 20  # it gets its turns
        assert (moody.spent, moody.relogs, moody.spares) == ([], 0, [])
        assert env.router_metrics.counts["dropped"] >= 12
        assert (
            env.router_metrics.counts["silent"] == env.router_metrics.counts["circuit_pause"] == 0
        )


async def test_a_burst_of_drops_is_a_pause_while_others_are_answered(
    clock: FakeClock, matches: FakeMatches
) -> None:
    """They are one piece of evidence, and others are answered: no other account is tried for it."""
    async with routing(clock, matches, POLICY) as env:
        await env.add_bot("good", after(0.05))
        bad = await env.add_bot("bad", lambda _: RequestDropped())
        for match_id in range(1, 13):
            asked = env.ask(match_id)
            await clock.advance(0.1)
            await asked
        assert len(bad.asked) == OPENS_AFTER
        assert (bad.spent, bad.relogs, bad.spares) == ([], 0, [])
        assert env.router_metrics.counts["circuit_pause"] == 1


async def test_a_dropped_request_is_followed_by_another_bot_at_once(
    clock: FakeClock, matches: FakeMatches
) -> None:
    async with routing(clock, matches, POLICY) as env:
        bad = await env.add_bot("bad", lambda _: RequestDropped())
        good = await env.add_bot("good")
        begun = clock.now()
        for match_id in (1, 2):
            await env.ask(match_id)
        assert len(bad.asked) >= 1
        assert good.asked == [1, 2]
        assert clock.now() == begun


async def test_a_gc_that_drops_all_of_a_match_is_not_asked_without_end(
    clock: FakeClock, matches: FakeMatches
) -> None:
    async with routing(clock, matches, POLICY) as env:
        for number in range(8):
            await env.add_bot(f"bot-{number}", lambda _: RequestDropped())
        with pytest.raises(TimedOut, match="dropped") as refused:
            await env.ask(1)
        assert refused.value.retry_after
        assert sum(len(bot.asked) for bot in env.bots.values()) <= POLICY.attempts
