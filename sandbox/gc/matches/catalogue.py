"""Catalogue of match answers: generated, from a file, not found or blocked."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from sandbox.gc.matches import facts
from sandbox.gc.matches.generator import Generator
from sandbox.gc.messages import RESPONSE
from sandbox.protocol.wire import varint

OK, NOT_FOUND, BLOCKED = 1, 2, 15
_CACHED: Final = 2048  # generated answers of about 4 KB each
_RESULT_OK: Final = b"\x08\x01"
_MATCH_TAG: Final = varint(2 << 3 | 2)
_VOTE: Final = b"\x18\x00"


class MatchesError(ValueError):
    """A file of the matches directory is invalid; the text names the file and the reason."""


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An answer from a file."""

    body: bytes
    replay_salt: int | None  # None: there is no replay file


class Catalogue:
    """Answers to requests for match details, and the replays that exist."""

    def __init__(self, seed: int, stored: dict[int, StoredAnswer] | None = None) -> None:
        self._generator = Generator(seed)
        self._stored = stored or {}
        self._cache: OrderedDict[int, bytes] = OrderedDict()
        self.not_found: set[int] = set()
        self.blocked: set[int] = set()
        self.no_replay: set[int] = set()  # not uploaded yet, or expired

    def answer(self, match_id: int) -> tuple[str, bytes]:
        """Return the outcome for the journal and the encoded response."""
        if match_id in self.blocked or match_id == facts.BLOCKED_ID:
            return "blocked", self.refusal(BLOCKED)
        if match_id in self.not_found:
            return "not_found", self.refusal(NOT_FOUND)
        stored = self._stored.get(match_id)
        if stored is not None:
            return "answered", stored.body
        if not 0 < match_id < facts.FIRST_FUTURE_ID:
            return "not_found", self.refusal(NOT_FOUND)
        return "answered", self._generated(match_id)

    def replay_salt(self, match_id: int) -> int | None:
        """Return the salt in the name of a match's replay file; None if there is no file."""
        if match_id in self.no_replay:
            return None
        stored = self._stored.get(match_id)
        if stored is not None:
            return stored.replay_salt
        is_played = 0 < match_id < facts.FIRST_FUTURE_ID
        return self._generator.replay_salt(match_id) if is_played else None

    def refusal(self, result: int) -> bytes:
        """Return a response without a match."""
        return RESPONSE.encode({"result": result, "vote": 0})

    def _generated(self, match_id: int) -> bytes:
        body = self._cache.get(match_id)
        if body is None:
            match = self._generator.match(match_id)
            body = b"".join((_RESULT_OK, _MATCH_TAG, varint(len(match)), match, _VOTE))
            self._cache[match_id] = body
            if len(self._cache) > _CACHED:
                self._cache.popitem(last=False)
        return body


def load(directory: Path) -> dict[int, StoredAnswer]:
    """Encode the answers in a directory's *.json files, in protobuf's JSON mapping.

    JSON files of another form are ignored.

    Raises:
        MatchesError: the directory does not exist, or an answer does not fit the schema.
    """
    # Imported here because building the schema takes a third of a second, which most starts save.
    from sandbox.gc.matches import schema  # noqa: PLC0415

    if not directory.is_dir():
        raise MatchesError(f"{directory} is not a directory")
    found: dict[int, StoredAnswer] = {}
    for path in sorted(directory.glob("*.json")):
        try:
            answer: Any = orjson.loads(path.read_bytes())
            if not (isinstance(answer, dict) and {"result", "match"} <= answer.keys()):
                continue  # JSON of another form
            match = answer["match"]
            salt = facts.replay_salt(match)
            found[int(match["match_id"])] = StoredAnswer(schema.encode_response(answer), salt)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MatchesError(f"{path}: {error}") from error
    return found
