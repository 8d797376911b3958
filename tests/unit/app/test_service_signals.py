"""The service's signals: what they ask for is done before anything is said about it."""

from __future__ import annotations

import asyncio
import os
import signal
from types import SimpleNamespace
from typing import Any, Never, cast

import pytest
from structlog.typing import FilteringBoundLogger

from supervisor.app import run
from supervisor.app.tree import Tree

pytestmark = pytest.mark.usefixtures("no_leaks")


class Root:
    """A supervisor that runs until it is stopped, and then until it is hurried."""

    def __init__(self, calls: list[str]) -> None:
        self._calls = calls
        self.hurried = asyncio.Event()

    async def start(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    async def run(self) -> None:
        await self.hurried.wait()

    def stop(self) -> None:
        self._calls.append("stop")


class FakeTree:
    def __init__(self, calls: list[str]) -> None:
        self._calls = calls
        self.root = Root(calls)
        self.config = SimpleNamespace(settings=None)
        self.resources = SimpleNamespace(admin_token=None, encryption=SimpleNamespace(has_key=True))

    def force_stop(self) -> None:
        self._calls.append("hurry")
        self.root.hurried.set()

    def reread(self) -> None: ...


class Log:
    """Notes what is logged; what is said of a stop cannot be said."""

    def __init__(self, calls: list[str]) -> None:
        self._calls = calls

    def info(self, event: str, **_: Any) -> None:
        if event == "service_stopping":
            self._fail(event)

    def warning(self, event: str, **_: Any) -> None:
        self._fail(event)

    def _fail(self, event: str) -> Never:
        self._calls.append(event)
        if event == "service_stopping":  # the second one only arrives now: they would be one else
            os.kill(os.getpid(), signal.SIGTERM)
        raise BrokenPipeError


async def test_both_signals_act_although_nothing_can_be_logged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run, "_freeze_heap", lambda: None)
    loop, calls = asyncio.get_running_loop(), list[str]()
    complaints: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, about: complaints.append(about))
    tree, log = cast("Tree", FakeTree(calls)), cast("FilteringBoundLogger", Log(calls))
    try:
        async with asyncio.timeout(10):
            assert await run._run_until_signal(tree, log) == run.EXIT_CLEAN
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)
    assert calls == ["stop", "service_stopping", "hurry", "stop_forced"]
    assert len(complaints) == 2
