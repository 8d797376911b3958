"""Keeping tasks and ending them. No knowledge of what they do."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel `task` and wait until it is over, whatever it raises."""
    task.cancel()
    await asyncio.wait({task})


class Tasks:
    """Background tasks; holds a reference to each, so that none is garbage collected."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Let `work` go on by itself."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def cancel(self) -> None:
        """Cancel all that run now."""
        for task in self._tasks:
            task.cancel()

    async def finish(self) -> None:
        """Wait for all, also for those that are started meanwhile."""
        while self._tasks:
            await asyncio.wait(self._tasks)
