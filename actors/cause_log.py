"""The log of shared causes: one line at the begin of each, one a minute, one at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.clock import WallClock
from actors.headline import Line, cause_line
from actors.shared_causes import CauseKind, SharedCause

SUMMARY_S: Final = 60.0  # between two lines about a cause that lasts

_Key = tuple[CauseKind, str | None]  # with what tells two causes of a kind apart


@dataclass(slots=True)
class _Logged:
    """A cause whose begin is in the log."""

    cause: SharedCause
    said_at: float  # clock seconds


class CauseLog:
    """Logs every shared cause but an outage of Redis, which `redis_log` reports.

    `summary_s`: seconds between two lines about a cause that lasts.
    """

    def __init__(
        self, *, clock: WallClock, log: FilteringBoundLogger, summary_s: float = SUMMARY_S
    ) -> None:
        self._clock = clock
        self._log = log.bind(actor="causes")
        self._summary_s = summary_s
        self._logged: dict[_Key, _Logged] = {}

    def is_due(self, causes: Sequence[SharedCause]) -> bool:
        """Whether `note` has something to log."""
        now = self._clock.now()
        return _by_key(causes).keys() != self._logged.keys() or any(
            now - one.said_at >= self._summary_s for one in self._logged.values()
        )

    def note(self, causes: Sequence[SharedCause], bots: int) -> None:
        """Log what is new. `causes`: all that last; `bots`: the size of the fleet."""
        lasting, now = _by_key(causes), self._clock.now()
        for key in self._logged.keys() - lasting.keys():
            ended = self._logged.pop(key).cause
            self._log.info(
                "shared_cause_ended",
                kind=ended.kind,
                reason=ended.reason,
                duration_s=self._lasted_s(ended),
            )
        for key, cause in lasting.items():
            if (logged := self._logged.get(key)) is None:
                self._log_begin(cause, bots)
                self._logged[key] = _Logged(cause, now)
            else:
                logged.cause = cause
                if now - logged.said_at >= self._summary_s:
                    self._log_summary(cause, bots)
                    logged.said_at = now

    def _log_begin(self, cause: SharedCause, bots: int) -> None:
        self._log.warning(
            "shared_cause_begun",
            kind=cause.kind,
            reason=cause.reason,
            bots=len(cause.bots),
            of=bots,
            text=_in_words(cause_line(cause, bots)),
        )

    def _log_summary(self, cause: SharedCause, bots: int) -> None:
        self._log.info(
            "shared_cause_lasts",
            kind=cause.kind,
            reason=cause.reason,
            bots=len(cause.bots),
            of=bots,
            duration_s=self._lasted_s(cause),
        )

    def _lasted_s(self, cause: SharedCause) -> float:
        return round(max(0.0, self._clock.wall() - cause.since), 3)


def _by_key(causes: Sequence[SharedCause]) -> Mapping[_Key, SharedCause]:
    return {_key(one): one for one in causes if one.kind is not CauseKind.REDIS_UNREACHABLE}


def _key(cause: SharedCause) -> _Key:
    return cause.kind, cause.reason if cause.kind is CauseKind.SAME_REFUSAL else cause.address


def _in_words(line: Line) -> str:
    """Return an alert as the page shows it; the time is UTC, as all times in the log."""
    when = "" if line.when is None else f"{datetime.fromtimestamp(line.when, UTC):%H:%M} UTC"
    return " ".join(filter(None, (line.text, line.todo))).replace("{when}", when)
