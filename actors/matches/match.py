"""One match as the service returns it: MatchDetails, MatchAnswer, NoMatch, replay URL and availability.

A MatchAnswer holds every representation as bytes, so no component encodes or compresses it again.
"""

from __future__ import annotations

import enum
import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import urlsplit

import orjson

from actors.errors import MatchBlocked, MatchNotFound

REPLAY_AVAILABLE: Final = "REPLAY_AVAILABLE"
REPLAY_EXPIRED: Final = "REPLAY_EXPIRED"
# A replay is uploaded within some minutes after the end. Until then its facts may change, and its URL,
# which the GC gives from the start, answers 404.
RECENT_S: Final = 600.0
CLOCKS_DIFFER_S: Final = 86_400.0  # maximum between Valve's and ours; a later end is invalid
OLD_FORMAT: Final = "DOTA_GAMEMODE_NONE"  # with a salt of 0, as odota/core reads it
DEFAULT_RESULT: Final = 2  # EResult of an answer without `result`: Fail
GZIP_LEVEL: Final = 1  # most of the gain for a third of level 6's time
DOMAIN: Final = "valve.net"
# Perfect World's clusters keep their replays in China (odota/core).
DOMAIN_OF_CLUSTER: Final[Mapping[int, str]] = dict.fromkeys((413, 415, 417), "dota2.com.cn")


class Availability(enum.StrEnum):
    """Availability of a replay."""

    AVAILABLE = "available"
    NOT_YET = "not-yet-available"  # recorded, but maybe not uploaded yet
    EXPIRED = "expired"  # Valve keeps replays of public matches for about two weeks
    NOT_RECORDED = "not-recorded"
    OLD_FORMAT = "old-format"  # from before replays had today's form


@dataclass(frozen=True, slots=True)
class ReplayFacts:
    """Facts that decide whether and where there is a replay."""

    state: str | int  # the schema's name, or a number where it has none
    cluster: int
    salt: int
    # None: not recorded, expired, an old-format match without a salt, or no cluster.
    url: str | None
    ended_at: int | None = None  # UTC seconds
    is_old_format: bool = False

    def availability(self, now: float) -> Availability:
        """Return the availability at `now` (UTC seconds)."""
        if self.url is not None:
            return Availability.NOT_YET if self.upload_left_s(now) else Availability.AVAILABLE
        if self.state == REPLAY_EXPIRED:
            return Availability.EXPIRED
        return Availability.OLD_FORMAT if self.is_old_format else Availability.NOT_RECORDED

    def upload_left_s(self, now: float) -> float:
        """Return the seconds until the file must be uploaded; 0 when it must be, or when unknown.

        An end further ahead than clocks can differ is invalid, so the time is unknown.
        """
        if self.ended_at is None or now - self.ended_at <= -CLOCKS_DIFFER_S:
            return 0.0
        return max(0.0, self.ended_at + RECENT_S - now)


@dataclass(frozen=True, slots=True)
class MatchDetails:
    """An answer of the GC. `fields`: the whole answer in protobuf's JSON mapping."""

    result: int
    match_id: int | None
    replay: ReplayFacts
    fields: dict[str, Any] = field(repr=False)

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Self:
        """Make one of a decoded CMsgGCMatchDetailsResponse."""
        match = fields.get("match", {})
        match_id = int(match["match_id"]) if "match_id" in match else None
        return cls(fields.get("result", DEFAULT_RESULT), match_id, _replay(match), fields)


