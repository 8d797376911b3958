"""Whether a replay can be downloaded now, and why not."""

from __future__ import annotations

import enum
from typing import Final

from actors.matches.cache import RECENT_S, has_just_ended
from actors.matches.match import ReplayFacts

UPLOADED_WITHIN_S: Final = RECENT_S  # of the match's end; until then the URL may answer 404
EXPIRED: Final = "REPLAY_EXPIRED"


class Availability(enum.StrEnum):
    """Availability of a replay."""

    AVAILABLE = "available"
    NOT_YET = "not-yet-available"  # recorded, but maybe not uploaded yet
    EXPIRED = "expired"  # Valve keeps replays of public matches for about two weeks
    NOT_RECORDED = "not-recorded"
    OLD_FORMAT = "old-format"  # from before replays had today's form


def availability(replay: ReplayFacts, now: float) -> Availability:
    """Return the availability at `now` (UTC seconds)."""
    if replay.url is not None:
        return Availability.AVAILABLE if upload_left_s(replay, now) <= 0 else Availability.NOT_YET
    if replay.state == EXPIRED:
        return Availability.EXPIRED
    return Availability.OLD_FORMAT if replay.is_old_format else Availability.NOT_RECORDED


def upload_left_s(replay: ReplayFacts, now: float) -> float:
    """Return the seconds until the file must be uploaded; 0 or less when it must be, or when unknown.

    An end further ahead than clocks can differ is invalid, so the time is unknown.
    """
    if replay.ended_at is None or not has_just_ended(replay.ended_at, now):
        return 0.0
    return replay.ended_at + UPLOADED_WITHIN_S - now
