"""What is known of a match as Redis holds it: a hash, packed once and copied from then on.

    facts       JSON, for the service and for an operator: `HGET botapi:match:7490235544 facts`
    json        the API's answer, gzipped, as it goes out: `HGET botapi:match:7490235544 json | gunzip`
    protobuf    the GC's bytes, deflated (zlib)

Of a match that the GC does not give out there are only facts; the other two are empty. A fourth field,
`landed`, is the scripts' own. Entries of another `v` are none.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Final, Literal

import orjson
from pydantic import TypeAdapter, ValidationError

from actors.matches.answer import MatchAnswer, ReplayFacts, Source
from actors.matches.refusal import Known, Refusal, Verdict

VERSION: Final = 1
LEVEL: Final = 1
GZIP: Final = zlib.MAX_WBITS | 16
LONGEST: Final = 16 * 1024 * 1024  # bytes unpacked; a match has some ten thousand


class Garbled(ValueError):
    """This is no entry of ours."""


@dataclass(frozen=True, slots=True)
class _Facts:
    v: Literal[1]
    id: int
    stored_at: float
    fresh_until: float
    verdict: Verdict | None = None  # exactly when there is no match
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
    if isinstance(known, Refusal):
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
        raise Garbled(f"facts: {error.error_count()} errors") from None
    if facts.id != match_id:
        raise Garbled(f"about match {facts.id}")
    if facts.verdict is not None:
        return Refusal(match_id, facts.verdict, facts.stored_at, facts.fresh_until)
    if facts.replay is None or not facts.etag:
        raise Garbled("facts are missing")
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
        raise Garbled(str(error)) from None
    if not unpacker.eof or unpacker.unused_data:
        raise Garbled("cut off, or too long")
    return text
