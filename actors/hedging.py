"""When a second bot is asked while the first one still says nothing (a hedge). Pure bookkeeping.

A try is *overdue* when it takes several times as long as answers lately took. Its bot may be silent, or
slow; by then another one most likely has an answer sooner. Hedges are bounded: each costs one of a daily
budget, and when all bots are slow it is the Game Coordinator, which more requests only make slower. For
ten answers there may be one hedge, plus a few at the start.
"""

from __future__ import annotations

from collections import deque
from typing import Final

TYPICAL_S: Final = 0.25  # until an answer was seen; 50 to 500 ms are usual
TIMES: Final = 4.0  # the typical latency
LEAST_S: Final = 0.75  # a long tail is no trouble
LATELY: Final = 65  # answers; odd, so that the middle is one of them
PER_ANSWER: Final = 0.1
AT_MOST: Final = 10.0


class Hedging:
    """See the module. Owned by the router."""

    def __init__(self) -> None:
        self._latencies: deque[float] = deque(maxlen=LATELY)
        self._typical_s: float | None = TYPICAL_S  # None: to be looked up
        self._allowance = AT_MOST

    def answered(self, seconds: float) -> None:
        """Note how long an answer took."""
        self._latencies.append(seconds)
        self._typical_s = None
        self._allowance = min(AT_MOST, self._allowance + PER_ANSWER)

    @property
    def overdue_s(self) -> float:
        """After how many seconds a try is overdue."""
        if self._typical_s is None:  # the median: a slow bot among many does not move it
            self._typical_s = sorted(self._latencies)[len(self._latencies) // 2]
        return max(LEAST_S, TIMES * self._typical_s)

    @property
    def answer_s(self) -> float:
        """How much time an answer needs at least, so that asking makes sense."""
        return self.overdue_s / TIMES

    @property
    def is_allowed(self) -> bool:
        """Whether one more hedge is within bounds."""
        return self._allowance >= 1.0

    def hedged(self) -> None:
        """Count a hedge."""
        self._allowance -= 1.0
