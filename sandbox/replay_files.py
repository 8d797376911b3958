"""The bytes of replay files: made from nothing but the match, the same for the same match.

A file is the head of a Source 2 replay, the match's name, filler, and the file info that names the match,
compressed. Compressing the filler again for every match would cost seconds, so a file is a row of streams
(bzip2) or frames (zstd), as parallel packers write them: the first and the last belong to the match, the
others come from a pool in an order of the match's own.
"""

from __future__ import annotations

import asyncio
import bz2
import random
import string
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from backports import zstd

from sandbox.wire import Shape, field, varint

MAGIC: Final = b"PBDEMS2\0"
_PART: Final = 200_000  # bytes of one compressed stream, about
_POOL: Final = 6
_CACHED: Final = 3  # files of up to some 60 MB each
# Six bits of eight: filler of these shrinks to about three quarters, as a replay roughly does.
_ALPHABET: Final = (string.ascii_letters + string.digits + "+/").encode() * 4
_SWELL: Final = 4 / 3
_PLAIN_PART: Final = int(_PART * _SWELL)

# demo.proto: the message at the end of a replay, behind its kind, tick and size.
_FILE_INFO: Final = 2
_TICK: Final = 90_000
_INFO: Final = Shape(
    "CDemoFileInfo",
    field(1, "playback_time", "float"),
    field(2, "playback_ticks", "int32"),
    field(
        4,
        "game_info",
        Shape(
            "CGameInfo", field(4, "dota", Shape("CDotaGameInfo", field(1, "match_id", "uint64")))
        ),
    ),
)
COMPRESSIONS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "bzip2": lambda plain: bz2.compress(plain, 1),
    "zstd": lambda plain: zstd.compress(plain, 1),
}


@dataclass(frozen=True, slots=True)
class FileName:
    """Which file: `kind` is `dem` or `meta`; another `version` has other bytes.

    Attributes:
        compression: a key of `COMPRESSIONS`; not a part of the name, as at Valve.
        content_of: the match that the content names; 0 for none.
    """

    match_id: int
    salt: int
    kind: str
    compression: str
    content_of: int
    version: int = 0

    def __str__(self) -> str:
        return f"{self.match_id}_{self.salt}.{self.kind}.bz2"


class ReplayFiles:
    """Makes files on a thread, because compressing would delay the heartbeats of all sessions."""

    def __init__(self, seed: int, size: int) -> None:
        """`size`: bytes of an ordinary replay; each match's own is within a quarter of it."""
        self._seed = seed
        self._size = size
        self._pools: dict[str, list[bytes]] = {}
        self._cache: OrderedDict[FileName, bytes] = OrderedDict()
        self._making = asyncio.Lock()

    async def read(self, name: FileName) -> bytes:
        """Return the file's bytes."""
        async with self._making:
            if name not in self._cache:
                self._cache[name] = await asyncio.to_thread(self._make, name)
                if len(self._cache) > _CACHED:
                    self._cache.popitem(last=False)
            return self._cache[name]

    def _make(self, name: FileName) -> bytes:
        rng = random.Random(f"replay {self._seed} {name} {name.version}")
        compress = COMPRESSIONS.get(name.compression, COMPRESSIONS["zstd"])
        if name.kind == "meta":
            return compress(str(name).encode() + _filler(rng, 40_000))
        size = self._size * rng.uniform(0.75, 1.25)
        begin = str(name).encode() + _filler(rng, int(min(size, _PART) * _SWELL))
        count = round(size / _PART) - 1 if size > _PART else 0
        middle = rng.choices(self._pool(name.compression), k=count) if count else []
        head_size = len(MAGIC) + 8
        info_at = head_size + len(begin) + count * _PLAIN_PART
        head = MAGIC + info_at.to_bytes(4, "little") + bytes(4)
        return b"".join((compress(head + begin), *middle, compress(_file_info(name.content_of))))

    def _pool(self, compression: str) -> list[bytes]:
        if compression not in self._pools:
            rng = random.Random(f"pool {self._seed}")
            compress = COMPRESSIONS.get(compression, COMPRESSIONS["zstd"])
            self._pools[compression] = [compress(_filler(rng, _PLAIN_PART)) for _ in range(_POOL)]
        return self._pools[compression]


def _file_info(match_id: int) -> bytes:
    game = {"dota": {"match_id": match_id}}
    info = _INFO.encode({"playback_time": 3000.0, "playback_ticks": _TICK, "game_info": game})
    return varint(_FILE_INFO) + varint(_TICK) + varint(len(info)) + info


def _filler(rng: random.Random, size: int) -> bytes:
    return rng.randbytes(size).translate(_ALPHABET)
