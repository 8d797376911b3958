"""The router gives up bots and takes other numbers while requests run."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
import structlog
from support.fake_clock import FakeClock, settle
from support.fake_matches import TURNS, FakeCharge, FakeMatches
from support.router_counts import RouterCounts

from actors.accounts.models import Refused, Reserved
from actors.accounts.store import AccountStore, Charge
from actors.actor import Actor, Address
from actors.bot.messages import BotChanged, BotRemoved, ReadyBot, RouterToBot, ServeMatch
from actors.bot.registry import BotRegistry
from actors.bot.states import BotState
from actors.errors import Busy, NotReady, QuotaExhausted
from actors.matches.cache import MatchCache
from actors.matches.match import Known, MatchAnswer
from actors.matches.protobuf.decoder import MatchDecoder
from actors.matches.store import ANYTHING, Claim, Locked
from actors.router.messages import (
    FetchMatch,
    GetLoads,
    Hurry,
    Reconfigure,
    RetireBot,
    RouterMessage,
    RouterPolicy,
)
from actors.router.router import Router
from sandbox.gc.matches.schema import encode_response

pytestmark = pytest.mark.usefixtures("no_leaks")

POLICY = RouterPolicy(request_timeout_s=5.0, max_in_flight=1, min_interval_s=0.0, queue=1)


class HeldBot(Actor[RouterToBot]):
    """Answers when it is told to."""

    def __init__(self, name: str, clock: FakeClock) -> None:
        super().__init__(Address(name), clock=clock)
        self.asked: list[tuple[int, asyncio.Future[bytes]]] = []  # matches and their answers

    async def handle(self, message: RouterToBot) -> asyncio.Future[bytes] | None:
        if not isinstance(message, ServeMatch):
            return None
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.asked.append((message.match_id, answer))
        return answer

    def answer(self, number: int = -1) -> None:
        match_id, answer = self.asked[number]
        answer.set_result(encode_response({"result": 1, "match": {"match_id": str(match_id)}}))


class Accounts(AccountStore):
    """Grants every request, unless `refusal` says otherwise."""

    def __init__(self) -> None:
        self.refusal: Refused | None = None

    def charge(self, account: str, fencing_token: int, ip: str | None) -> FakeCharge:
        del account, fencing_token, ip
        return FakeCharge((), (), lambda: self.refusal or Reserved(1, 1))

    async def reserve(self, account: str, fencing_token: int, ip: str | None) -> Reserved | Refused:
        del account, fencing_token, ip
        for _ in range(TURNS + 1):
            await asyncio.sleep(0)
        return self.refusal or Reserved(1, 1)

    async def address_frees_in(self, ip: str) -> float:
        del ip
        return self.refusal.retry_after if self.refusal else 0.0


class SlowMatches(FakeMatches):
    """Answers while `open` is set."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.open = asyncio.Event()
        self.open.set()

    async def lookup(
        self, claim: Claim, *, after: int = ANYTHING, charge: Charge | None = None
    ) -> Known | Locked | Claim | Reserved | Refused:
        await self.open.wait()
        return await super().lookup(claim, after=after, charge=charge)


class ChangingFleetEnv:
    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.address: Address[RouterMessage] = Address("router")
        self.matches = SlowMatches(clock)
        self.budgets = Accounts()
        self.bots: list[HeldBot] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.router = Router(
            address=self.address,
            accounts=self.budgets,
            matches=self.matches,
            memory=MatchCache(POLICY.freshness.memory_entries),
            decoder=MatchDecoder(),
            policy=POLICY,
            metrics=RouterCounts(),
            registry=BotRegistry(stable_after_s=60.0, clock=clock, log=structlog.get_logger()),
            clock=clock,
            rng=random.Random(1),
            log=structlog.get_logger(),
        )

    async def add_bot(self, name: str) -> HeldBot:
        bot = HeldBot(name, self.clock)
        await bot.start()
        self.bots.append(bot)
        self.tasks.append(asyncio.create_task(bot.run()))
        self.ready(bot)
        await settle()
        return bot

    def ready(self, bot: HeldBot) -> None:
        name = bot.address.name
        ready_bot = ReadyBot(name, f"account of {name}", 1, "192.0.2.1", bot.address)
        self.address.tell(BotChanged(name, BotState.READY, ready_bot=ready_bot))

    def ask(self, match_id: int) -> asyncio.Task[MatchAnswer]:
        deadline = self.clock.now() + 30.0
        return asyncio.create_task(
            self.address.ask(FetchMatch(match_id, deadline), deadline=deadline + 1)
        )

    def retire(self, name: str) -> asyncio.Task[None]:
        deadline = self.clock.now() + 10
        return asyncio.create_task(self.address.ask(RetireBot(name), deadline=deadline))

    async def loads(self) -> dict[str, int]:
        return dict(await self.address.ask(GetLoads(), deadline=self.clock.now() + 1))


