"""Response times, and when a second bot is asked (a hedge).

A try is *overdue* when it takes several times as long as answers lately took. Its bot may be silent, or
slow; by then another one most likely has an answer sooner. Hedges are bounded: each costs one of a daily
budget, and when all bots are slow it is the Game Coordinator, which more requests only make slower. For
ten answers there may be one hedge, plus a few at the start; and none while nothing is answered after one.

A request counts as *slow* or as *silence* only by what is answered meanwhile: when it takes several times
as long as the answers that came since it was sent. Without any, it is silence after `ALONE_TIMES` the
time after which another bot is asked.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from typing import Final

TYPICAL_S: Final = 0.25  # until an answer was seen; 50 to 500 ms are usual
TIMES: Final = 4.0  # the typical latency
LEAST_S: Final = 0.75  # a long tail is no trouble
ALONE_TIMES: Final = 2.0
BLIND_EVERY_S: Final = 1.0
LATELY: Final = 65  # answers; odd, so that the middle is one of them
LATEST: Final = 3  # so soon it is clear that all are slow now
PER_ANSWER: Final = 0.1
AT_MOST: Final = 10.0


class Hedging:
    """Measures answer times and bounds hedges. Owned by the router."""

    def __init__(self) -> None:
        self._answers: deque[tuple[float, float]] = deque(maxlen=LATELY)  # when, and after how long
        self._typical_s: float | None = TYPICAL_S  # None: to be looked up
        self._allowance = AT_MOST
        self.is_answered = True  # whether an answer came since the last hedge
        self._blind_at = -math.inf

    def answered(self, seconds: float, now: float) -> None:
        """Note how long an answer took that has just come."""
        self._answers.append((now, seconds))
        self._typical_s = None
        self.is_answered = True
        self._allowance = min(AT_MOST, self._allowance + PER_ANSWER)

    @property
    def overdue_s(self) -> float:
        """After how many seconds a try is overdue."""
        if self._typical_s is None:  # the median: a slow bot among many does not move it
            latencies = [seconds for _, seconds in self._answers]
            self._typical_s = max(_median(latencies), _median(latencies[-LATEST:]))
        return max(LEAST_S, TIMES * self._typical_s)

    def ask_blindly(self, now: float) -> bool:
        """Return whether one more bot may be asked while none is answered, and count it.

        One in `BLIND_EVERY_S`, over all matches: where the GC itself is slow or away it helps none.
        """
        if now - self._blind_at < BLIND_EVERY_S:
            return False
        self._blind_at = now
        return True

    def is_slow(self, asked_at: float, now: float) -> bool | None:
        """Whether a request takes several times as long as those that are answered meanwhile.

        None where none was answered since it was sent.
        """
        slow_s = self._slow_s(asked_at)
        return None if slow_s is None else now - asked_at >= slow_s

    def silent_at(self, asked_at: float, timeout_s: float) -> float:
        """Return when a request that nothing is heard of counts as silence, as it looks now.

        `timeout_s`: after which another bot is asked.
        """
        slow_s = self._slow_s(asked_at)
        if slow_s is None:
            return asked_at + max(ALONE_TIMES * timeout_s, self.overdue_s)
        return asked_at + max(timeout_s, slow_s)

    def _slow_s(self, asked_at: float) -> float | None:
        """Return how long a request may take, by the answers since then; None without any."""
        newest_first = reversed(self._answers)
        meanwhile = [
            one[1] for one in itertools.takewhile(lambda one: one[0] > asked_at, newest_first)
        ]
        return max(LEAST_S, TIMES * _median(meanwhile)) if meanwhile else None

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
        self.is_answered = False


def _median(seconds: list[float]) -> float:
    return sorted(seconds)[len(seconds) // 2]
