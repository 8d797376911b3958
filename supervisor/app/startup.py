"""Acquires everything that can fail at startup (socket, data directory, keys) before any child starts.

The lock on the instance file makes its id unique: a predecessor with the same id has ended, and its
leases may be taken back at once. A process without the lock (a second one on the same directory, a
read-only directory) has a new id.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.accounts.encryption import Encryption
from actors.http.auth.admin import AdminToken
from actors.redis.embedded import EmbeddedValkey
from supervisor.app.network import Network, steam_network
from supervisor.app.private_files import keep_private
from supervisor.app.secrets import SecretKey, admin_token, take_secret_key
from supervisor.config.errors import ConfigError
from supervisor.config.model import Settings

FILE: Final = "instance"


@dataclass(frozen=True, slots=True)
class Instance:
    """The identity of this process. `is_lasting`: a restart on the same directory has the same id."""

    id: str
    is_lasting: bool


@contextlib.contextmanager
def own_instance(data_dir: Path, *, log: FilteringBoundLogger) -> Iterator[Instance]:
    """Yield the instance; its lock is held as long as the block."""
    with contextlib.ExitStack() as stack:
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context((data_dir / FILE).open("a+b", buffering=0))
            keep_private(data_dir / FILE)  # other users could lock it
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.seek(0)
            known = file.read().decode(errors="replace").strip()
            if not known:
                known = _new_id()
                write_whole(file, f"{known}\n")
        except OSError as error:
            log.warning(
                "instance_unnamed",
                reason=f"{data_dir}: {error.strerror}; after a crash our accounts are free only when "
                "their leases lapse",
            )
            yield Instance(_new_id(), is_lasting=False)
            return
        yield Instance(known, is_lasting=True)


def write_whole(file: FileIO, text: str) -> None:
    """Replace the content of a file, on disk; a failed write leaves the file empty.

    Raises:
        OSError: e.g. the disk is full.
    """
    data, written = text.encode(), 0
    file.seek(0)
    file.truncate()
    try:
        written = file.write(data)
        os.fsync(file.fileno())
    finally:
        if written < len(data):
            with contextlib.suppress(OSError):
                file.truncate(0)
    if written < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _new_id() -> str:
    """Return a unique id, also for two containers with the same host name and process id."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


def listen(host: str, port: int) -> socket.socket:
    """Return a bound socket that does not listen yet.

    Raises:
        ConfigError: the address is in use, of another machine, or invalid.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return _bound(socket.socket(family, kind), address)
    except OSError as error:
        raise ConfigError(
            "",
            f"cannot listen on {host} port {port}: {error.strerror}; choose another http.port (or PORT)",
        ) from error


def _bound(listener: socket.socket, address: object) -> socket.socket:
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)  # type: ignore[arg-type] # whatever getaddrinfo has for this family
    except OSError:
        listener.close()
        raise
    return listener


BACK_UP: Final = (
    "it seals what the private Valkey stores: back it up, and not beside the data alone"
)
EXPOSED: Final = (
    "other users may read it, and its mode cannot be changed: chmod -R go= as its owner"
)


@dataclass(frozen=True, slots=True)
class StartupResources:
    """The resources that the process acquired at startup."""

    network: Network
    listener: socket.socket
    valkey: EmbeddedValkey | None
    encryption: Encryption
    secret_key: SecretKey
    instance: str  # the id of this instance
    admin_token: AdminToken | None

    @property
    def address(self) -> str:
        """The address that the API listens on, without the port."""
        return str(self.listener.getsockname()[0])


@contextlib.asynccontextmanager
async def startup_resources(
    settings: Settings, *, log: FilteringBoundLogger
) -> AsyncIterator[StartupResources]:
    """Yield the resources, and release them at the end.

    Raises:
        ConfigError, EmbeddedValkeyError: an address, a directory, a key or a file cannot be used.
    """
    with contextlib.ExitStack() as stack:
        listener = listen(settings.http.host, settings.http.port)
        stack.callback(listener.close)
        token = admin_token(settings, log=log)
        valkey = _own_valkey(settings, stack, log=log)
        key = take_secret_key(os.environ, settings.own_key_file)
        encryption = key.encryption()
        if key.is_new:
            log.info("sealing_key_made", file=str(key.own_file), reason=BACK_UP)
        instance = stack.enter_context(own_instance(settings.redis.data_dir, log=log))
        async with steam_network(settings) as network:
            yield StartupResources(network, listener, valkey, encryption, key, instance.id, token)


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
