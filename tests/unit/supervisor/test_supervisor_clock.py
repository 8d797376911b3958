"""SystemClock, FakeClock and first_of."""

from __future__ import annotations

import asyncio
import time

import pytest
from support.fake_clock import FakeClock, settle

from supervisor.clock import SystemClock, first_of


def test_the_system_clock_tells_the_systems_time() -> None:
    clock = SystemClock()
    assert abs(clock.now() - time.monotonic()) < 1
    assert abs(clock.wall() - time.time()) < 1


async def test_a_system_timer_fires_at_its_instant_and_not_before() -> None:
    clock, fired = SystemClock(), asyncio.Event()
    due = clock.now() + 0.02
    clock.call_at(due, fired.set)
    await fired.wait()
    assert clock.now() >= due - 0.002  # the loop rounds to its clock's resolution


async def test_a_system_timer_whose_instant_is_past_fires_at_once() -> None:
    clock, fired = SystemClock(), asyncio.Event()
    clock.call_at(clock.now() - 100, fired.set)
    await asyncio.wait_for(fired.wait(), 5)


async def test_a_cancelled_system_timer_does_not_fire() -> None:
    clock, order = SystemClock(), list[str]()
    clock.call_at(clock.now() + 0.001, lambda: order.append("cancelled")).cancel()
    clock.call_at(clock.now() + 0.002, lambda: order.append("kept"))
    await clock.sleep(0.01)
    assert order == ["kept"]


async def test_first_of_returns_with_the_first_and_leaves_the_rest(clock: FakeClock) -> None:
    one: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    other: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(first_of(one, other, within=5.0, clock=clock))
    await settle()
    one.set_result(None)
    await waiting
    assert not other.done()
    assert clock.pending == 0


async def test_first_of_gives_up_in_time(clock: FakeClock) -> None:
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(first_of(never, within=5.0, clock=clock))
    await clock.advance(4.9)
    assert not waiting.done()
    await clock.advance(0.1)
    assert waiting.done()
    assert not never.done()


async def test_fake_time_wakes_sleepers_in_order_at_their_own_instants(clock: FakeClock) -> None:
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.now()))

    began = clock.now()
    async with asyncio.TaskGroup() as group:
        for name, seconds in (("late", 3.0), ("early", 1.0), ("also early", 1.0), ("none", 0.0)):
            group.create_task(sleeper(name, seconds))
        await clock.advance(3)
    assert woken == [
        ("none", began),
        ("early", began + 1),
        ("also early", began + 1),
        ("late", began + 3),
    ]


async def test_fake_time_reaches_what_a_woken_sleeper_sets_up(clock: FakeClock) -> None:
    fired: list[float] = []

    async def again() -> None:
        for _ in range(3):
            await clock.sleep(1)
            fired.append(clock.now())

    task = asyncio.create_task(again())
    began = clock.now()
    await clock.advance(10)
    assert fired == [began + 1, began + 2, began + 3]
    await task


async def test_tasks_that_never_rest_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("support.fake_clock.SETTLE_ROUNDS", 100)

    loop = asyncio.get_running_loop()
    restless = True

    def again() -> None:
        if restless:
            loop.call_soon(again)

    again()
    with pytest.raises(AssertionError, match="never come to rest"):
        await settle()
    restless = False
