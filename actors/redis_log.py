"""The log of Redis outages: one line at the begin, one a minute, one at the end."""

from __future__ import annotations

from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.clock import WallClock
from actors.redis_client import Watch
from actors.shared_causes import CauseKind, SharedCause

BACK_AFTER: Final = 3  # answers in a row: one may have been on its way already
SUMMARY_S: Final = 60.0  # between two lines about an outage that lasts


class RedisLog:
    """A watch on scripts; passes on to another what it is told."""

    def __init__(self, watch: Watch, *, clock: WallClock, log: FilteringBoundLogger) -> None:
        self._watch = watch
        self._clock = clock
        self._log = log.bind(actor="redis")
        self._lost_at: float | None = None
        self._said_at = 0.0
        self._failures = 0
        self._answers = 0
        self._outage: SharedCause | None = None

    @property
    def outage(self) -> SharedCause | None:
        """The outage that lasts, as a cause that all bots share."""
        return self._outage

    def answered(self, script: str, seconds: float) -> None:
        """See Watch, as of the others."""
        self._watch.answered(script, seconds)
        self._note_answer()

    def refused(self, script: str) -> None:
        """It did answer."""
        self._watch.refused(script)
        self._note_answer()

    def failed(self, script: str, reason: str) -> None:
        """Log the outage, at most once a minute."""
        self._watch.failed(script, reason)
        self._failures += 1
        self._answers = 0
        now = self._clock.now()
        if self._lost_at is None:
            self._lost_at = self._said_at = now
            self._outage = SharedCause(
                CauseKind.REDIS_UNREACHABLE, self._clock.wall(), reason, frozenset()
            )
            self._log.warning("redis_lost", script=script, reason=reason)
        elif now - self._said_at >= SUMMARY_S:
            self._said_at = now
            lasted_s = round(now - self._lost_at, 3)
            self._log.info(
                "redis_still_lost", reason=reason, duration_s=lasted_s, failures=self._failures
            )

    def _note_answer(self) -> None:
        if self._lost_at is None:
            return
        self._answers += 1
        if self._answers >= BACK_AFTER:
            lasted_s = round(self._clock.now() - self._lost_at, 3)
            self._log.info("redis_back", duration_s=lasted_s, failures=self._failures)
            self._lost_at, self._failures, self._outage = None, 0, None
