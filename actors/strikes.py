"""What a process remembers of Steam's refusals: how often for which account, and numbers nobody knows.

Both are shared by all bots, because accounts wander from bot to bot.
"""

from __future__ import annotations

import math
from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.verdicts import Verdict, is_known

FORGET_S: Final = 6 * 3600.0  # without another one, a strike is history


class Strikes:
    """Counts verdicts per account; as many entries as there are accounts with trouble."""

    def __init__(self) -> None:
        self._struck: dict[tuple[str, Verdict], tuple[float, int]] = {}

    def add(self, account: str, verdict: Verdict, now: float) -> int:
        """Count one more at `now` (clock seconds); return how many there are, this one included."""
        last, count = self._struck.get((account, verdict), (-math.inf, 0))
        count = count + 1 if now - last < FORGET_S else 1
        self._struck[account, verdict] = now, count
        return count


class UnknownResults:
    """Tells of each result that nobody has seen, once."""

    def __init__(self) -> None:
        self._told: set[int] = set()

    def note(self, eresult: int, phase: str, log: FilteringBoundLogger) -> None:
        """Warn of a number that no table of ours has, the first time it comes."""
        if is_known(eresult) or eresult in self._told:
            return
        self._told.add(eresult)
        log.warning("eresult_unknown", eresult=eresult, phase=phase)
