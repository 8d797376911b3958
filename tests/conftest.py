"""Fixtures that every test may use."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import hypothesis

# Hypothesis imports it in the middle of a test, and pytest, which looks through it for asserts, then lets
# CPython 3.11 stumble over its recursion limit now and then (python/cpython#106905). Here it does not.
import hypothesis.internal.conjecture.optimiser
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # so that any test can import the fakes beside it

from support.bot_unit_env import BotUnitEnv, bot_unit_env
from support.fake_clock import FakeClock
from support.scripted_child import SupervisorEnv

# A busy machine is no failure: how long an example takes is not what a property is about.
hypothesis.settings.register_profile("botapi", deadline=None)
hypothesis.settings.load_profile("botapi")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def supervisor_env(clock: FakeClock) -> SupervisorEnv:
    """Return supervised children, in virtual time."""
    return SupervisorEnv(clock)


@pytest.fixture
async def bot_env(clock: FakeClock) -> AsyncIterator[BotUnitEnv]:
    """Yield a bot on fakes, in virtual time; it runs from the first access to `bot_env.run` on."""
    async with bot_unit_env(clock) as env:
        yield env


@pytest.fixture
async def no_leaks() -> AsyncIterator[None]:
    """Fail the test when it leaves a task or a thread behind."""
    before = _running()
    yield
    gc.collect()  # a task that nothing refers to complains now, in the test that lost it
    left = sorted(f"{type(one).__name__} {one!r}" for one in _running() - before)
    assert not left, f"left behind: {left}"


def _running() -> set[object]:
    """Return all tasks but our own, and all threads but the loop's executor, which ends with it."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    return tasks | {one for one in threading.enumerate() if not one.name.startswith("asyncio_")}
