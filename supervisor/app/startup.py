"""Acquires everything that can fail at startup (socket, data directory, keys, the Steam network).

The lock on the instance file makes its id unique: a predecessor with the same id has ended, and its
leases may be taken back at once. A process without the lock (a second one on the same directory, a
read-only directory) has a new id.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import json
import os
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Final

import orjson
from structlog.typing import FilteringBoundLogger

import sandbox as sandbox_package
from actors.accounts.encryption import Encryption
from actors.accounts.store import AccountStore
from actors.errors import StoreMisused, StoreUnavailable
from actors.http.auth.admin import AdminToken
from actors.redis.embedded import EmbeddedValkey, EmbeddedValkeyError, keep_private
from supervisor.app.secrets import SecretKey, admin_token, take_secret_key
from supervisor.config.errors import ConfigError
from supervisor.config.model import Settings

BACK_UP: Final = (
    "it seals what the private Valkey stores: back it up, and not beside the data alone"
)
EXPOSED: Final = (
    "other users may read it, and its mode cannot be changed: chmod -R go= as its owner"
)


@dataclass(frozen=True, slots=True)
class Network:
    """A Steam network and its trust files; None: those of live Steam."""

    directory_url: str
    ca_file: Path | None
    universe_key_file: Path | None
    replay_mirror: str | None  # server of its replays, if not Valve's
    # Name, password and shared secret of each account of a private sandbox.
    demo_accounts: tuple[tuple[str, str, str | None], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class StartupResources:
    """The resources that the process acquired at startup."""

    network: Network
    listener: socket.socket  # bound
    valkey: EmbeddedValkey | None
    secret_key: SecretKey
    encryption: Encryption
    instance: str  # the id of this instance
    admin_token: AdminToken | None

    async def check_key(self, accounts: AccountStore) -> None:
        """Refuse a key that opens no encrypted value in Redis, before a bot uses it.

        An unreachable Redis does not prevent the start; bots then fail one by one, and each leaves its
        account unchanged. The private Valkey is started for this, and continues as a child of the tree;
        its plain values are encrypted, as no instance without the key shares them.

        Raises:
            ConfigError: Redis has encrypted values, and the key opens none.
        """
        try:
            if self.valkey is not None:
                await self.valkey.start()
            closed = await accounts.undecryptable_values()
            if self.valkey is not None and not closed:
                await accounts.encrypt_plain_values()
        except (EmbeddedValkeyError, StoreUnavailable, StoreMisused):
            return
        if closed:
            raise self.secret_key.opens_none_of(closed)


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
        valkey = None
        if settings.redis.is_embedded:
            valkey = EmbeddedValkey(settings.redis.data_dir)
            valkey.claim()
            stack.callback(valkey.disclaim)
            if valkey.is_exposed:
                log.warning("data_exposed", file=str(valkey.data_dir), reason=EXPOSED)
        key = take_secret_key(os.environ, settings.own_key_file)
        encryption = key.encryption()
        if key.is_new:
            log.info("sealing_key_made", file=str(key.own_file), reason=BACK_UP)
        instance = stack.enter_context(own_instance(settings.redis.data_dir, log=log))
        async with steam_network(settings) as network:
            yield StartupResources(network, listener, valkey, key, encryption, instance, token)


def listen(host: str, port: int) -> socket.socket:
    """Return a bound socket that does not listen yet.

    Raises:
        ConfigError: the address is in use, of another machine, or invalid.
    """
    with contextlib.ExitStack() as on_error:
        try:
            family, kind, _, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listener = on_error.enter_context(socket.socket(family, kind))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError as error:
            problem = f"cannot listen on {host} port {port}: {error.strerror}"
            raise ConfigError("", f"{problem}; choose another http.port (or PORT)") from error
        on_error.pop_all()
    return listener


@contextlib.contextmanager
def own_instance(data_dir: Path, *, log: FilteringBoundLogger) -> Iterator[str]:
    """Yield the id of this process; the lock of its file is held as long as the block."""
    with contextlib.ExitStack() as stack:
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            path = data_dir / "instance"
            file = stack.enter_context(path.open("a+b", buffering=0))
            keep_private(path)  # other users could lock it
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
            known = _new_id()
        yield known


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


# -- the Steam network -----------------------------------------------------------------------------

SANDBOX_START_S: Final = 30.0  # it makes keys on its first start
SANDBOX_STOP_S: Final = 5.0
DEMO_ACCOUNTS: Final = Path(sandbox_package.__file__).with_name("demo_accounts.json")


@contextlib.asynccontextmanager
async def steam_network(settings: Settings) -> AsyncIterator[Network]:
    """Yield live Steam, the network of the settings, or a private sandbox, which ends with the block.

    Raises:
        ConfigError: the sandbox did not start; its message is on stderr.
    """
    steam, named = settings.steam, settings.steam.effective_directory_url
    if named is not None:
        yield Network(named, steam.ca_file, steam.universe_key_file, steam.replay_mirror)
        return
    state_dir = settings.redis.data_dir / "sandbox"
    state_dir.mkdir(parents=True, exist_ok=True)
    keep_private(state_dir)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "sandbox", "--accounts", DEMO_ACCOUNTS, "--state", state_dir, "--exit-with-parent"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C must not end it before the bots have logged off
    )
    try:
        yield await _sandbox_network(process)
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(SANDBOX_STOP_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


async def _sandbox_network(process: asyncio.subprocess.Process) -> Network:
    assert process.stdout is not None  # noqa: S101 - a pipe
    async with asyncio.timeout(SANDBOX_START_S):
        line = await process.stdout.readline()
    if not line:
        raise ConfigError("sandbox", "the simulated network did not start; see its message above")
    facts = json.loads(line)
    return Network(
        facts["directory_url"],
        Path(facts["ca_file"]),
        Path(facts["universe_key_file"]),
        facts["replay_url"],
        tuple(
            (row["name"], row["password"], row.get("shared_secret"))
            for row in orjson.loads(DEMO_ACCOUNTS.read_bytes())
        ),
    )
