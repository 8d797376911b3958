"""Schedule of GC hellos: pauses with jitter, game restarts, early hellos after a welcome.

The intervals are those of dota2 1.1.0, go-dota2 and SteamKit's Dota sample. A hello sent before Steam
has connected the game to the GC is lost without an answer, so the first ones follow quickly.
"""

from __future__ import annotations

import random
from typing import Final

PAUSES_S: Final = (0.5, 1.0, 2.0, 5.0, 7.0, 11.0)
SLOW_S: Final = 19.0
GOING_DOWN_S: Final = 25.0  # the GC restarts or has a queue, which takes minutes
LOST_S: Final = 1.0  # until the first hello after a lost session
# Share of each pause, either way: sessions that were lost together do not return in step.
JITTER: Final = 0.2
# After this long without an answer the GC may not know that the game runs; it is stopped and started.
RESTART_GAME_S: Final = 60.0
LEAST_GAP_S: Final = 3.0  # no early hello sooner than this after the last one


class HelloSchedule:
    """Hellos of one session from its launch or loss to the welcome. Time is an argument.

    Attributes:
        due_at: clock seconds of the next hello.
    """

    def __init__(self, now: float, rng: random.Random, *, after_loss: bool) -> None:
        """The first hello is due at once; after a loss it is spread over the first pause."""
        self._rng = rng
        self._count = 0  # hellos since the game was started
        self._sent_at = now
        self._silent_since = now
        self._restart_after_s = RESTART_GAME_S
        self._slow_s: float | None = None
        self._is_early = False
        self.due_at = now + (self._spread(LOST_S) if after_loss else 0.0)

    def sent(self, now: float) -> None:
        """Note a hello, or a skipped one, and plan the next."""
        pause_s = PAUSES_S[self._count] if self._count < len(PAUSES_S) else SLOW_S
        self._count += 1
        self._sent_at = now
        self._is_early = False
        pause_s = pause_s if self._slow_s is None else self._slow_s
        self.due_at = now + pause_s * self._rng.uniform(1.0 - JITTER, 1.0 + JITTER)

    def answered(self, now: float, *, slow: bool) -> None:
        """Note a status of the GC; `slow`: it asks for minutes of patience."""
        self._silent_since = now
        was_slow, self._slow_s = self._slow_s is not None, GOING_DOWN_S if slow else None
        if slow and not was_slow:
            # The first pause has the full jitter, so that some session soon finds the GC back.
            self.due_at = now + self._spread(GOING_DOWN_S)

    def must_restart_game(self, now: float) -> bool:
        """Return whether hellos have been unanswered for too long; the limit doubles each time."""
        if now - self._silent_since < self._restart_after_s:
            return False
        self._silent_since = now
        self._restart_after_s *= 2
        self._count = 0
        return True

    def bring_forward(self, now: float, delay_s: float) -> bool:
        """Plan the next hello in `delay_s` if that is sooner; return whether it was moved.

        At most once per hello: every welcome brings the waiting sessions forward, and repeated moves
        would take away the distance between them.
        """
        if self._is_early or now - self._sent_at < LEAST_GAP_S or now + delay_s >= self.due_at:
            return False
        self._is_early = True
        self.due_at = now + delay_s
        return True

    def _spread(self, pause_s: float) -> float:
        return pause_s * self._rng.uniform(0.1, 1.0 + JITTER)
