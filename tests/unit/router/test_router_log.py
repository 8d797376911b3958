"""What of the router is logged at info: an account's own failure, once, and never what all share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.router_env import (
    Later,
    RouterEnv,
    env_fixture,  # noqa: F401 - a fixture
    match,
    matches_fixture,  # noqa: F401 - a fixture
    silence,
)

from actors.accounts.models import Refused
from actors.bot.log import FEW
from actors.errors import RequestError, SteamUnreachable

pytestmark = pytest.mark.usefixtures("no_leaks")

Lines = Sequence[MutableMapping[str, Any]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    with capture_logs() as found:
        yield found


def levels(lines: Lines, event: str) -> list[str]:
    return [line["log_level"] for line in lines if line["event"] == event]


async def fetched(env: RouterEnv, match_id: int) -> None:
    """Ask for a match and let all the time pass that this may take."""
    asked = env.ask(match_id)
    await env.clock.advance(40)
    assert asked.done()
    if asked.exception() is not None:
        assert isinstance(asked.exception(), RequestError)


def unusable(_match_id: int) -> bytes:
    return b"\xff"


async def test_an_account_that_fails_is_told_once_until_it_answers(
    env: RouterEnv, lines: Lines
) -> None:
    bot = await env.add_bot("bot-1", unusable)
    for match_id in (1, 2, 3):
        await fetched(env, match_id)
    assert levels(lines, "attempt_failed")[0] == "info"
    assert levels(lines, "attempt_failed").count("info") == 1
    bot.answer = match
    await fetched(env, 4)
    bot.answer = unusable
    await fetched(env, 5)
    assert levels(lines, "attempt_failed").count("info") == 2


async def test_a_bot_that_breaks_has_said_so_itself(env: RouterEnv, lines: Lines) -> None:
    def broken(_match_id: int) -> SteamUnreachable:
        return SteamUnreachable("session", "closed")

    await env.add_bot("bot-1", broken)
    await fetched(env, 1)
    assert set(levels(lines, "attempt_failed")) == {"debug"}


async def test_a_game_coordinator_that_is_silent_to_all_is_no_line_per_account(
    env: RouterEnv, lines: Lines
) -> None:
    for number in range(30):
        await env.add_bot(f"bot-{number}", silence)
    for match_id in range(1, 90):
        asked = env.ask(match_id)
        await env.clock.advance(6)
        asked.cancel()
    assert len(levels(lines, "attempt_failed")) > 60
    assert levels(lines, "attempt_failed").count("info") <= FEW
    assert len(levels(lines, "circuit_opened")) > 10
    assert levels(lines, "circuit_opened").count("warning") <= FEW


async def test_an_address_whose_budget_is_spent_is_one_line(env: RouterEnv, lines: Lines) -> None:
    for number in range(10):
        await env.add_bot(f"bot-{number}")
        env.budgets.refusals[f"account of bot-{number}"] = Refused("ip", 3600.0)
    await fetched(env, 1)
    assert levels(lines, "budget_refused") == ["info"]  # none of the others is asked any more


async def test_requests_refused_together_for_a_spent_address_are_one_line(
    env: RouterEnv, lines: Lines
) -> None:
    for number in range(5):
        await env.add_bot(f"bot-{number}")
        env.budgets.refusals[f"account of bot-{number}"] = Refused("ip", 3600.0)
    asked = [env.ask(match_id) for match_id in range(1, 6)]
    await env.clock.advance(1)
    await asyncio.gather(*asked, return_exceptions=True)
    assert levels(lines, "budget_refused").count("info") == 1


async def test_each_account_whose_budget_is_spent_is_a_line(env: RouterEnv, lines: Lines) -> None:
    for number in range(3):
        await env.add_bot(f"bot-{number}")
        env.budgets.refusals[f"account of bot-{number}"] = Refused("account", 3600.0)
    await fetched(env, 1)
    assert levels(lines, "budget_refused") == ["info"] * 3


async def test_a_bot_that_stays_slow_is_told_once(env: RouterEnv, lines: Lines) -> None:
    await env.add_bot("quick")
    await env.add_bot("slow", lambda match_id: Later(4.0, match(match_id)))
    for match_id in range(1, 200):
        asked = env.ask(match_id)
        await env.clock.advance(5)
        await asked
    assert len(levels(lines, "bot_deprioritised")) > 1
    assert levels(lines, "bot_deprioritised").count("info") == 1
