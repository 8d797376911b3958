"""The bytes of replay files: made from nothing but the match, the same for the same match.

A file is a real bz2 of the Source 2 magic, the match's name and filler. Compressing the filler anew for
every match would cost seconds, so it is a row of bz2 streams, as parallel packers write them: the first
belongs to the match, the others come from a pool in an order of the match's own.
"""

from __future__ import annotations

import asyncio
import bz2
import random
import string
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

MAGIC: Final = b"PBDEMS2\0"
_PART: Final = 200_000  # bytes of one packed stream, about
_POOL: Final = 6
_CACHED: Final = 3  # files of up to some 60 MB each
# Six bits of eight: filler of these shrinks to about three quarters, as a replay roughly does.
_ALPHABET: Final = (string.ascii_letters + string.digits + "+/").encode() * 4
_SWELL: Final = 4 / 3


@dataclass(frozen=True, slots=True)
class FileName:
    """Which file: `kind` is `dem` or `meta`; another `version` has other bytes."""

    match_id: int
    salt: int
    kind: str
    version: int = 0

    def __str__(self) -> str:
        return f"{self.match_id}_{self.salt}.{self.kind}.bz2"


class ReplayFiles:
    """Makes files on a thread, because packing would keep everybody's heartbeats waiting."""

    def __init__(self, seed: int, size: int) -> None:
        """`size`: bytes of an ordinary replay; each match's own is within a quarter of it."""
        self._seed = seed
        self._size = size
        self._pool: list[bytes] = []
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
        if name.kind == "meta":
            return bz2.compress(str(name).encode() + _filler(rng, 40_000))
        size = self._size * rng.uniform(0.75, 1.25)
        head = MAGIC + bytes(8) + str(name).encode()
        parts = [bz2.compress(head + _filler(rng, int(min(size, _PART) * _SWELL)), 1)]
        if size > _PART:
            self._pool = self._pool or self._make_pool()
            parts += rng.choices(self._pool, k=round(size / _PART) - 1)
        return b"".join(parts)

    def _make_pool(self) -> list[bytes]:
        rng = random.Random(f"pool {self._seed}")
        return [bz2.compress(_filler(rng, int(_PART * _SWELL)), 1) for _ in range(_POOL)]


def _filler(rng: random.Random, size: int) -> bytes:
    return rng.randbytes(size).translate(_ALPHABET)