@pytest.fixture
async def env(clock: FakeClock) -> AsyncIterator[ChangingFleetEnv]:
    env = ChangingFleetEnv(clock)
    await env.router.start()
    running = asyncio.create_task(env.router.run())
    yield env
    for bot in env.bots:
        bot.stop()
    env.router.stop()
    await asyncio.wait([running, *env.tasks])


async def test_retiring_is_answered_when_the_bot_has_nothing_in_flight(
    env: ChangingFleetEnv,
) -> None:
    bot = await env.add_bot("a")
    asked = env.ask(7)
    await settle()
    retired = env.retire("a")
    await settle()
    assert not retired.done()
    assert await env.loads() == {"a": 1}
    bot.answer()
    assert (await asked).match_id == 7
    await retired


async def test_a_retired_bot_is_asked_nothing_more_even_when_it_says_that_it_is_ready(
    env: ChangingFleetEnv,
) -> None:
    leaving, staying = await env.add_bot("a"), await env.add_bot("b")
    await env.retire("a")
    env.ready(leaving)
    for match_id in range(1, 4):
        asked = env.ask(match_id)
        await settle()
        staying.answer()
        await asked
    assert leaving.asked == []


async def test_a_bot_of_the_same_name_may_come_after_the_removal(env: ChangingFleetEnv) -> None:
    await env.add_bot("a")
    await env.retire("a")
    env.address.tell(BotRemoved("a"))
    again = await env.add_bot("a")
    asked = env.ask(7)
    await settle()
    again.answer()
    assert (await asked).match_id == 7


async def test_who_waits_is_served_at_once_when_bots_may_do_more(env: ChangingFleetEnv) -> None:
    bot = await env.add_bot("a")
    first, second = env.ask(1), env.ask(2)
    await settle()
    assert len(bot.asked) == 1
    env.address.tell(Reconfigure(RouterPolicy(5.0, max_in_flight=2, min_interval_s=0.0, queue=1)))
    await settle()
    assert len(bot.asked) == 2
    bot.answer(0)
    bot.answer(1)
    await asyncio.gather(first, second)


async def test_a_longer_queue_holds_from_now_on(env: ChangingFleetEnv) -> None:
    bot = await env.add_bot("a")
    first, second, third = env.ask(1), env.ask(2), env.ask(3)
    await settle()
    with pytest.raises(Busy):
        await third
    env.address.tell(Reconfigure(RouterPolicy(5.0, max_in_flight=1, min_interval_s=0.0, queue=2)))
    third = env.ask(3)
    for _ in range(3):
        await settle()
        bot.answer()
    await asyncio.gather(first, second, third)


async def test_a_shorter_timeout_holds_for_the_next_try(env: ChangingFleetEnv) -> None:
    await env.add_bot("a")
    other = await env.add_bot("b")
    env.address.tell(Reconfigure(RouterPolicy(1.0, max_in_flight=1, min_interval_s=0.0, queue=1)))
    asked = env.ask(7)
    await settle()
    await env.clock.advance(2.5)
    assert len(other.asked) == 1
    other.answer()
    assert (await asked).match_id == 7


@pytest.mark.parametrize("scope", ["account", "ip"])
async def test_new_budgets_bring_spent_seats_back(env: ChangingFleetEnv, scope: str) -> None:
    bot = await env.add_bot("a")
    env.budgets.refusal = Refused("ip" if scope == "ip" else "account", 3600.0)
    first = env.ask(1)
    await settle()
    env.budgets.refusal = None
    if scope == "ip":
        with pytest.raises(QuotaExhausted):
            await first
    env.address.tell(Reconfigure(POLICY, budgets_changed=True))
    asked = env.ask(1)
    await settle()
    bot.answer()
    assert (await asked).match_id == 1


async def test_a_seat_that_left_while_its_budget_was_asked_for_does_not_come_back(
    env: ChangingFleetEnv,
) -> None:
    bot = await env.add_bot("a")
    env.budgets.refusal = Refused("ip", 1.0)
    env.matches.open.clear()
    asked = env.ask(1)
    await settle()
    env.address.tell(BotChanged("a", BotState.NEEDS_HUMAN))
    await settle()
    env.matches.open.set()
    with pytest.raises(NotReady):
        await asked
    env.budgets.refusal = None
    await env.clock.advance(5.0)
    assert await env.loads() == {}
    assert bot.asked == []


@pytest.mark.parametrize("turns", range(1, 12))
async def test_hurry_fails_what_is_under_way_and_frees_every_seat(
    env: ChangingFleetEnv, turns: int
) -> None:
    """At whatever moment it comes."""
    await env.add_bot("a")
    asked = [env.ask(match_id) for match_id in (1, 2)]
    for _ in range(turns):
        await asyncio.sleep(0)
    env.address.tell(Hurry())
    await settle()
    for one in asked:
        with pytest.raises(NotReady):
            await one
    assert await env.loads() == {"a": 0}
    assert env.router._fetches == {}
