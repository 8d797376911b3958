"""One scrape: refreshes the polled metrics, then writes all metrics out.

A scrape requires no API key, so it must be cheap at any rate: within a second all clients get the same
text.
"""

from __future__ import annotations

import asyncio
import math
from typing import Final, Protocol

from actors.clock import Clock
from actors.metrics.instruments import Format, Instruments

SAME_S: Final = 1.0


class Refreshes(Protocol):
    """What is asked for a scrape."""

    async def refresh(self) -> None:
        """Show what there is now. Bounded in time, raises nothing."""


class Scrape:
    """Refreshes and formats the metrics, at most once per second."""

    def __init__(self, survey: Refreshes, instruments: Instruments, *, clock: Clock) -> None:
        self._survey = survey
        self._instruments = instruments
        self._clock = clock
        self._lock = asyncio.Lock()
        self._refreshed_at = -math.inf
        self._written: dict[Format, bytes] = {}

    async def written(self, form: Format) -> bytes:
        """Return all metrics in a form."""
        async with self._lock:
            if self._clock.now() - self._refreshed_at >= SAME_S:
                await self._survey.refresh()
                self._refreshed_at = self._clock.now()
                self._written.clear()
            if form not in self._written:
                self._written[form] = self._instruments.written(form)
            return self._written[form]
