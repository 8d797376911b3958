"""Matches and fetch locks in Redis.

facts       JSON, for the service and for an operator: `HGET botapi:match:7490235544 facts`
    json        the API's answer, gzipped, as it goes out: `HGET botapi:match:7490235544 json | gunzip`
    protobuf    the GC's bytes, deflated (zlib)

Of a match that the GC does not give out there are only facts; the other two are empty. A fourth field,
`landed`, is the scripts' own. Entries of another `v` are none.

A *flight* is a key with an expiry: the instance that has it asks the GC, the other instances poll Redis
for the result. The owner renews the key; after a crash it expires within `FLIGHT_S`.
"""

from __future__ import annotations

import itertools
import secrets
import zlib
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson
from pydantic import TypeAdapter, ValidationError
from redis.asyncio import Redis
from structlog.typing import FilteringBoundLogger

from actors.matches.match import Known, MatchAnswer, NoMatch, NoMatchReason, ReplayFacts, Source
from actors.redis.client import Condition, Script

VERSION: Final = 1
LEVEL: Final = 1
GZIP: Final = zlib.MAX_WBITS | 16
LONGEST: Final = 16 * 1024 * 1024  # bytes unpacked; a match has some ten thousand


class CorruptEntry(ValueError):
    """This is no entry of ours."""


@dataclass(frozen=True, slots=True)
class _Facts:
    v: Literal[1]
    id: int
    stored_at: float
    fresh_until: float
    verdict: NoMatchReason | None = None  # exactly when there is no match
    etag: str = ""
    replay: ReplayFacts | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """The packed fields."""

    facts: bytes
    json: bytes = b""
    protobuf: bytes = b""


_FACTS: Final = TypeAdapter(_Facts)


def pack(known: Known) -> Entry:
    """Return the fields to store."""
    if isinstance(known, NoMatch):
        facts = _Facts(
            VERSION, known.match_id, known.stored_at, known.fresh_until, verdict=known.verdict
        )
        return Entry(orjson.dumps(facts))
    facts = _Facts(
        VERSION,
        known.match_id,
        known.stored_at,
        known.fresh_until,
        etag=known.etag,
        replay=known.replay,
    )
    return Entry(orjson.dumps(facts), known.gzip, zlib.compress(known.protobuf, LEVEL))


def unpack(match_id: int, entry: Entry) -> Known:
    """Return what `entry` says of a match.

    Raises:
        Garbled: it cannot be read, or is about another match.
    """
    try:
        facts = _FACTS.validate_json(entry.facts)
    except ValidationError as error:
        raise CorruptEntry(f"facts: {error.error_count()} errors") from None
    if facts.id != match_id:
        raise CorruptEntry(f"about match {facts.id}")
    if facts.verdict is not None:
        return NoMatch(match_id, facts.verdict, facts.stored_at, facts.fresh_until)
    if facts.replay is None or not facts.etag:
        raise CorruptEntry("facts are missing")
    return MatchAnswer(
        match_id=match_id,
        json=_unpacked(entry.json, GZIP),
        gzip=entry.json,
        protobuf=_unpacked(entry.protobuf, zlib.MAX_WBITS),
        etag=facts.etag,
        replay=facts.replay,
        stored_at=facts.stored_at,
        fresh_until=facts.fresh_until,
        source=Source.REDIS,
    )


def _unpacked(packed: bytes, bits: int) -> bytes:
    """Undo the compression; its checksum says whether that worked."""
    unpacker = zlib.decompressobj(bits)
    try:
        text = unpacker.decompress(packed, LONGEST)
    except zlib.error as error:
        raise CorruptEntry(str(error)) from None
    if not unpacker.eof or unpacker.unused_data:
        raise CorruptEntry("cut off, or too long")
    return text


FLIGHT_S: Final = 3.0
HOLD_EVERY_S: Final = 1.0  # so that two renewals may get lost

ANYTHING: Final = 0  # see `look`
NEWS: Final = -1


@dataclass(frozen=True, slots=True)
class Claim:
    """A wish for the flight to a match, and what proves that it is ours once it was granted."""

    match_id: int
    token: str


@dataclass(frozen=True, slots=True)
class Locked:
    """Another fetch of the match is under way; look again soon for a result that lands after `after`."""

    after: int


class MatchStore:
    """Matches and flights in Redis. One per process. All methods raise StoreUnavailable, StoreMisused."""

    def __init__(self, redis: Redis, *, prefix: str, log: FilteringBoundLogger) -> None:
        """`redis`: one that answers with bytes."""
        self._redis = redis
        self._match = f"{prefix}:match:"
        self._flight = f"{prefix}:flight:"
        self._log = log.bind(actor="matches")
        self._look = Script(__package__, "look")
        self._land = Script(__package__, "land")
        self._hold = Script(__package__, "hold")
        self._give_up = Script(__package__, "give_up")
        self._process = secrets.token_hex(6)
        self._flights = itertools.count()

    def claim(self, match_id: int) -> Claim:
        """Return a new claim with a unique token."""
        return Claim(match_id, f"{self._process}.{next(self._flights)}")

    def ours(self, claim: Claim) -> Condition:
        """Return what holds in Redis as long as the flight is the claim's."""
        return Condition(self._keys(claim.match_id)[1], claim.token)

    async def look(self, claim: Claim, *, after: int = ANYTHING) -> Known | Claim | Locked:
        """Return what is known of the match; if nothing is, take the flight and return the claim.

        A caller that gets no answer (it is cancelled, or Redis is unreachable) may still own the flight:
        call `give_up`.

        Args:
            claim: a new one, or one that is granted already.
            after: only what landed after that will do: ANYTHING, NEWS, or what `Locked` says.
        """
        keys = self._keys(claim.match_id)
        while True:
            found, landed, *fields = await self._look.run(
                self._redis, keys, [claim.token, int(FLIGHT_S * 1000), after]
            )
            if found == b"yours":
                return claim
            if found == b"theirs":
                return Locked(landed)
            try:
                return unpack(claim.match_id, Entry(*(field or b"" for field in fields)))
            except CorruptEntry as error:
                self._log.warning("match_entry_garbled", match_id=claim.match_id, reason=str(error))
                after = landed

    async def land(self, claim: Claim, known: Known, *, ttl_s: float) -> None:
        """Store what the flight has brought, for `ttl_s`, and end it."""
        entry = pack(known)
        await self._land.run(
            self._redis,
            self._keys(claim.match_id),
            [claim.token, max(1, int(ttl_s * 1000)), entry.facts, entry.json, entry.protobuf],
        )

    async def hold(self, claim: Claim) -> bool:
        """Keep the flight for FLIGHT_S from now; return whether it is ours still."""
        flight = self._keys(claim.match_id)[1:]
        held: Any = await self._hold.run(self._redis, flight, [claim.token, int(FLIGHT_S * 1000)])
        return bool(held)

    async def give_up(self, claim: Claim) -> None:
        """End the claim's flight without a result, if it owns it, so that another instance may fetch."""
        await self._give_up.run(self._redis, self._keys(claim.match_id)[1:], [claim.token])

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    def _keys(self, match_id: int) -> list[str]:
        return [f"{self._match}{match_id}", f"{self._flight}{match_id}"]
