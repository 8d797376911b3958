"""Time of day at Steam, learned from its answers."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Final

from actors.clock import Clock

HALF_S: Final = 0.5  # Steam truncates to whole seconds: half a second is lost on average


class SteamTime:
    """Time of day at Steam, by which Steam Guard codes and tokens are valid. Safe in any thread.

    Sources: the `Date` header of the directory's answer (RFC 9110, section 6.6.1), which is known before
    the first log-on needs a code; then `rtime32_server_time` of a log-on, which comes from the CM itself
    and overrides what a mirror or proxy of the directory says. The timestamp of the password key is
    opaque, and EMsg 9802 is not known to be answered before a log-on.

    Between two answers the time advances by the monotonic clock, as the machine's date may be wrong and
    may jump.
    """

    def __init__(self, clock: Clock) -> None:
        self.now: Callable[[], float] = clock.now  # monotonic seconds
        self._clock = clock
        self._ahead: float | None = None  # seconds from the monotonic clock to Steam's UTC time
        self._is_from_cm = False

    @property
    def is_known(self) -> bool:
        """Whether the time is known; until then `wall` is the machine's own."""
        return self._ahead is not None

    def wall(self) -> float:
        """Return UTC seconds since 1970 at Steam."""
        ahead = self._ahead
        return self._clock.wall() if ahead is None else self._clock.now() + ahead

    def learn_from_cm(self, seconds: int) -> None:
        """Take the time of a log-on's answer, in UTC seconds; 0 is none."""
        if seconds > 0:
            self._is_from_cm = True
            self._ahead = seconds + HALF_S - self._clock.now()

    def learn_from_directory(self, date: str | None, age: str | None) -> None:
        """Take the headers `Date` and `Age` of an answer that has just arrived."""
        if self._is_from_cm or date is None:
            return
        try:
            made_at = parsedate_to_datetime(date).timestamp()
            in_caches_s = float(age or 0)
        except ValueError:
            return
        self._ahead = made_at + in_caches_s + HALF_S - self._clock.now()