def _replay(match: dict[str, Any]) -> ReplayFacts:
    # The schema's default: a match without a replay state has a replay. A dummy salt may remain of an
    # expired one.
    state = match.get("replay_state", REPLAY_AVAILABLE)
    cluster, salt = match.get("cluster", 0), match.get("replay_salt", 0)
    url = None
    if state == REPLAY_AVAILABLE and salt and cluster:
        domain = DOMAIN_OF_CLUSTER.get(cluster, DOMAIN)
        url = f"http://replay{cluster}.{domain}/570/{match.get('match_id')}_{salt}.dem.bz2"
    ended_at = None
    if begun := match.get("starttime", 0):
        # The duration counts from the horn, which sounds after the pre-game time.
        ended_at = int(begun + match.get("pre_game_duration", 0) + match.get("duration", 0))
    # As odota/core's retriever decides. An absent game mode is the schema's default, the old format's.
    is_old = bool(match) and match.get("game_mode", OLD_FORMAT) == OLD_FORMAT and not salt
    return ReplayFacts(state, cluster, salt, url, ended_at, is_old)


def on_mirror(url: str, mirror: str) -> str:
    """Return the URL of the file on another server; `mirror`: its base URL."""
    return mirror.rstrip("/") + urlsplit(url).path


def is_valves(url: str) -> bool:
    """Return whether a URL is one of Valve's (or Perfect World's) replay servers."""
    host = urlsplit(url).hostname or ""
    return host.endswith((f".{DOMAIN}", *(f".{domain}" for domain in DOMAIN_OF_CLUSTER.values())))


def to_json(match_id: int, details: MatchDetails) -> bytes:
    """Return the API's JSON: `id`, `replay_url`, then the GC's answer."""
    answer: dict[str, Any] = {
        "id": match_id,
        "replay_url": details.replay.url,
        **details.fields,
    }
    return orjson.dumps(answer)


def gzipped(body: bytes) -> bytes:
    """Return `body` in the content coding gzip."""
    packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    return packer.compress(body) + packer.flush()


def etag_of(body: bytes) -> str:
    """Return an entity tag of `body`, without quotes."""
    return hashlib.blake2b(body, digest_size=12).hexdigest()


class Source(enum.StrEnum):
    """Origin of an answer."""

    GC = "gc"  # fetched for this request
    MEMORY = "memory"  # cache of this process
    REDIS = "redis"  # cache of all instances


@dataclass(frozen=True, slots=True)
class MatchAnswer:
    """One match. Times are UTC seconds."""

    match_id: int
    json: bytes = field(repr=False)
    gzip: bytes = field(repr=False)  # of `json`
    protobuf: bytes = field(repr=False)  # CMsgGCMatchDetailsResponse, exactly as the GC sent it
    etag: str  # of `json`, without quotes
    replay: ReplayFacts
    stored_at: float  # when the GC answered
    fresh_until: float  # a cache may use it until then
    source: Source = Source.GC
    steam_id: int | None = None  # of the account that was used; None for a cached match
    ip: str | None = None  # egress IP of that account


def answer_of(
    match_id: int, body: bytes, details: MatchDetails, *, now: float, ttl_s: float
) -> MatchAnswer:
    """Make an answer of the GC's `body` and its decoded form; `now` in UTC seconds."""
    json = to_json(match_id, details)
    return MatchAnswer(
        match_id=match_id,
        json=json,
        gzip=gzipped(json),
        protobuf=body,
        etag=etag_of(json),
        replay=details.replay,
        stored_at=now,
        fresh_until=now + ttl_s,
    )


class NoMatchReason(enum.StrEnum):
    """Reason for the GC's refusal."""

    NOT_FOUND = "not-found"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class NoMatch:
    """The GC's refusal to give out a match. Times are UTC seconds."""

    match_id: int
    verdict: NoMatchReason
    stored_at: float  # when the GC answered
    fresh_until: float  # a cache may use it until then

    def error(self, now: float) -> MatchNotFound | MatchBlocked:
        """Return the error for a client.

        A match that is not found may be too recent: a retry makes sense when the entry is not fresh.
        """
        if self.verdict is NoMatchReason.BLOCKED:
            return MatchBlocked("Valve does not give out this match")
        retry_after = max(0.0, self.fresh_until - now)
        return MatchNotFound("there is no such match, or it is not available yet", retry_after)


Known = MatchAnswer | NoMatch  # an entry of a cache
