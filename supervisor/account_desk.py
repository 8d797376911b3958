"""The store opened for one command, and closed after it; sees both halves, as the commands do.

It is the Redis of the settings; with the private Valkey the running service's, or one started meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from redis.asyncio import Redis

from actors.accounts.admin import AccountAdmin
from actors.accounts.embedded import EmbeddedValkey
from actors.accounts.pacing import LogOnPacing
from actors.accounts.sealing import Sealer
from actors.accounts.store import Accounts
from actors.errors import ServiceError, StoreUnavailable
from actors.redis_client import connect, ping
from supervisor.cli_options import Exit, fail
from supervisor.policies import log_on_limits, quota_limits
from supervisor.private_file import only_ours_from_now_on
from supervisor.secret_key import take_secret_key
from supervisor.settings import Settings, load
from supervisor.terminal import say

T = TypeVar("T")


class Desk:
    """What the commands work with: the store and the operator's view of it."""

    def __init__(self, redis: Redis, settings: Settings, sealer: Sealer) -> None:
        quota = quota_limits(settings)
        prefix, lease_s = settings.redis.prefix, settings.bots.lease_seconds
        self.settings = settings
        self.store = Accounts(redis, prefix=prefix, quota=quota, lease_s=lease_s, sealer=sealer)
        self.admin = AccountAdmin(redis, prefix=prefix, quota=quota)
        self.pacing = LogOnPacing(redis, prefix=prefix, limits=log_on_limits(settings))


def at_the_desk(
    config: Path | None,
    work: Callable[[Desk], Awaitable[T]],
    *,
    as_json: bool = False,
    seals: bool = False,
) -> T:
    """Open the store, do `work`, close it; what goes wrong is one line and exit code 1.

    Args:
        config: the settings' file.
        work: what to do.
        as_json: say what goes wrong to programs.
        seals: whether `work` reads or writes secrets, which a key that opens none of them must not.

    Raises:
        ConfigError: the settings or the key cannot be used.
    """
    loaded = load(config)
    settings = loaded.settings
    for note in loaded.notes():
        say(f"botapi: {note}", err=True)
    if settings.redis.is_embedded:
        only_ours_from_now_on()
    key = take_secret_key(os.environ, settings.own_key_file, may_make=seals)
    sealer = key.sealer()

    async def run() -> T:
        async with _redis(settings) as redis:
            desk = Desk(redis, settings, sealer)
            if seals and (closed := await desk.store.closed_values()):
                raise key.opens_none_of(closed)
            return await work(desk)

    try:
        return asyncio.run(run())
    except ServiceError as error:
        raise fail(Exit.FAILED, str(error), as_json=as_json, word="refused") from None


@contextlib.asynccontextmanager
async def _redis(settings: Settings) -> AsyncIterator[Redis]:
    """Yield the Redis of the settings; it starts the embedded Valkey if that is not running."""
    if not settings.redis.is_embedded:
        async with contextlib.aclosing(connect(settings.redis.url.get_secret_value())) as redis:
            yield redis
        return
    valkey = EmbeddedValkey(settings.redis.data_dir)
    async with contextlib.aclosing(connect(valkey.url)) as redis:
        try:
            await ping(redis)
        except StoreUnavailable:
            async with _running(valkey):
                yield redis
        else:
            yield redis


@contextlib.asynccontextmanager
async def _running(valkey: EmbeddedValkey) -> AsyncIterator[None]:
    await valkey.start()
    running = asyncio.create_task(valkey.run())
    try:
        yield
    finally:
        valkey.stop()
        await running
        valkey.disclaim()
