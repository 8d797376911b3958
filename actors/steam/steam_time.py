"""Steam's time of day, learned from its answers."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Final, Protocol

HALF_S: Final = 0.5  # Steam cuts its time to whole seconds: half a second is lost on average


class WallClock(Protocol):
    """Only what is safe to ask from any thread."""

    def now(self) -> float:
        """Return monotonic seconds."""

    def wall(self) -> float:
        """Return UTC seconds since 1970."""


class SteamTime:
    """The time of day at Steam, which Steam Guard codes and tokens live by.

    Two answers tell it. The `Date` of the directory's answer (RFC 9110, section 6.6.1) is there before
    any log-on, when the first code is needed. `rtime32_server_time` of a log-on comes from the CM itself,
    and counts more than what a mirror or proxy of the directory says. The timestamp of the password key
    is opaque, and EMsg 9802 is not known to be answered before a log-on.

    Between two answers the monotonic clock carries the time on, because the machine's date may be wrong
    and may jump. Safe to use from any thread.
    """

    def __init__(self, clock: WallClock) -> None:
        self._clock = clock
        self._ahead: float | None = None  # seconds, of Steam's date before the monotonic clock
        self._is_from_cm = False

    @property
    def is_known(self) -> bool:
        """Whether Steam has told the time; until then `wall` is the machine's own."""
        return self._ahead is not None

    def now(self) -> float:
        """Return monotonic seconds."""
        return self._clock.now()

    def wall(self) -> float:
        """Return UTC seconds since 1970, as Steam has them."""
        ahead = self._ahead
        return self._clock.wall() if ahead is None else self._clock.now() + ahead

    def learn_from_cm(self, seconds: int) -> None:
        """Take the time of a log-on's answer, in UTC seconds that have just begun; 0 is none."""
        if seconds > 0:
            self._is_from_cm = True
            self._ahead = seconds + HALF_S - self._clock.now()

    def learn_from_directory(self, date: str | None, age: str | None) -> None:
        """Take the headers `Date` and `Age` of an answer that has just come."""
        if self._is_from_cm or date is None:
            return
        try:
            made_at = parsedate_to_datetime(date).timestamp()
            in_caches_s = float(age or 0)
        except ValueError:
            return
        self._ahead = made_at + in_caches_s + HALF_S - self._clock.now()
