"""Logs of shared causes and Redis outages: begin, one line per minute, end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.bot.shared_causes import CauseKind, SharedCause, SharedCauses
from actors.clock import Clock
from actors.dashboard.alerts import cause_line
from actors.dashboard.snapshot import Alert
from actors.metrics import contained
from actors.redis.client import CallObserver

BACK_AFTER: Final = 3  # answers in a row: one may have been sent before the outage
SUMMARY_S: Final = 60.0  # between two lines about a cause
# A Redis that cannot write still answers scripts that only read. Its outage ends with the answer to one
# of these scripts, or after WRITES_AFTER_S without a failure.
WRITERS: Final = frozenset({"acquire", "renew", "release", "note_logon"})
WRITES_AFTER_S: Final = 30.0


class RedisLog(CallObserver):
    """Observer of script calls that logs outages, and forwards each call to `watch`."""

    def __init__(self, watch: CallObserver, *, clock: Clock, log: FilteringBoundLogger) -> None:
        self._clock = clock
        self._log = log.bind(actor="redis")
        # A call succeeds also when it cannot be counted.
        self._answered = contained(watch.answered, "redis", log=self._log)
        self._refused = contained(watch.refused, "redis", log=self._log)
        self._unable = contained(watch.unable, "redis", log=self._log)
        self._failed = contained(watch.failed, "redis", log=self._log)
        self._lost_at: float | None = None
        self._said_at = 0.0
        self._failed_at = 0.0
        self._told: set[bool] = set()  # the kinds of failure in this outage: whether Redis answered
        self._failures = self._answers = 0
        self.outage: SharedCause | None = None  # the present one, as a cause that all bots share

    def answered(self, script: str, seconds: float) -> None:
        """Record an answer."""
        self._answered(script, seconds)
        self._note_answer(script)

    def refused(self, script: str) -> None:
        """Record a refusal by the script, which is an answer."""
        self._refused(script)
        self._note_answer(script)

    def unable(self, script: str, reason: str) -> None:
        """Record an error of Redis itself, e.g. out of memory."""
        self._unable(script, reason)
        self._note_failure(script, reason, answered=True)

    def failed(self, script: str, reason: str) -> None:
        """Record a call without an answer."""
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
            since = self._clock.wall() - (now - self._lost_at)
            self.outage = SharedCause(CauseKind.REDIS_UNREACHABLE, since, reason, frozenset())
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
            self._lost_at, self._failures, self.outage = None, 0, None
            self._told.clear()


class LastingCauses:
    """The shared causes that last, a lost Redis included."""

    def __init__(self, shared: SharedCauses, redis: RedisLog, *, clock: Clock) -> None:
        self._shared = shared
        self._redis = redis
        self._clock = clock

    def active(self) -> tuple[SharedCause, ...]:
        """Return them; a lost Redis first, then the oldest."""
        shared, lost = self._shared.active(self._clock.wall()), self._redis.outage
        return shared if lost is None else (lost, *shared)


_Key = tuple[CauseKind, str | None]  # and what distinguishes two causes of a kind


class CauseLog:
    """Logs every shared cause except outages of Redis, which RedisLog logs."""

    def __init__(self, *, clock: Clock, log: FilteringBoundLogger) -> None:
        self._clock = clock
        self._log = log.bind(actor="causes")
        # The causes whose begin was logged, and when the last line about each was (clock seconds).
        self._logged: dict[_Key, tuple[SharedCause, float]] = {}

    def is_due(self, causes: Sequence[SharedCause]) -> bool:
        """Return whether `note` has something to log."""
        now = self._clock.now()
        return _by_key(causes).keys() != self._logged.keys() or any(
            now - said_at >= SUMMARY_S for _, said_at in self._logged.values()
        )

    def note(self, causes: Sequence[SharedCause], bots: int) -> None:
        """Log changes. `causes`: all that last; `bots`: the size of the fleet."""
        lasting, now = _by_key(causes), self._clock.now()
        for key in self._logged.keys() - lasting.keys():
            ended, _ = self._logged.pop(key)
            which = {"kind": ended.kind, "reason": ended.reason}
            self._log.info("shared_cause_ended", **which, duration_s=self._lasted_s(ended))
        for key, cause in lasting.items():
            facts = {
                "kind": cause.kind,
                "reason": cause.reason,
                "bots": len(cause.bots),
                "of": bots,
            }
            _, said_at = self._logged.get(key, (cause, None))
            if said_at is None:
                text = _in_words(cause_line(cause, bots))
                self._log.warning("shared_cause_begun", **facts, text=text)
                said_at = now
            elif now - said_at >= SUMMARY_S:
                self._log.info("shared_cause_lasts", **facts, duration_s=self._lasted_s(cause))
                said_at = now
            self._logged[key] = cause, said_at

    def _lasted_s(self, cause: SharedCause) -> float:
        return round(max(0.0, self._clock.wall() - cause.since), 3)


def _by_key(causes: Sequence[SharedCause]) -> Mapping[_Key, SharedCause]:
    return {
        (one.kind, one.reason if one.kind is CauseKind.SAME_REFUSAL else one.address): one
        for one in causes
        if one.kind is not CauseKind.REDIS_UNREACHABLE
    }


def _in_words(line: Alert) -> str:
    """Return the text of an alert; the time is UTC, as all times in the log."""
    when = "" if line.when is None else f"{datetime.fromtimestamp(line.when, UTC):%H:%M} UTC"
    return " ".join(filter(None, (line.text, line.todo))).replace("{when}", when)
