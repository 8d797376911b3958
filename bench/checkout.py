"""Duration of a checkout when most accounts are not free.

    python -m bench.checkout [--accounts 10000] [--rounds 300]

One account is free, the last one by name; the others are checked out or cooling down (as spent accounts
are). Their number must not matter. The slowest checkout is the first, which scans all accounts.
"""

from __future__ import annotations

import argparse
import asyncio
import time

from redis.asyncio import Redis

from actors.accounts.models import QuotaLimits
from actors.accounts.store import AccountStore
from actors.redis.client import connect
from bench.report import percentile, print_machine, print_table
from bench.valkey import own_valkey

FAR_MS = 9e15
FREE = "zzz"


async def fill(redis: Redis, prefix: str, kind: str, count: int) -> None:
    """Add `count` accounts of one kind, and a free one."""
    names = [f"a{number:06}" for number in range(count)]
    score = 1 if kind == "checked out" else 0
    for at in range(0, count, 1000):
        part = names[at : at + 1000]
        await redis.zadd(f"{prefix}:checkouts", dict.fromkeys(part, score))
        await redis.hset(f"{prefix}:passwords", mapping=dict.fromkeys(part, "pw"))
        if kind == "cooling down":
            await redis.zadd(f"{prefix}:cooldowns", dict.fromkeys(part, FAR_MS))
    await redis.zadd(f"{prefix}:checkouts", {FREE: 0})
    await redis.hset(f"{prefix}:passwords", FREE, "pw")


async def measure(redis: Redis, kind: str, count: int, rounds: int) -> list[float]:
    """Return the seconds that each of `rounds` checkouts took, sorted."""
    prefix = f"{kind.replace(' ', '-')}-{count}"
    await fill(redis, prefix, kind, count)
    store = AccountStore(redis, prefix=prefix, quota=QuotaLimits(), lease_s=60)
    took = []
    for _ in range(rounds):
        begun = time.perf_counter()
        lease = await store.acquire("bench")
        took.append(time.perf_counter() - begun)
        if lease.account != FREE:
            raise RuntimeError(f"{lease.account} was not free")
        await store.release(lease)
    return sorted(took)


async def run(url: str, accounts: int, rounds: int) -> list[list[str]]:
    """Return one printed row for each kind and number of accounts in front."""
    redis = connect(url)
    rows = []
    for kind in ("checked out", "cooling down"):
        for count in (10, accounts):
            took = await measure(redis, kind, count, rounds)
            figures = (f"{percentile(took, p) * 1e3:.2f}" for p in (50, 95, 99, 100))
            rows.append([f"{count} {kind}", *figures])
    await redis.aclose()
    return rows


def main() -> None:
    """Print one row per kind and number."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--accounts", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=300)
    options = parser.parse_args()
    print_machine()
    with own_valkey() as valkey:
        url = f"redis://127.0.0.1:{valkey.port}/0"
        rows = asyncio.run(run(url, options.accounts, options.rounds))
    head = ["in front of the free one", "p50 ms", "p95 ms", "p99 ms", "slowest ms"]
    print_table(head, rows, caption=f"{options.rounds} checkouts each")


if __name__ == "__main__":
    main()
