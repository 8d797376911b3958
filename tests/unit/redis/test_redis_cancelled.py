"""A cancellation that comes while Redis answers is not lost."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.connection import ConnectionPool

from actors.errors import StoreUnavailable
from actors.redis.batch import Batcher
from actors.redis.client import redis_call


class FakePipeline:
    """Answers, or fails, when the client is told to; waits in a task of its own, as redis-py may."""

    def __init__(self, answered: asyncio.Event, *, fails: bool) -> None:
        self._answered = answered
        self._fails = fails
        self._commands = 0

    def execute_command(self, *_args: Any, **_options: Any) -> None:
        self._commands += 1

    async def execute(self, *, raise_on_error: bool) -> list[str]:
        assert not raise_on_error
        await asyncio.wait_for(self._answered.wait(), 60)
        if self._fails:
            raise OSError
        return ["answer"] * self._commands


class FakeClient:
    """The part of redis-py's client that a batcher uses."""

    def __init__(self, *, fails: bool = False) -> None:
        self.answered = asyncio.Event()
        self._fails = fails

    def get_encoder(self) -> Any:
        return ConnectionPool().get_encoder()  # type: ignore[no-untyped-call]

    def pipeline(self, *, transaction: bool) -> FakePipeline:
        assert not transaction
        return FakePipeline(self.answered, fails=self._fails)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("steps", range(16))
async def test_a_call_that_is_cancelled_ends_there_at_every_moment(
    steps: int, *, fails: bool
) -> None:
    """One of these moments is after the answer came and before the caller has it."""
    client = FakeClient(fails=fails)
    batcher = Batcher(client)
    after: list[str] = []

    async def call() -> None:
        with contextlib.suppress(StoreUnavailable), redis_call(Redis(), "a call"):
            await batcher.execute("PING")
        after.append("went on")
        await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(call())
    for _ in range(3):
        await asyncio.sleep(0)
    client.answered.set()
    for _ in range(steps):
        await asyncio.sleep(0)
    went_on = bool(after)
    task.cancel()
    await asyncio.wait({task}, timeout=5)
    assert task.cancelled()
    assert bool(after) is went_on
    await batcher.aclose()


async def test_a_cancelled_task_may_still_call_redis_while_it_ends() -> None:
    client = FakeClient()
    client.answered.set()
    batcher = Batcher(client)
    after: list[str] = []

    async def life() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            with redis_call(Redis(), "release"):
                await batcher.execute("PING")
            after.append("released")

    task = asyncio.create_task(life())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert after == ["released"]


async def test_without_a_cancellation_errors_are_translated() -> None:
    with pytest.raises(StoreUnavailable), redis_call(Redis(), "a call"):
        raise OSError
