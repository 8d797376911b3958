"""Answers held back so that they leave in another order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

PATIENCE_S: Final = 0.5  # a client with few requests still gets its answers


class Reordering:
    """Collects sends and lets them go shuffled, when enough are together or time is up."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._sends: list[Callable[[], None]] = []
        self._timer: asyncio.TimerHandle | None = None

    def hold(self, send: Callable[[], None], together: int) -> None:
        """Keep `send` until there are `together`."""
        self._sends.append(send)
        if len(self._sends) >= together:
            self.release()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PATIENCE_S, self.release)

    def release(self) -> None:
        """Let everything go; more than one answer never leaves in the order of the questions."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        asked, self._sends = self._sends, []
        order = list(asked)
        while len(order) > 1 and order == asked:
            self._rng.shuffle(order)
        for send in order:
            send()
