"""An operator's order runs to its end, whether or not its client waits for it."""

from __future__ import annotations

import asyncio

import pytest
from support.fake_clock import FakeClock, settle

from actors.errors import NoSuchAccount
from actors.http.routes.admin import ANSWER_S, Orders

pytestmark = pytest.mark.usefixtures("no_leaks")


class Work:
    """An order that takes until it is released."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.is_done = False

    async def __call__(self) -> str:
        await self.release.wait()
        self.is_done = True
        return "done"


async def test_the_result_and_the_error_of_an_order_are_the_callers(clock: FakeClock) -> None:
    orders, work = Orders(clock), Work()
    work.release.set()
    assert await orders.run(work()) == "done"

    async def fails() -> None:
        raise NoSuchAccount("axe")

    with pytest.raises(NoSuchAccount):
        await orders.run(fails())
    assert clock.pending == 0


async def test_a_client_that_disconnects_stops_no_order(clock: FakeClock) -> None:
    orders, work = Orders(clock), Work()
    asking = asyncio.create_task(orders.run(work()))
    await settle()
    asking.cancel()
    await settle()
    assert asking.cancelled()
    work.release.set()
    await settle()
    assert work.is_done


async def test_an_order_that_takes_too_long_continues(clock: FakeClock) -> None:
    orders, work = Orders(clock), Work()
    asking = asyncio.create_task(orders.run(work()))
    await clock.advance(ANSWER_S - 1)
    assert not asking.done()
    await clock.advance(1)
    with pytest.raises(TimeoutError):
        await asking
    work.release.set()
    await settle()
    assert work.is_done
