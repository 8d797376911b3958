"""The log of Redis outages (no answer, or no writes): at their begin, once a minute, at their end."""

from __future__ import annotations

from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.clock import WallClock
from actors.observing import contained
from actors.redis_client import Watch
from actors.shared_causes import CauseKind, SharedCause

BACK_AFTER: Final = 3  # answers in a row: one may have been on its way already
SUMMARY_S: Final = 60.0  # between two lines about an outage that lasts
# A Redis that cannot write still answers what only reads: it is back when a script that always writes is
# answered, or after so long without a refusal.
WRITERS: Final = frozenset({"acquire", "renew", "release", "note_logon"})
WRITES_AFTER_S: Final = 30.0


class RedisLog:
    """A watch on scripts; passes on to another what it is told."""

    def __init__(self, watch: Watch, *, clock: WallClock, log: FilteringBoundLogger) -> None:
        self._clock = clock
        self._log = log.bind(actor="redis")
        # Redis has done what the script says, whether or not that could be counted.
        self._answered = contained(watch.answered, "redis", log=self._log)
        self._refused = contained(watch.refused, "redis", log=self._log)
        self._unable = contained(watch.unable, "redis", log=self._log)
        self._failed = contained(watch.failed, "redis", log=self._log)
        self._lost_at: float | None = None
        self._said_at = 0.0
        self._failed_at = 0.0
        self._told: set[bool] = set()  # of this outage: by whether Redis answered
        self._failures = 0
        self._answers = 0
        self._outage: SharedCause | None = None

    @property
    def outage(self) -> SharedCause | None:
        """The outage that lasts, as a cause that all bots share."""
        return self._outage

    def answered(self, script: str, seconds: float) -> None:
        """See Watch, as of the others."""
        self._answered(script, seconds)
        self._note_answer(script)

    def refused(self, script: str) -> None:
        """It did answer."""
        self._refused(script)
        self._note_answer(script)

    def unable(self, script: str, reason: str) -> None:
        """It did answer, and cannot serve."""
        self._unable(script, reason)
        self._note_failure(script, reason, answered=True)

    def failed(self, script: str, reason: str) -> None:
        """It did not answer."""
        self._failed(script, reason)
        self._note_failure(script, reason, answered=False)

    def _note_failure(self, script: str, reason: str, *, answered: bool) -> None:
        """Log the outage, at most once a minute."""
        now = self._failed_at = self._clock.now()
        self._failures += 1
        self._answers = 0
        if self._lost_at is None:
            self._lost_at = self._said_at = now
        if answered not in self._told:
            self._told.add(answered)
            self._outage = SharedCause(
                CauseKind.REDIS_UNREACHABLE,
                self._clock.wall() - (now - self._lost_at),
                reason,
                frozenset(),
            )
            self._log.warning("redis_lost", script=script, reason=reason)
        elif now - self._said_at >= SUMMARY_S:
            self._said_at = now
            lasted_s = round(now - self._lost_at, 3)
            self._log.info(
                "redis_still_lost", reason=reason, duration_s=lasted_s, failures=self._failures
            )

    def _note_answer(self, script: str) -> None:
        if self._lost_at is None:
            return
        now, cannot_write = self._clock.now(), True in self._told
        is_sign = not cannot_write or script in WRITERS
        if not is_sign and now - self._failed_at < WRITES_AFTER_S:
            return
        self._answers += 1
        if self._answers >= BACK_AFTER:
            lasted_s = round((self._failed_at if cannot_write else now) - self._lost_at, 3)
            self._log.info("redis_back", duration_s=lasted_s, failures=self._failures)
            self._lost_at, self._failures, self._outage = None, 0, None
            self._told.clear()
