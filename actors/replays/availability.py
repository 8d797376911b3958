"""Whether a replay can be downloaded now, and why not."""

from __future__ import annotations

import enum
from typing import Final

from actors.matches.cache import RECENT_S, has_just_ended
from actors.matches.match import ReplayFacts

UPLOADED_WITHIN_S: Final = RECENT_S  # of the match's end; until then the file may answer 404
EXPIRED: Final = "REPLAY_EXPIRED"


class Availability(enum.StrEnum):
    """What can be said of a replay."""

    AVAILABLE = "available"
    NOT_YET = "not-yet-available"  # recorded, but perhaps not uploaded so far
    EXPIRED = "expired"  # Valve keeps public ones for some two weeks
    NOT_RECORDED = "not-recorded"
    OLD_FORMAT = "old-format"  # from before there were replays in today's form


def availability(replay: ReplayFacts, now: float) -> Availability:
    """Judge by the facts at `now` (UTC seconds)."""
    if replay.url is not None:
        return Availability.AVAILABLE if upload_left_s(replay, now) <= 0 else Availability.NOT_YET
    if replay.state == EXPIRED:
        return Availability.EXPIRED
    return Availability.OLD_FORMAT if replay.is_old_format else Availability.NOT_RECORDED


def upload_left_s(replay: ReplayFacts, now: float) -> float:
    """Return the seconds until the file is surely uploaded; 0 or less when it is, or that is unknown.

    An end that lies further ahead than clocks differ is unknown: the GC tells of matches that have ended.
    """
    if replay.ended_at is None or not has_just_ended(replay.ended_at, now):
        return 0.0
    return replay.ended_at + UPLOADED_WITHIN_S - now
