"""Acquires everything that can fail at startup (socket, data directory, keys) before any child starts.

A part of tree.py; imports `actors` too.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.accounts.embedded import EmbeddedValkey
from actors.accounts.sealing import Sealer
from actors.http.access import AdminToken
from actors.http.addresses import is_loopback
from supervisor.admin_desk import admin_token
from supervisor.instance import own_instance
from supervisor.listener import listen
from supervisor.network import Network, steam_network
from supervisor.secret_key import SecretKey, take_secret_key
from supervisor.settings import Settings

BACK_UP: Final = (
    "it seals what the private Valkey stores: back it up, and not beside the data alone"
)
EXPOSED: Final = (
    "other users may read it, and its mode cannot be changed: chmod -R go= as its owner"
)


@dataclass(frozen=True, slots=True)
class Ground:
    """The resources that the process acquired at startup."""

    network: Network
    listener: socket.socket
    valkey: EmbeddedValkey | None
    sealer: Sealer
    secret_key: SecretKey
    instance: str  # who we are, unique in the world
    admin_token: AdminToken | None
    is_exposed: bool  # others than this machine reach the API

    @property
    def address(self) -> str:
        """The address that the API listens on, without the port."""
        return str(self.listener.getsockname()[0])


@contextlib.asynccontextmanager
async def taken(settings: Settings, *, log: FilteringBoundLogger) -> AsyncIterator[Ground]:
    """Yield the ground; leave nothing behind.

    Raises:
        ConfigError, EmbeddedValkeyError: an address, a directory, a key or a file cannot be used.
    """
    with contextlib.ExitStack() as stack:
        listener = listen(settings.http.host, settings.http.port)
        stack.callback(listener.close)
        is_exposed = not is_loopback(listener.getsockname()[0])
        token = admin_token(settings, log=log)
        valkey = _own_valkey(settings, stack, log=log)
        key = take_secret_key(os.environ, settings.own_key_file)
        sealer = key.sealer()
        if key.is_new:
            log.info("sealing_key_made", file=str(key.own_file), reason=BACK_UP)
        instance = stack.enter_context(own_instance(settings.redis.data_dir, log=log))
        async with steam_network(settings) as network:
            yield Ground(network, listener, valkey, sealer, key, instance.id, token, is_exposed)


def _own_valkey(
    settings: Settings, stack: contextlib.ExitStack, *, log: FilteringBoundLogger
) -> EmbeddedValkey | None:
    if not settings.redis.is_embedded:
        return None
    valkey = EmbeddedValkey(settings.redis.data_dir)
    valkey.claim()
    stack.callback(valkey.disclaim)
    if valkey.is_exposed:
        log.warning("data_exposed", file=str(valkey.data_dir), reason=EXPOSED)
    return valkey
