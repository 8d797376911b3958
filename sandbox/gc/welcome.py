"""Body of the GC's welcome."""

from __future__ import annotations

import functools
import random

from sandbox.gc import messages as gc_messages

_ITEM_TYPE = 1  # CSOEconItem in the shared object cache
_LEAST, _MOST = 310, 9000  # items; about 33 bytes each
_RARITY = 3  # exponent: most accounts own few items


def encode_welcome(account_id: int, seed: int, now: float) -> bytes:
    """Return an encoded CMsgClientWelcome; `now` in UTC seconds."""
    dota = {
        "store_item_hash": random.Random(seed).getrandbits(32),
        "last_time_played": int(now) - 86400,
        "currency": 3,
        "gc_socache_file_version": 32,
        "active_event_for_display": 54,  # newer than the schema of the dota2 package
    }
    values = {
        "version": 6400,
        "game_data": gc_messages.DOTA_WELCOME.encode(dota),
        "gc_socache_file_version": 32,
        "txn_country_code": "DE",
        "rtime32_gc_welcome_timestamp": int(now),
    }
    return gc_messages.WELCOME.encode(values) + _caches(account_id, seed)


@functools.lru_cache(maxsize=512)
def _caches(account_id: int, seed: int) -> bytes:
    """Return the welcome's field of shared objects; protobuf allows fields in any order."""
    rng = random.Random(f"welcome {seed} {account_id}")
    count = round(_LEAST * (_MOST / _LEAST) ** (rng.random() ** _RARITY))
    items = [_item(rng, account_id, n) for n in range(count)]
    cache = {
        "objects": [{"type_id": _ITEM_TYPE, "object_data": items}],
        "version": rng.getrandbits(63),
        "owner_soid": {"type": 1, "id": account_id},
    }
    return gc_messages.WELCOME.encode({"outofdate_subscribed_caches": [cache]})


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
