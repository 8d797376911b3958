"""One match as the service hands it out: made once from the GC's answer, then only copied.

It holds every representation as bytes: JSON, gzipped JSON, and the protobuf message of the GC. No
component parses or compresses it again.
"""

from __future__ import annotations

import enum
import hashlib
import zlib
from dataclasses import dataclass, field
from typing import Final

from actors.matches.details import MatchDetails
from actors.matches.replay import replay_url, to_json

GZIP_LEVEL: Final = 1  # most of the gain for a third of level 6's time


class Source(enum.StrEnum):
    """Where an answer comes from."""

    GC = "gc"  # asked just now
    MEMORY = "memory"  # known to this process
    REDIS = "redis"  # known to the fleet


@dataclass(frozen=True, slots=True)
class ReplayFacts:
    """What decides whether and where there is a replay."""

    state: str | int  # the schema's name, or a number where it has none
    cluster: int
    salt: int
    url: str | None
    ended_at: int | None = None  # UTC seconds; the file is up some minutes later
    is_old_format: bool = False  # from before there were replays in today's form


@dataclass(frozen=True, slots=True)
class MatchAnswer:
    """One match. Times are UTC seconds."""

    match_id: int
    json: bytes = field(repr=False)
    gzip: bytes = field(repr=False)  # of `json`
    protobuf: bytes = field(repr=False)  # CMsgGCMatchDetailsResponse, exactly as the GC sent it
    etag: str  # of `json`, without quotes
    replay: ReplayFacts
    stored_at: float  # when the GC said so
    fresh_until: float  # until when a cache may answer with it
    source: Source = Source.GC
    steam_id: int | None = None  # of the account that asked the GC; None for a known match
    ip: str | None = None  # from which it asked


def answer_of(
    match_id: int, body: bytes, details: MatchDetails, *, now: float, ttl_s: float
) -> MatchAnswer:
    """Make an answer of the GC's `body` and what it decodes to; `now` in UTC seconds."""
    json = to_json(match_id, details)
    packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    return MatchAnswer(
        match_id=match_id,
        json=json,
        gzip=packer.compress(json) + packer.flush(),
        protobuf=body,
        etag=hashlib.blake2b(json, digest_size=12).hexdigest(),
        replay=ReplayFacts(
            state=details.replay_state,
            cluster=details.cluster,
            salt=details.replay_salt,
            url=replay_url(match_id, details),
            ended_at=details.ended_at,
            is_old_format=details.is_old_format,
        ),
        stored_at=now,
        fresh_until=now + ttl_s,
    )
