"""What it costs to route one request with 10, 100 and 1,000 bots, and whether that differs.

    python -m bench.router [--requests 400] [--rounds 31]

The real router in this process, with bots that answer at once and stores in memory. The answer is as
small as possible, so that the cost of routing shows. The sizes are measured in turns, so that a noisy
moment affects all of them; the result is the median of the ratios of each round.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import structlog

from actors.accounts.models import Reserved
from actors.accounts.store import AccountStore, Charge
from actors.actor import Address, Ask
from actors.bot.messages import BotChanged, ReadyBot, RouterToBot, ServeMatch
from actors.bot.registry import BotRegistry
from actors.bot.states import BotState
from actors.matches.cache import Freshness, MatchCache
from actors.matches.match import Known
from actors.matches.protobuf.decoder import MatchDecoder
from actors.matches.store import ANYTHING, Claim, MatchStore
from actors.metrics import Instruments
from actors.router.messages import FetchMatch, RouterMessage, RouterPolicy
from actors.router.metrics import RouterMetrics
from actors.router.router import Router
from bench.report import print_machine, print_table
from sandbox.gc.matches.schema import encode_response
from supervisor.clock import SystemClock

SIZES = (10, 100, 1000)
AT_MOST = 1.2  # times the cheapest
CONCURRENCY = 16
POLICY = RouterPolicy(
    request_timeout_s=5.0,
    max_in_flight=100,
    min_interval_s=0.0,
    queue=10_000,
    freshness=Freshness(memory_entries=0),
)


class InstantBot(Address[RouterToBot]):
    """Where a bot would be reached; what is asked is answered here and now."""

    async def ask(self, message: Ask[Any], *, deadline: float) -> Any:
        """Answer with a match that has nothing but its id."""
        del deadline
        assert isinstance(message, ServeMatch)  # noqa: S101 - nothing else is asked
        return encode_response({"result": 1, "match": {"match_id": str(message.match_id)}})


class FreeAccounts(AccountStore):
    """A store in which no budget is ever spent."""

    def __init__(self) -> None:
        """Need nothing."""

    def charge(self, account: str, fencing_token: int, ip: str | None) -> Charge:
        """Return an empty charge."""
        del account, fencing_token, ip
        return Charge((), ())

    async def reserve(self, account: str, fencing_token: int, ip: str | None) -> Reserved:
        """Grant it."""
        del account, fencing_token, ip
        return Reserved(1, 1)


class NoMatches(MatchStore):
    """A store in which no match is known."""

    def __init__(self) -> None:
        """Need nothing."""

    async def lookup(
        self, claim: Claim, *, after: int = ANYTHING, charge: Charge | None = None
    ) -> Claim | Reserved:
        """Grant it."""
        del after
        return claim if charge is None else Reserved(1, 1)

    async def publish(self, claim: Claim, known: Known, *, ttl_s: float) -> None:
        """Forget it."""

    async def renew(self, claim: Claim) -> bool:
        """Renew it."""
        del claim
        return True

    async def release(self, claim: Claim) -> None:
        """Forget it."""


@contextlib.asynccontextmanager
async def routing(bots: int, clock: SystemClock) -> AsyncIterator[Address[RouterMessage]]:
    """Run a router with so many ready bots."""
    address = Address[RouterMessage](f"router-{bots}")
    router = Router(
        address=address,
        accounts=FreeAccounts(),
        matches=NoMatches(),
        memory=MatchCache(POLICY.freshness.memory_entries),
        decoder=MatchDecoder(),
        policy=POLICY,
        metrics=RouterMetrics(Instruments()),
        registry=BotRegistry(stable_after_s=60.0, clock=clock, log=structlog.get_logger()),
        clock=clock,
        rng=random.Random(1),
        log=structlog.get_logger(),
    )
    await router.start()
    running = asyncio.create_task(router.run())
    for number in range(bots):
        name = f"bot-{number}"
        ready_bot = ReadyBot(name, f"account-{number}", 1, "192.0.2.1", InstantBot(name))
        address.tell(BotChanged(name, BotState.READY, ready_bot=ready_bot))
    yield address
    router.stop()
    await running


async def us_each(
    router: Address[RouterMessage], ids: itertools.count[int], requests: int, clock: SystemClock
) -> float:
    """Return microseconds of CPU per request over one round."""

    async def client() -> None:
        for _ in range(requests // CONCURRENCY):
            deadline = clock.now() + 60.0
            await router.ask(FetchMatch(next(ids), deadline), deadline=deadline)

    begun = time.process_time()
    await asyncio.gather(*(client() for _ in range(CONCURRENCY)))
    return (time.process_time() - begun) * 1e6 / requests


async def measure(requests: int, rounds: int) -> list[list[float]]:
    """Return each round's costs, in order of size."""
    clock, ids = SystemClock(), itertools.count(1)
    async with contextlib.AsyncExitStack() as stack:
        routers = [await stack.enter_async_context(routing(size, clock)) for size in SIZES]
        for router in routers:
            await us_each(router, ids, requests, clock)  # warm
        return [
            [await us_each(router, ids, requests, clock) for router in routers]
            for _ in range(rounds)
        ]


def worst_ratio(rounds: Sequence[Sequence[float]]) -> float:
    """Return the largest median ratio between two sizes."""
    return max(
        statistics.median(costs[one] / costs[other] for costs in rounds)
        for one, other in itertools.permutations(range(len(SIZES)), 2)
    )


def main() -> None:
    """Print one row per size, and the ratio; exit with 1 when it is too large."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=31)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    rounds = asyncio.run(measure(options.requests, options.rounds))
    print_machine()
    by_size = list(zip(*rounds, strict=True))
    rows = [
        [f"{size} bots", f"{statistics.median(costs):.0f}", f"{min(costs):.0f}"]
        for size, costs in zip(SIZES, by_size, strict=True)
    ]
    ratio = worst_ratio(rounds)
    print_table(
        ["router", "median", "best"],
        rows,
        caption=f"CPU us per request; sizes differ by {ratio:.2f}x, at most {AT_MOST}x is fine",
    )
    sys.exit(ratio >= AT_MOST)


if __name__ == "__main__":
    main()
