"""Fixture of movable clocks for the sandbox, Valkey and the service; skips without libfaketime."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from bench.moved_clock import MISSING, MovedClock, library, moved_clock

MakeClock = Callable[..., MovedClock]


@pytest.fixture
def make_clock() -> Iterator[MakeClock]:
    """Return `moved_clock` as a function; the clocks end with the test."""
    if library() is None:
        pytest.skip(MISSING)
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(moved_clock(**options))
