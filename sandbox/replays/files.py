"""Generates replay files.

A file has the header of a Source 2 replay, the match's name, filler, and the file info with the match id,
all compressed. Compressing new filler for every match would take seconds. So a file is a sequence of
streams (bzip2) or frames (zstd), as parallel compressors write them: the first and the last are of the
match, the others are from a pool, in an order that depends on the match.
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

from sandbox.protocol.wire import MessageType, field, varint

MAGIC: Final = b"PBDEMS2\0"
_PART: Final = 200_000  # bytes of one compressed stream, approximately
_POOL: Final = 6
_CACHED: Final = 3  # files of up to about 60 MB each
# 64 symbols in 8 bits each: filler compresses to about three quarters, as a real replay does.
_ALPHABET: Final = (string.ascii_letters + string.digits + "+/").encode() * 4
_SWELL: Final = 4 / 3
_PLAIN_PART: Final = int(_PART * _SWELL)

# demo.proto: the last message of a replay, after its kind, tick and size.
_FILE_INFO: Final = 2
_TICK: Final = 90_000
_INFO: Final = MessageType(
    "CDemoFileInfo",
    field(1, "playback_time", "float"),
    field(2, "playback_ticks", "int32"),
    field(
        4,
        "game_info",
        MessageType(
            "CGameInfo",
            field(4, "dota", MessageType("CDotaGameInfo", field(1, "match_id", "uint64"))),
        ),
    ),
)
COMPRESSIONS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "bzip2": lambda plain: bz2.compress(plain, 1),
    "zstd": lambda plain: zstd.compress(plain, 1),
}


@dataclass(frozen=True, slots=True)
class FileName:
    """Identity of a file: `kind` is `dem` or `meta`; each `version` has other bytes.

    Attributes:
        compression: a key of `COMPRESSIONS`; not part of the name, as at Valve.
        content_of: the match id in the content; 0 for none.
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
    """Generates files in a thread, so that compressing does not delay the sessions' heartbeats."""

    def __init__(self, seed: int, size: int) -> None:
        """`size`: average bytes of a replay; each match's own differs by up to a quarter."""
        self._seed = seed
        self._size = size
        self._pools: dict[str, list[bytes]] = {}
        self._cache: OrderedDict[FileName, bytes] = OrderedDict()
        self._lock = asyncio.Lock()

    async def read(self, name: FileName) -> bytes:
        """Return the file's bytes."""
        async with self._lock:
            if name not in self._cache:
                self._cache[name] = await asyncio.to_thread(self._generate, name)
                if len(self._cache) > _CACHED:
                    self._cache.popitem(last=False)
            return self._cache[name]

    def _generate(self, name: FileName) -> bytes:
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
