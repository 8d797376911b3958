"""Counts the resources of a process before and after a test, to detect leaks."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from dataclasses import asdict, dataclass

from gevent import Greenlet
from redis.asyncio import Redis

from actors.bot.bot import Bot
from actors.steam.connection import Connection
from actors.steam.link import SteamLink

SETTLE_S = 3.0  # time for the last greenlets and sockets to end


@dataclass(frozen=True)
class Resources:
    """Numbers of resources."""

    tasks: int
    greenlets: int
    descriptors: int  # without those of the Redis connection pool
    threads: int
    bots: int
    links: int
    connections: int  # to Steam


def count_resources(redis: Redis) -> Resources:
    gc.collect()
    objects = gc.get_objects()
    greenlets = [one for one in objects if isinstance(one, Greenlet)]
    threads = [one for one in threading.enumerate() if not one.name.startswith("asyncio_")]
    return Resources(
        tasks=len(asyncio.all_tasks()),
        greenlets=sum(not one.dead for one in greenlets),
        descriptors=_descriptors() - _pooled(redis),
        threads=len(threads),
        bots=sum(isinstance(one, Bot) for one in objects),
        links=sum(isinstance(one, SteamLink) for one in objects),
        connections=sum(isinstance(one, Connection) for one in objects),
    )


async def assert_no_leaks(before: Resources, redis: Redis) -> None:
    """Raise AssertionError if there are more resources than `before`.

    Fewer are accepted: some may have been about to end when `before` was counted.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + SETTLE_S
    while (more := _more(count_resources(redis), before)) and loop.time() < deadline:  # noqa: ASYNC110 - there is no event
        await asyncio.sleep(0.02)
    assert not more, f"left behind: {more}"


def _more(now: Resources, before: Resources) -> dict[str, int]:
    counts = {what: count - getattr(before, what) for what, count in asdict(now).items()}
    return {what: count for what, count in counts.items() if count > 0}


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - only the count, including descriptors that were just closed


def _pooled(redis: Redis) -> int:
    pool = redis.connection_pool
    every = [*pool._available_connections, *pool._in_use_connections]
    return sum(bool(one.is_connected) for one in every)
