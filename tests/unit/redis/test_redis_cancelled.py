"""A cancellation that comes while Redis answers is not lost."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from actors.errors import StoreUnavailable
from actors.redis.client import translated


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("steps", range(8))
async def test_a_call_that_is_cancelled_ends_there_at_whatever_moment(
    steps: int, *, fails: bool
) -> None:
    """One of these moments is after the answer came and before the caller has it."""
    answered = asyncio.Event()
    after: list[str] = []

    async def send() -> None:
        await answered.wait()
        if fails:
            raise OSError

    async def call() -> None:
        with contextlib.suppress(StoreUnavailable), translated("a call"):
            await asyncio.wait_for(send(), 60)  # as redis-py does
        after.append("went on")
        await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(call())
    for _ in range(3):
        await asyncio.sleep(0)
    answered.set()
    for _ in range(steps):
        await asyncio.sleep(0)
    went_on = bool(after)
    task.cancel()
    await asyncio.wait({task}, timeout=5)
    assert task.cancelled()
    assert bool(after) is went_on


async def test_what_is_done_on_the_way_out_of_a_cancelled_task_may_still_ask() -> None:
    after: list[str] = []

    async def life() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            with translated("letting go"):
                await asyncio.wait_for(asyncio.sleep(0), 60)
            after.append("let go")

    task = asyncio.create_task(life())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert after == ["let go"]


async def test_without_a_cancellation_errors_are_translated_as_ever() -> None:
    with pytest.raises(StoreUnavailable), translated("a call"):
        raise OSError
