"""Says once that Redis does not answer, and once that it does again, however many wait for it."""

from __future__ import annotations

from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.clock import Clock
from actors.redis_client import Watch

BACK_AFTER: Final = 3  # answers in a row: one may have been on its way already


class RedisLog:
    """See the module. A watch on scripts; passes on to another what it is told."""

    def __init__(self, watch: Watch, *, clock: Clock, log: FilteringBoundLogger) -> None:
        self._watch = watch
        self._clock = clock
        self._log = log.bind(actor="redis")
        self._lost_at: float | None = None
        self._failures = 0
        self._answers = 0

    def answered(self, script: str, seconds: float) -> None:
        """See Watch, as of the others."""
        self._watch.answered(script, seconds)
        self._note_answer()

    def refused(self, script: str) -> None:
        """It did answer."""
        self._watch.refused(script)
        self._note_answer()

    def failed(self, script: str, reason: str) -> None:
        """Say so, if it is news."""
        self._watch.failed(script, reason)
        self._failures += 1
        self._answers = 0
        if self._lost_at is None:
            self._lost_at = self._clock.now()
            self._log.warning("redis_lost", script=script, reason=reason)

    def _note_answer(self) -> None:
        if self._lost_at is None:
            return
        self._answers += 1
        if self._answers >= BACK_AFTER:
            lasted_s = round(self._clock.now() - self._lost_at, 3)
            self._log.info("redis_back", duration_s=lasted_s, failures=self._failures)
            self._lost_at, self._failures = None, 0
