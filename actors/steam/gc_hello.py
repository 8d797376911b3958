"""When GC sessions say hello: pauses with jitter, restarts of the game, haste after a welcome.

The intervals are those of dota2 1.1.0, go-dota2 and SteamKit's Dota sample. A hello that is sent
before Steam has connected the game to the GC is lost without an answer, so the first ones come quickly.
"""

from __future__ import annotations

import random
from typing import Final, Protocol

PAUSES_S: Final = (0.5, 1.0, 2.0, 5.0, 7.0, 11.0)
SLOW_S: Final = 19.0
GOING_DOWN_S: Final = 25.0  # the GC restarts, or has a queue: that takes minutes
LOST_S: Final = 1.0  # until the first hello after a lost session
JITTER: Final = (
    0.2  # of each pause, either way: sessions that were lost together do not return in step
)
# Unanswered hellos for so long: the GC may not know that the game runs, so it is stopped and started.
RESTART_GAME_S: Final = 60.0
# After a welcome the sessions that wait are greeted so far apart, and all of them within so long.
HURRY_SPACING_S: Final = 0.25
HURRY_WITHIN_S: Final = 10.0
HURRY_GAP_S: Final = 3.0  # a session that has just said hello waits for its answer


class HelloSchedule:
    """The hellos of one session from its launch, or its loss, to the welcome. Time is an argument.

    Attributes:
        due_at: clock seconds of the next hello.
    """

    def __init__(self, now: float, rng: random.Random, *, after_loss: bool) -> None:
        """Begin: with a hello at once, or after a loss with one that is spread over the first pause."""
        self._rng = rng
        self._count = 0  # hellos since the game was started
        self._said_at = now
        self._unanswered_since = now
        self._restart_after_s = RESTART_GAME_S
        self._slow_s: float | None = None
        self._after_loss = after_loss
        self._is_hurried = False
        self.due_at = now + (self._spread(LOST_S) if after_loss else 0.0)

    def said(self, now: float) -> None:
        """Note a hello, or one that was left out, and plan the next."""
        pause_s = PAUSES_S[self._count] if self._count < len(PAUSES_S) else SLOW_S
        self._count += 1
        self._said_at = now
        self._is_hurried = False
        pause_s = pause_s if self._slow_s is None else self._slow_s
        self.due_at = now + pause_s * self._rng.uniform(1.0 - JITTER, 1.0 + JITTER)

    def answered(self, now: float, *, slow: bool) -> None:
        """The GC has answered with a status; `slow` when it asks for minutes of patience."""
        self._unanswered_since = now
        was_slow, self._slow_s = self._slow_s is not None, GOING_DOWN_S if slow else None
        if slow and not was_slow:
            # The first pause has the full jitter, so that some session soon finds the GC back.
            self.due_at = now + self._spread(GOING_DOWN_S)

    def must_restart_game(self, now: float) -> bool:
        """Return whether hellos have stayed unanswered for too long; the next time is twice as far."""
        if now - self._unanswered_since < self._restart_after_s:
            return False
        self._unanswered_since = now
        self._restart_after_s *= 2
        self._count = 0
        return True

    def hurry(self, now: float, delay_s: float) -> bool:
        """Say hello in `delay_s`, unless one is planned sooner or just sent; return whether it will.

        Once until that hello: every welcome hurries the sessions that wait, and those that are hurried
        again and again would lose their distance.
        """
        if self._is_hurried or now - self._said_at < HURRY_GAP_S or now + delay_s >= self.due_at:
            return False
        self._is_hurried = True
        self.due_at = now + delay_s
        return True

    def _spread(self, pause_s: float) -> float:
        return pause_s * self._rng.uniform(0.1, 1.0 + JITTER)


class Waiting(Protocol):
    """A GC session that waits for its welcome."""

    def hurry(self, delay_s: float) -> None:
        """Say hello in `delay_s` seconds unless that is planned sooner."""


class WaitingSessions:
    """The GC sessions of one hub that wait for a welcome. Lives in the hub.

    A welcome is the proof that the GC is back: the sessions that still wait say hello soon after it,
    one after the other, instead of at the end of their pauses.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self._waiting: dict[Waiting, None] = {}  # in the order of their loss

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, session: Waiting) -> None:
        """A session begins to wait. Harmless when repeated."""
        self._waiting[session] = None

    def discard(self, session: Waiting) -> None:
        """A session does not wait any more. Harmless when repeated."""
        self._waiting.pop(session, None)

    def welcomed(self, session: Waiting) -> None:
        """A session was welcomed: hurry the others."""
        self.discard(session)
        spacing_s = min(HURRY_SPACING_S, HURRY_WITHIN_S / max(1, len(self._waiting)))
        for number, other in enumerate(list(self._waiting), start=1):
            other.hurry(spacing_s * (number - self.rng.random()))
