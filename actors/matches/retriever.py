"""A match as OpenDota's retriever gives it: the GC's answer and nothing else, as protobufjs prints it."""

from __future__ import annotations

import orjson

from actors.matches import values
from actors.matches.decoder import Decoder
from actors.matches.patch import RESPONSE
from actors.matches.schema import match_schema


class RetrieverDecoder:
    """Decodes CMsgGCMatchDetailsResponse; compiles its tables once.

    protobufjs prints as protobuf's JSON mapping has it (names of enums, 64-bit integers as strings), but
    for floats: JavaScript knows none of 32 bits, and prints what 64 bits make of them.
    """

    def __init__(self) -> None:
        self._decoder = Decoder(match_schema(), RESPONSE, float32=values.widened)

    def json(self, body: bytes) -> bytes:
        """Return the GC's answer as JSON. Raises DecodeError."""
        return orjson.dumps(self._decoder.fields(body))
