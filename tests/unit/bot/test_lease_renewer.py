"""Renewal of a lease, in virtual time: in thirds, with a margin before its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import structlog
from support.bot_unit_env import fake_ports
from support.fake_clock import FakeClock
from support.fake_steam import FakeLink, FakeStore, Script

from actors.accounts.models import Lease
from actors.bot.leases import RETRY_S, LeaseRenewer
from actors.bot.ports import BotPolicy, LeaseChecks
from actors.errors import LeaseLost, ServiceError, StoreMisused, StoreUnavailable

pytestmark = pytest.mark.usefixtures("no_leaks")

LEASE = Lease("axe", 7, "us")
LEASE_S, MARGIN_S = 60.0, 8.0
POLICY = BotPolicy(lease_s=LEASE_S, fence_margin_s=MARGIN_S)


class Store(FakeStore):
    """Answers `renew` by `outcome`, and records when it was asked."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(Script(), [])
        self._clock = clock
        self.asked_at: list[float] = []
        self.outcome: Callable[[], ServiceError | None] = lambda: None
        self.has_lost = False

    async def renew(self, lease: Lease) -> bool:
        assert lease is LEASE
        self.asked_at.append(self._clock.now())
        if (error := self.outcome()) is not None:
            raise error
        return self.has_lost


def renewer_of(
    store: Store, clock: FakeClock, *, acquired_at: float, checks: LeaseChecks | None = None
) -> LeaseRenewer:
    checks = checks or LeaseChecks(clock=clock, log=structlog.get_logger())
    ports = fake_ports(clock, store=store, lease_checks=checks)
    return LeaseRenewer(ports, POLICY, LEASE, acquired_at=acquired_at)


async def run(renewer: LeaseRenewer) -> None:
    while True:
        await renewer.renew_next()


def keep(store: Store, clock: FakeClock, checks: LeaseChecks | None = None) -> asyncio.Task[None]:
    return asyncio.create_task(
        run(renewer_of(store, clock, acquired_at=clock.now(), checks=checks))
    )


async def test_a_lease_is_renewed_every_third_of_it(clock: FakeClock) -> None:
    store, began = Store(clock), clock.now()
    keeping = keep(store, clock)
    await clock.advance(100.0)
    assert [at - began for at in store.asked_at] == [20, 40, 60, 80, 100]
    keeping.cancel()
    await asyncio.wait({keeping})


async def test_a_lost_lease_ends_the_keeping_at_once(clock: FakeClock) -> None:
    store = Store(clock)
    keeping = keep(store, clock)
    store.outcome = lambda: LeaseLost("axe", 7)
    await clock.advance(20.0)
    with pytest.raises(LeaseLost):
        await keeping


@pytest.mark.parametrize("error", [StoreUnavailable("renew"), StoreMisused("renew", "odd")])
async def test_without_redis_it_gives_up_a_margin_before_the_end(
    clock: FakeClock, error: ServiceError
) -> None:
    store, began = Store(clock), clock.now()
    keeping = keep(store, clock)
    store.outcome = lambda: error
    await clock.advance(LEASE_S - MARGIN_S - 0.1)
    assert not keeping.done()
    assert len(store.asked_at) > 20  # it kept trying, every second
    await clock.advance(0.1)
    with pytest.raises(LeaseLost):
        await keeping
    assert max(store.asked_at) - began < LEASE_S - MARGIN_S


async def test_a_short_absence_of_redis_is_survived(clock: FakeClock) -> None:
    store = Store(clock)
    keeping = keep(store, clock)
    store.outcome = lambda: StoreUnavailable("renew")
    await clock.advance(30.0)
    store.outcome = lambda: None
    await clock.advance(100.0)
    assert not keeping.done()
    keeping.cancel()
    await asyncio.wait({keeping})


async def test_the_lease_end_counts_from_before_the_request_was_sent(clock: FakeClock) -> None:
    """A checkout answered after ten seconds leaves ten seconds less of the lease."""
    store = Store(clock)
    asked_at = clock.now()
    await clock.advance(10.0)
    renewer = renewer_of(store, clock, acquired_at=asked_at)
    assert renewer.fence_at == asked_at + LEASE_S - MARGIN_S


