"""The router in virtual time: answers that are of no use, and trouble inside the GC."""

from __future__ import annotations

import pytest
from support.router_env import (
    Answer,
    Later,
    RouterEnv,
    env_fixture,  # noqa: F401 - a fixture
    match,
    matches_fixture,  # noqa: F401 - a fixture
)

from actors.errors import RequestError, SteamUnreachable, TimedOut, Unusable
from actors.matches.protobuf.decoder import MAX_BODY
from actors.router.bot_health import LEAST_S
from actors.router.unanswered import LONGEST_ASIDE_S, SET_ASIDE_S, UnansweredTracker, Why
from sandbox.gc.matches.schema import encode_response

pytestmark = pytest.mark.usefixtures("no_leaks")


def result(number: int) -> bytes:
    return encode_response({"result": number})


USELESS: dict[str, Answer] = {
    "another match": lambda match_id: match(match_id + 1),
    "no match": lambda _: result(1),
    "an unknown result": lambda _: result(99),
    "a result of errors": lambda _: result(2**32 - 1),
    "cut short": lambda match_id: match(match_id)[:-1],
    "too large": lambda match_id: match(match_id) + bytes(MAX_BODY),
}
TROUBLE = (10, 16, 20)


async def refused(env: RouterEnv, match_id: int, within: float = 15.0) -> RequestError:
    with pytest.raises(RequestError) as caught:
        await env.ask(match_id, within)
    return caught.value


@pytest.mark.parametrize("answer", USELESS.values(), ids=USELESS)
async def test_two_accounts_that_agree_set_the_match_aside(env: RouterEnv, answer: Answer) -> None:
    for name in "abcd":
        await env.add_bot(name, lambda one: answer(one) if one == 7 else match(one))
    for _ in range(5):  # the first request costs two, all others nothing
        error = await refused(env, 7)
        assert isinstance(error, Unusable)
        assert error.retry_after
    assert len(env.budgets.granted) == 2
    assert (await env.ask(8)).match_id == 8


@pytest.mark.parametrize("number", TROUBLE)
async def test_trouble_of_the_gc_is_no_verdict_on_the_match(env: RouterEnv, number: int) -> None:
    for name in "abcd":
        await env.add_bot(name, lambda one: result(number) if one == 7 else match(one))
    for _ in range(5):
        error = await refused(env, 7)
        assert type(error) is TimedOut
        assert error.retry_after
    assert len(env.budgets.granted) == 2


async def test_it_is_asked_for_again_later_and_one_account_is_enough_then(env: RouterEnv) -> None:
    for name in "abcd":
        await env.add_bot(name, lambda _: result(99))
    waits = []
    for _ in range(8):
        error = await refused(env, 7)
        assert error.retry_after is not None
        waits.append(error.retry_after)
        await env.clock.advance(error.retry_after)
    assert waits[:3] == [SET_ASIDE_S, 2 * SET_ASIDE_S, 4 * SET_ASIDE_S]
    assert waits[-1] == LONGEST_ASIDE_S
    assert len(env.budgets.granted) == 2 + 7


async def test_a_lone_useless_answer_is_followed_by_one_other_bot(env: RouterEnv) -> None:
    await env.add_bot("a", lambda match_id: match(match_id + 1))
    await env.add_bot("b")
    await env.add_bot("c")
    assert (await env.ask(7)).match_id == 7
    assert env.budgets.granted == ["account of a", "account of b"]


async def test_a_good_answer_ends_it(env: RouterEnv) -> None:
    is_good = False
    for name in "ab":
        await env.add_bot(name, lambda one: match(one) if is_good else result(99))
    assert isinstance(await refused(env, 7), Unusable)
    is_good = True
    await env.clock.advance(SET_ASIDE_S)
    assert (await env.ask(7)).match_id == 7
    assert 7 not in env.router._health.unanswered.aside


async def test_the_only_account_is_not_asked_the_same_again(env: RouterEnv) -> None:
    bot = await env.add_bot("a", lambda _: result(99))
    error = await refused(env, 7)
    assert isinstance(error, Unusable)
    assert error.retry_after
    assert bot.asked == [7]


async def test_a_bot_that_breaks_says_nothing_about_the_match(env: RouterEnv) -> None:
    await env.add_bot("a", lambda _: result(99))
    await env.add_bot("b", lambda _: SteamUnreachable("session", "gone"))
    await env.add_bot("c")
    assert (await env.ask(7)).match_id == 7


async def test_a_useless_answer_is_an_answer_of_its_account(env: RouterEnv) -> None:
    """It ends no account's row of silences only because the match is odd."""
    bot = await env.add_bot("a", lambda _: Later(LEAST_S, result(99)))
    for match_id in range(10):
        asked = env.ask(match_id + 1)
        await env.clock.advance(LEAST_S)
        with pytest.raises(Unusable):
            await asked
    assert (bot.relogs, bot.spares, bot.spent) == (0, [], [])
    assert (await env.report()).ready == 1


def test_silence_and_useless_answers_of_two_accounts_do_not_agree() -> None:
    silence = UnansweredTracker()
    silence.answered("a", 1, 0.0)
    silence.answered("b", 2, 0.0)
    assert not silence.silent("a", 10, 1.0)
    assert not silence.useless("b", 10, Why.USELESS, 1.0)
    assert 10 not in silence.aside


def test_tables_of_useless_answers_stay_small() -> None:
    silence = UnansweredTracker()
    for number in range(1000):
        silence.useless("a", number, Why.USELESS, float(number * 10))
    assert len(silence._useless_to) <= 61
