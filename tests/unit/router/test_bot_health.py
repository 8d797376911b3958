"""The standing of bots by how quickly they are answered."""

from __future__ import annotations

import itertools

import structlog
from structlog.testing import capture_logs
from support.fake_clock import FakeClock
from support.router_counts import RouterCounts
from support.router_env import POLICY, FakeAccounts

from actors.actor import Address
from actors.bot.messages import ReadyBot, RouterToBot
from actors.router.bot_health import FIRST_S, LONGEST_S, BotHealth, penalty_s
from actors.router.bot_pool import BotPool
from actors.router.rotation import Standing
from actors.router.unanswered import OPENS_AFTER

matches = itertools.count(1)


class Env:
    """Bots a, b and one that is always quick."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.pool = BotPool(POLICY, clock=clock)
        log = structlog.get_logger()
        self.health = BotHealth(self.pool, FakeAccounts(), RouterCounts(), clock, log)
        self.bots = {name: self.bot(name) for name in ("a", "b", "quick")}
        for bot in self.bots.values():
            self.pool.add(bot)

    def bot(self, name: str) -> ReadyBot:
        return ReadyBot(name, f"account of {name}", 1, None, Address[RouterToBot](name))

    def standing(self, name: str) -> Standing | None:
        return self.pool.rotation.standing(self.bots[name])

    async def answer(self, name: str, after_s: float) -> list[float]:
        """Let a bot answer so late, others meanwhile; return for how long it is deprioritised."""
        asked_at = self.clock.now()
        await self.clock.advance(after_s)
        quick_at = self.clock.now()
        self.health.answered(self.bots["quick"], next(matches), quick_at - 0.1, None)
        with capture_logs() as logs:
            self.health.answered(self.bots[name], next(matches), asked_at, None)
        return [log["delay_s"] for log in logs if log["event"] == "bot_deprioritised"]


def test_a_bot_is_deprioritised_for_longer_in_a_row_up_to_a_minute() -> None:
    seconds = [penalty_s(times) for times in range(8)]
    assert seconds[:3] == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S]
    assert seconds[-1] == LONGEST_S


async def test_in_a_row_counts_for_each_account_until_it_answers_in_time(clock: FakeClock) -> None:
    env = Env(clock)
    for number in range(3):
        assert await env.answer("a", 4.0) == [penalty_s(number)]
        assert env.standing("a") is Standing.DEPRIORITISED
        await clock.advance(LONGEST_S)
        assert env.standing("a") is Standing.PROBATION
    assert await env.answer("b", 4.0) == [FIRST_S]
    assert await env.answer("a", 0.1) == []
    assert env.standing("a") is Standing.GOOD
    assert await env.answer("a", 4.0) == [FIRST_S]


async def test_a_bot_on_probation_after_silence_is_not_deprioritised(clock: FakeClock) -> None:
    """Its silence says more than that."""
    env = Env(clock)
    silent = env.bots["a"]
    for _ in range(OPENS_AFTER):
        env.pool.rotation.overdue(silent)
    env.health.silent(silent, next(matches), clock.now(), others_got_it=False)
    assert env.standing("a") is Standing.PAUSED
    await clock.advance(LONGEST_S)
    assert env.standing("a") is Standing.PROBATION
    assert env.health.standing_of_new("account of a") is Standing.PROBATION
    assert await env.answer("a", 4.0) == []
    assert env.standing("a") is Standing.GOOD
    assert env.health.standing_of_new("account of a") is Standing.GOOD
