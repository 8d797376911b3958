"""Reordering of GC answers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

LONGEST_HOLD_S: Final = 0.5  # so that a client with few requests gets its answers


class Reordering:
    """Holds back sends and runs them in random order, when enough are held or after a timeout."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._sends: list[Callable[[], None]] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, send: Callable[[], None], batch_size: int) -> None:
        """Hold `send` until `batch_size` sends are held."""
        self._sends.append(send)
        if len(self._sends) >= batch_size:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LONGEST_HOLD_S, self.flush)

    def flush(self) -> None:
        """Run all held sends; two or more never run in their original order."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        asked, self._sends = self._sends, []
        order = list(asked)
        while len(order) > 1 and order == asked:
            self._rng.shuffle(order)
        for send in order:
            send()