async def test_a_renewal_that_was_slow_counts_from_when_it_was_asked_for(clock: FakeClock) -> None:
    """Redis may have prolonged the lease just after the call was sent."""
    store = Store(clock)
    slow = asyncio.Event()

    async def renew_slowly(lease: Lease) -> bool:
        del lease
        await slow.wait()
        return False

    renewer = renewer_of(store, clock, acquired_at=clock.now())
    keeping = asyncio.create_task(run(renewer))
    store.renew = renew_slowly  # type: ignore[method-assign] # this once
    began = clock.now()
    await clock.advance(30.0)
    slow.set()
    await clock.advance(0.1)
    assert renewer.fence_at == began + LEASE_S / 3 + LEASE_S - MARGIN_S
    keeping.cancel()
    await asyncio.wait({keeping})


@pytest.fixture
def checks(clock: FakeClock) -> LeaseChecks:
    return LeaseChecks(clock=clock, log=structlog.get_logger())


async def stop(*keeping: asyncio.Task[None]) -> None:
    for task in keeping:
        task.cancel()
    await asyncio.wait(keeping)


async def test_a_check_makes_every_renewer_of_the_process_renew_at_once(
    clock: FakeClock, checks: LeaseChecks
) -> None:
    stores = [Store(clock), Store(clock)]
    keeping = [keep(store, clock, checks) for store in stores]
    await clock.advance(5.0)
    checks.ask("the connection to Redis broke")
    await clock.advance(0.0)
    assert [store.asked_at for store in stores] == [[clock.now()]] * 2
    await clock.advance(20.0)
    assert [len(store.asked_at) for store in stores] == [2, 2]  # a third of the lease later
    await stop(*keeping)


async def test_a_lease_that_redis_had_lost_makes_the_others_renew_at_once(
    clock: FakeClock, checks: LeaseChecks
) -> None:
    first, second = Store(clock), Store(clock)
    keeping = [keep(first, clock, checks)]
    await clock.advance(10.0)
    keeping.append(keep(second, clock, checks))
    first.has_lost = True
    await clock.advance(10.0)
    assert second.asked_at == [clock.now()]  # ten seconds before its time
    await stop(*keeping)


async def test_a_check_during_a_renewal_is_followed_by_another(
    clock: FakeClock, checks: LeaseChecks
) -> None:
    store = Store(clock)
    keeping = keep(store, clock, checks)

    def ask_once() -> None:
        if len(store.asked_at) == 1:
            checks.ask("a request was refused for its lease")

    store.outcome = ask_once
    await clock.advance(20.0)
    assert len(store.asked_at) == 2  # the answer may be older than the loss
    await stop(keeping)


async def test_checks_without_end_renew_once_a_second(
    clock: FakeClock, checks: LeaseChecks
) -> None:
    store, began = Store(clock), clock.now()
    keeping = keep(store, clock, checks)
    store.has_lost = True  # each renewal asks for the next check
    await clock.advance(30.0)
    assert len(store.asked_at) <= (clock.now() - began) / RETRY_S
    await stop(keeping)


async def test_what_uses_the_account_is_told_until_when_at_each_renewal(
    clock: FakeClock, checks: LeaseChecks
) -> None:
    class Fenced(FakeLink):
        fences: list[float] = []  # noqa: RUF012 - one test, one list

        def set_fence(self, at: float) -> None:
            self.fences.append(at)

    store, began, fenced = Store(clock), clock.now(), Fenced(Script(), lambda _: None)
    renewer = renewer_of(store, clock, acquired_at=began, checks=checks)
    keeping = asyncio.create_task(run(renewer))
    await clock.advance(20.0)
    renewer.fence(fenced)
    await clock.advance(20.0)
    store.outcome = lambda: StoreUnavailable("renew")
    await clock.advance(19.0)
    assert [at - began for at in fenced.fences] == [72.0, 92.0]
    keeping.cancel()
    await asyncio.wait({keeping})
