"""All stored secrets at once: whether our keys open them, and sealing those that are stored plain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from redis.asyncio import Redis

from actors.accounts.names import folded, is_text
from actors.accounts.sealing import MARK, Sealer
from actors.errors import CannotUnseal
from actors.redis_client import Script, asking

SCAN: Final = 1000  # fields of a hash at once


async def closed_values(redis: Redis, hashes: Mapping[str, str], sealer: Sealer) -> int:
    """Return how many stored values are sealed when no key of ours opens any; 0 when one opens.

    Args:
        redis: where they are.
        hashes: kind of secret -> the key of the hash that holds it by account.
        sealer: with our keys.

    Raises:
        StoreUnavailable, StoreMisused: see `redis_client`.
    """
    closed = 0
    with asking(redis, "closed_values"):
        for kind, key in hashes.items():
            async for account, value in redis.hscan_iter(key, count=SCAN):
                if not value.startswith(MARK):
                    continue
                try:
                    sealer.open(kind, account, value)
                except CannotUnseal:
                    closed += 1
                else:
                    return 0
    return closed


async def seal_plain_values(redis: Redis, hashes: Mapping[str, str], sealer: Sealer) -> int:
    """Seal every value that is stored plain and drop it from the log on disk; return how many.

    A value that changes meanwhile stays as it was changed. Arguments and errors as `closed_values`.
    """
    if not sealer.is_sealing:
        return 0
    script, sealed = Script(__package__, "replace_field"), 0
    for kind, key in hashes.items():
        for account, value in await _plain_values(redis, key):
            box = sealer.seal(kind, account, value)
            sealed += await script.run(redis, [key], [account, value, box])
    if sealed:
        with asking(redis, "seal_plain_values"):
            await redis.bgrewriteaof()  # the append-only file still has the plain values
    return sealed


async def _plain_values(redis: Redis, key: str) -> list[tuple[str, str]]:
    """Return account and value of each that can be sealed: of an account's name, and a text."""
    found: list[tuple[Any, Any]] = []
    with asking(redis, "seal_plain_values"):
        async for account, value in redis.hscan_iter(key, count=SCAN):
            found.append((account, value))
    return [
        (account, value)
        for account, value in found
        if value and not value.startswith(MARK) and is_text(value) and folded(account) is not None
    ]
