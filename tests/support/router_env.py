"""A router in virtual time with fake bots, budgets and matches that all instances share."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial

import pytest
import structlog

from actors.accounts.models import Refused, Reserved
from actors.accounts.store import AccountStore
from actors.actor import Actor, Address, fail, resolve
from actors.bot.messages import (
    BotChanged,
    BudgetSpent,
    CheckLease,
    ReadyBot,
    Relog,
    RouterToBot,
    ServeMatch,
)
from actors.bot.registry import BotRegistry
from actors.bot.states import BotState
from actors.errors import StoreMisused, StoreUnavailable
from actors.matches.cache import MatchCache
from actors.matches.match import MatchAnswer
from actors.matches.protobuf.decoder import MatchDecoder
from actors.router.messages import FetchMatch, GetRouter, RouterMessage, RouterPolicy, RouterReport
from actors.router.router import Router
from sandbox.gc.matches.schema import encode_response
from support.fake_clock import FakeClock, settle
from support.fake_matches import FakeCharge, FakeMatches
from support.router_counts import RouterCounts

POLICY = RouterPolicy(request_timeout_s=5.0, max_in_flight=2, min_interval_s=0.0, queue=2)


@dataclass(frozen=True)
class Later:
    """An answer that takes its time."""

    seconds: float
    body: bytes


Answer = Callable[[int], bytes | Later | Exception | None]  # None: silence


def match(match_id: int) -> bytes:
    return encode_response({"result": 1, "match": {"match_id": str(match_id)}})


def after(seconds: float) -> Answer:
    """Return what answers every match so late."""
    return lambda match_id: Later(seconds, match(match_id))


def silence(_match_id: int) -> None:
    """Answer nothing."""


class FakeBot(Actor[RouterToBot]):
    """Answers as told; a silent one leaves the answer to the test."""

    def __init__(self, name: str, clock: FakeClock, answer: Answer) -> None:
        super().__init__(Address(name), clock=clock)
        self.answer = answer
        self.asked: list[int] = []
        self.spent: list[float] = []
        self.relogs = 0
        self.lease_checks = 0
        self.spares: list[float] = []  # how long the account is to rest, where a spare one is tried
        self.waiting: list[asyncio.Future[bytes]] = []  # the answers that are to come
        self._time = clock

    async def handle(self, message: RouterToBot) -> asyncio.Future[bytes] | None:
        match message:
            case BudgetSpent(retry_after=seconds):
                self.spent.append(seconds)
            case Relog(spare_rest_s=None):
                self.relogs += 1
            case CheckLease():
                self.lease_checks += 1
            case Relog(spare_rest_s=float(rest_s)):
                self.spares.append(rest_s)
            case ServeMatch(match_id=match_id):
                self.asked.append(match_id)
                answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
                outcome = self.answer(match_id)
                if outcome is None:
                    self.waiting.append(answer)
                elif isinstance(outcome, Later):
                    deliver = partial(resolve, answer, outcome.body)
                    self._time.call_at(self._time.now() + outcome.seconds, deliver)
                elif isinstance(outcome, Exception):
                    fail(answer, outcome)
                else:
                    answer.set_result(outcome)
                return answer
        return None


@dataclass
class FakeAccounts(AccountStore):
    """Grants every request but what is in `refusals` (by account)."""

    refusals: dict[str, Refused | StoreUnavailable] = field(default_factory=dict)
    granted: list[str] = field(default_factory=list)
    looks: list[str] = field(default_factory=list)  # at addresses
    is_away: bool = False  # for those looks
    misused: set[str] = field(default_factory=set)  # accounts with a key of the wrong type

    def charge(self, account: str, fencing_token: int, ip: str | None) -> FakeCharge:
        del fencing_token, ip
        return FakeCharge((), (), lambda: self._count(account))

    async def reserve(self, account: str, fencing_token: int, ip: str | None) -> Reserved | Refused:
        del fencing_token, ip
        return self._count(account)

    def _count(self, account: str) -> Reserved | Refused:
        refusal = self.refusals.get(account)
        if account in self.misused:
            raise StoreMisused("reserve", "WRONGTYPE")
        if isinstance(refusal, StoreUnavailable):
            raise refusal
        if refusal is not None:
            return refusal
        self.granted.append(account)
        return Reserved(1, 1)

    async def address_frees_in(self, ip: str) -> float:
        self.looks.append(ip)
        if self.is_away:
            raise StoreUnavailable("ip_budgets")
        found = (one for one in self.refusals.values() if isinstance(one, Refused))
        return max((one.retry_after for one in found if one.scope == "ip"), default=0.0)


@dataclass
class RouterEnv:
    clock: FakeClock
    budgets: FakeAccounts
    matches: FakeMatches
    address: Address[RouterMessage]
    router: Router
    router_metrics: RouterCounts
    bots: dict[str, FakeBot] = field(default_factory=dict)
    ready_bots: dict[str, ReadyBot] = field(default_factory=dict)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def add_bot(self, name: str, answer: Answer = match, *, ip: str = "192.0.2.1") -> FakeBot:
        bot = self.bots[name] = FakeBot(name, self.clock, answer)
        await bot.start()
        self.tasks.append(asyncio.create_task(bot.run()))
        self.ready_bots[name] = ReadyBot(name, f"account of {name}", 1, ip, bot.address)
        self.say_ready(name)
        await settle()
        return bot

    def say_ready(self, name: str) -> None:
        """Let a bot say (again) that it is ready, as it does after each renewal of its lease."""
        self.address.tell(BotChanged(name, BotState.READY, ready_bot=self.ready_bots[name]))

    def change(self, name: str, state: BotState) -> None:
        self.address.tell(BotChanged(name, state))

    def nothing_free(
        self, name: str, budget_frees_in: float | None = None, usable_in: float | None = None
    ) -> None:
        state = BotState.WAITING_FOR_ACCOUNT
        self.address.tell(
            BotChanged(
                name,
                state,
                nothing_free=True,
                budget_frees_in=budget_frees_in,
                usable_in=usable_in,
            )
        )

    def ask(
        self,
        match_id: int,
        within: float = 30.0,
        *,
        client: str = "",
        priority: int = 0,
        refresh: bool = False,
    ) -> asyncio.Task[MatchAnswer]:
        deadline = self.clock.now() + within
        fetch = FetchMatch(match_id, deadline, client, priority, refresh)
        return asyncio.create_task(self.address.ask(fetch, deadline=deadline + 1))

    async def report(self) -> RouterReport:
        return await self.address.ask(GetRouter(), deadline=self.clock.now() + 1)


@contextlib.asynccontextmanager
async def routing(
    clock: FakeClock, matches: FakeMatches, policy: RouterPolicy = POLICY
) -> AsyncIterator[RouterEnv]:
    """Run a router; several on the same `matches` are several containers."""
    address: Address[RouterMessage] = Address("router")
    budgets, router_metrics = FakeAccounts(), RouterCounts()
    router = Router(
        address=address,
        accounts=budgets,
        matches=matches,
        memory=MatchCache(policy.freshness.memory_entries),
        decoder=MatchDecoder(),
        policy=policy,
        metrics=router_metrics,
        registry=BotRegistry(stable_after_s=60.0, clock=clock, log=structlog.get_logger()),
        clock=clock,
        rng=random.Random(1),
        log=structlog.get_logger(),
    )
    await router.start()
    running = asyncio.create_task(router.run())
    env = RouterEnv(clock, budgets, matches, address, router, router_metrics)
    try:
        yield env
    finally:
        for bot in env.bots.values():
            bot.stop()
        router.stop()
        await asyncio.wait([running, *env.tasks])


@pytest.fixture(name="matches")
def matches_fixture(clock: FakeClock) -> FakeMatches:
    return FakeMatches(clock)


@pytest.fixture(name="env")
async def env_fixture(clock: FakeClock, matches: FakeMatches) -> AsyncIterator[RouterEnv]:
    async with routing(clock, matches) as env:
        yield env
