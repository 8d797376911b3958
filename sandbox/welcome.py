"""The body of the GC's Welcome: an account's items, some ten to sixty kilobytes, seeded."""

from __future__ import annotations

import functools
import random
import time

from sandbox import gc_messages

_ITEM_TYPE = 1  # CSOEconItem in the shared object cache
_LEAST, _MOST = 300, 1500  # items; about 35 bytes each


@functools.lru_cache(maxsize=512)
def body(account_id: int, seed: int) -> bytes:
    """Return an encoded CMsgClientWelcome."""
    rng = random.Random(f"welcome {seed} {account_id}")
    items = [_item(rng, account_id, n) for n in range(rng.randint(_LEAST, _MOST))]
    cache = {
        "objects": [{"type_id": _ITEM_TYPE, "object_data": items}],
        "version": rng.getrandbits(63),
        "owner_soid": {"type": 1, "id": account_id},
    }
    dota = {
        "store_item_hash": rng.getrandbits(32),
        "last_time_played": int(time.time()) - 86400,
        "currency": 3,
        "gc_socache_file_version": 32,
        "active_event_for_display": 54,  # newer than the packaged schema
    }
    values = {
        "version": 6400,
        "game_data": gc_messages.DOTA_WELCOME.encode(dota),
        "outofdate_subscribed_caches": [cache],
        "gc_socache_file_version": 32,
        "txn_country_code": "DE",
        "rtime32_gc_welcome_timestamp": int(time.time()),
    }
    return gc_messages.WELCOME.encode(values)


def _item(rng: random.Random, account_id: int, slot: int) -> bytes:
    number = rng.randrange(10**9, 3 * 10**10)
    values = {
        "id": number,
        "account_id": account_id,
        "inventory": slot + 1,
        "def_index": rng.randrange(1, 30_000),
        "quantity": 1,
        "level": 1,
        "quality": rng.randrange(1, 20),
        "flags": 0,
        "origin": rng.randrange(0, 30),
        "original_id": number,
    }
    return gc_messages.ITEM.encode(values)
