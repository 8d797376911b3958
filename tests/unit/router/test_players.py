"""Questions about players in virtual time: whose turn it is, and who follows whom."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest
import structlog
from support.fake_clock import FakeClock, settle

from actors.actor import Actor, Address, fail
from actors.bot.messages import (
    BotChanged,
    BotRemoved,
    ReadyBot,
    RouterToBot,
    ServeAliases,
    ServeProfile,
)
from actors.bot.registry import BotRegistry
from actors.bot.states import BotState
from actors.errors import ActorStopped, Busy, GcUnavailable, NotReady, SteamUnreachable, TimedOut
from actors.matches.players import PlayerDecoder
from actors.router.messages import FetchAliases, FetchProfile, PlayersMessage
from actors.router.players import BOT_GRACE_S, MOST_PER_BOT, Players
from sandbox.gc import player_queries as known
from sandbox.gc.messages import PROFILE_CARD
from sandbox.protocol.messages import ALIASES_RESPONSE

pytestmark = pytest.mark.usefixtures("no_leaks")

Served = ServeProfile | ServeAliases
Answer = Callable[[Served], bytes | Exception | None]  # None: silence
FIRST = known.FIRST_STEAM_ID
REQUEST_ID = "nightly-17"


def honest(serve: Served) -> bytes:
    if isinstance(serve, ServeProfile):
        return PROFILE_CARD.encode(known.card(0, serve.account_id))
    tables = [
        {"eresult": 1, "steamid": one, "names": [{"name_since": 60, "name": "x"}]}
        for one in serve.steam_ids
    ]
    return ALIASES_RESPONSE.encode({"responses": tables})


def silent(_: Served) -> None:
    return None


class FakeBot(Actor[RouterToBot]):
    """Answers as told; a silent one keeps the envelope until the test is over."""

    def __init__(self, name: str, clock: FakeClock, answer: Answer) -> None:
        super().__init__(Address(name), clock=clock)
        self.answer = answer
        self.asked: list[Served] = []
        self.waiting: list[asyncio.Future[bytes]] = []  # the answers that are to come

    async def handle(self, message: RouterToBot) -> asyncio.Future[bytes]:
        assert isinstance(message, ServeProfile | ServeAliases)
        self.asked.append(message)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        outcome = self.answer(message)
        if outcome is None:
            self.waiting.append(answer)
        elif isinstance(outcome, Exception):
            fail(answer, outcome)
        else:
            answer.set_result(outcome)
        return answer


@dataclass
class PlayersEnv:
    clock: FakeClock
    address: Address[PlayersMessage]
    players: Players
    bots: dict[str, FakeBot] = field(default_factory=dict)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def add_bot(self, name: str, answer: Answer = honest) -> FakeBot:
        bot = self.bots[name] = FakeBot(name, self.clock, answer)
        await bot.start()
        self.tasks.append(asyncio.create_task(bot.run()))
        ready_bot = ReadyBot(name, f"account of {name}", 1, "192.0.2.1", bot.address)
        self.address.tell(BotChanged(name, BotState.READY, ready_bot=ready_bot))
        await settle()
        return bot

    def profile(self, account_id: int = 7, within: float = 2.0) -> asyncio.Task[bytes]:
        deadline = self.clock.now() + within
        fetch = FetchProfile(account_id, deadline, REQUEST_ID)
        return asyncio.create_task(self.address.ask(fetch, deadline=deadline + 1))

    def aliases(self, *steam_ids: int, within: float = 2.0) -> asyncio.Task[bytes]:
        deadline = self.clock.now() + within
        fetch = FetchAliases(steam_ids, deadline, REQUEST_ID)
        return asyncio.create_task(self.address.ask(fetch, deadline=deadline + 1))

    def counts(self) -> list[int]:
        return [len(bot.asked) for bot in self.bots.values()]


@pytest.fixture
async def env(no_leaks: None, clock: FakeClock) -> AsyncIterator[PlayersEnv]:
    del no_leaks  # checked after this fixture has ended
    address: Address[PlayersMessage] = Address("players")
    players = Players(
        address=address,
        decoder=PlayerDecoder(),
        registry=BotRegistry(stable_after_s=60.0, clock=clock, log=structlog.get_logger()),
        clock=clock,
        log=structlog.get_logger(),
    )
    await players.start()
    running = asyncio.create_task(players.run())
    env = PlayersEnv(clock, address, players)
    yield env
    players.stop()
    for bot in env.bots.values():
        bot.stop()
    await asyncio.gather(running, *env.tasks)


async def test_a_card_and_names_come_back_as_json(env: PlayersEnv) -> None:
    await env.add_bot("a")
    assert json.loads(await env.profile(120_269_134))["lifetime_games"] == 1137
    name = {"name_since": "1970-01-01T00:01:00.000Z", "name": "x"}
    answer = json.loads(await env.aliases(FIRST, FIRST + 1))
    assert answer == {str(FIRST): [name], str(FIRST + 1): [name]}


async def test_bots_take_turns(env: PlayersEnv) -> None:
    for name in "abc":
        await env.add_bot(name)
    for _ in range(7):
        await env.profile()
    assert sorted(env.counts()) == [2, 2, 3]


async def test_one_that_fails_is_followed_by_one_other_with_all_the_time(env: PlayersEnv) -> None:
    gone = await env.add_bot("a", lambda _: SteamUnreachable("session", "gone"))
    good = await env.add_bot("b")
    await env.profile()
    assert (gone.asked, good.asked) == (
        [ServeProfile(7, 1.0, REQUEST_ID)],
        [ServeProfile(7, 2.0, REQUEST_ID)],
    )


async def test_a_silent_one_has_half_of_the_time(env: PlayersEnv) -> None:
    await env.add_bot("a", silent)
    good = await env.add_bot("b")
    asked = env.profile()
    await settle()
    await env.clock.advance(1.0 + BOT_GRACE_S)
    assert json.loads(await asked)["account_id"] == 7
    assert [one.timeout_s for one in good.asked] == [2.0 - 1.0 - BOT_GRACE_S]


async def test_two_tries_and_no_more(env: PlayersEnv) -> None:
    for name in "abc":
        await env.add_bot(name, lambda _: GcUnavailable("away"))
    with pytest.raises(TimedOut, match="away"):
        await env.profile()
    assert sum(env.counts()) == 2


async def test_the_only_bot_has_all_the_time_and_is_asked_once(env: PlayersEnv) -> None:
    bot = await env.add_bot("a", silent)
    asked = env.aliases(FIRST)
    await settle()
    assert [one.timeout_s for one in bot.asked] == [2.0]
    await env.clock.advance(2.0 + BOT_GRACE_S)
    with pytest.raises(TimedOut, match="silence"):
        await asked
    assert len(bot.asked) == 1


@pytest.mark.parametrize("answer", [b"\xff", PROFILE_CARD.encode(known.card(0, 8))])
async def test_garbage_and_the_card_of_another_are_no_answer(
    env: PlayersEnv, answer: bytes
) -> None:
    await env.add_bot("a", lambda _: answer)
    await env.add_bot("b")
    assert json.loads(await env.profile())["account_id"] == 7


async def test_without_a_ready_bot_it_says_notready(env: PlayersEnv) -> None:
    with pytest.raises(NotReady):
        await env.profile()
    await env.add_bot("a")
    await env.add_bot("b")
    env.address.tell(BotChanged("a", BotState.LAUNCHING))
    env.address.tell(BotRemoved("b"))
    with pytest.raises(NotReady):
        await env.profile()
    assert env.counts() == [0, 0]


async def test_too_many_at_once_are_refused(env: PlayersEnv) -> None:
    bot = await env.add_bot("a", silent)
    asked = [env.profile() for _ in range(MOST_PER_BOT + 1)]
    await settle()
    with pytest.raises(Busy):
        await asked[-1]
    assert len(bot.asked) == MOST_PER_BOT
    for answer in bot.waiting:
        answer.set_result(honest(ServeProfile(7, 0.0)))
    await asyncio.gather(*asked[:-1])
    bot.answer = honest
    await env.profile()


async def test_questions_whose_callers_have_gone_count_until_the_bot_is_done(
    env: PlayersEnv,
) -> None:
    bot = await env.add_bot("a", silent)
    asked = [env.profile() for _ in range(MOST_PER_BOT)]
    await settle()
    for one in asked:
        one.cancel()
    await settle()
    with pytest.raises(Busy):
        await env.profile()
    for answer in bot.waiting:
        answer.set_result(honest(ServeProfile(7, 0.0)))
    await settle()
    bot.answer = honest
    await env.profile()


async def test_no_other_bot_is_asked_once_the_caller_has_gone(env: PlayersEnv) -> None:
    await env.add_bot("a", silent)
    other = await env.add_bot("b")
    asked = env.profile()
    await settle()
    asked.cancel()
    await env.clock.advance(3)
    assert not other.asked


async def test_a_stop_ends_what_is_under_way(env: PlayersEnv) -> None:
    await env.add_bot("a", silent)
    asked = env.profile(within=60)
    await settle()
    env.players.stop()
    with pytest.raises(ActorStopped):
        await asked
