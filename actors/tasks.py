"""Ending tasks. No knowledge of what they do."""

from __future__ import annotations

import asyncio


async def end(task: asyncio.Task[None]) -> None:
    """Cancel `task` and wait until it is over, whatever it raises."""
    task.cancel()
    await asyncio.wait({task})
