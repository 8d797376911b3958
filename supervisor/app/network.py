"""The Steam network of a run: live Steam, a named network, or a private sandbox process.

The sandbox has its own session, so that Ctrl-C does not end it before the bots have logged off. It ends
by itself if the service is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import orjson
from structlog.typing import FilteringBoundLogger

import sandbox as sandbox_package
from actors.clock import Clock
from actors.steam.directory import CmDirectory
from actors.steam.hub import Hub
from actors.steam.link import SteamNetwork
from actors.steam.port import TransportKind
from actors.steam.steam_time import SteamTime
from actors.steam.transport.base import Trust
from supervisor.app.private_files import keep_private
from supervisor.config.errors import ConfigError
from supervisor.config.model import Settings

START_S: Final = 30.0  # it makes keys on its first start
STOP_S: Final = 5.0
TRANSPORTS: Final = {"websocket": TransportKind.WEBSOCKET, "tcp": TransportKind.TCP}


@dataclass(frozen=True, slots=True)
class SandboxFacts:
    """Addresses and trust files of the sandbox."""

    directory_url: str
    control_url: str
    ca_file: Path
    universe_key_file: Path
    replay_url: str


@contextlib.asynccontextmanager
async def sandbox_process(accounts_file: Path, state_dir: Path) -> AsyncIterator[SandboxFacts]:
    """Run the sandbox while the block runs.

    Raises:
        ConfigError: it did not start; its message is on stderr.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sandbox",
        "--accounts",
        str(accounts_file),
        "--state",
        str(state_dir),
        "--exit-with-parent",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield await _facts(process)
    finally:
        await _end(process)


async def _facts(process: asyncio.subprocess.Process) -> SandboxFacts:
    assert process.stdout is not None  # noqa: S101 - PIPE above
    async with asyncio.timeout(START_S):
        line = await process.stdout.readline()
    if not line:
        raise ConfigError("sandbox", "the simulated network did not start; see its message above")
    facts = json.loads(line)
    return SandboxFacts(
        directory_url=facts["directory_url"],
        control_url=facts["control_url"],
        ca_file=Path(facts["ca_file"]),
        universe_key_file=Path(facts["universe_key_file"]),
        replay_url=facts["replay_url"],
    )


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


DEMO_ACCOUNTS: Final = Path(sandbox_package.__file__).with_name("demo_accounts.json")


@dataclass(frozen=True, slots=True)
class Network:
    """A Steam network and its trust files; None: those of live Steam."""

    directory_url: str
    ca_file: Path | None
    universe_key_file: Path | None
    replay_mirror: str | None  # server of its replays, if not Valve's
    demo_accounts: tuple[tuple[str, str, str | None], ...] = field(default=(), repr=False)


def connector_of(
    network: Network, hub: Hub, *, time: SteamTime, log: FilteringBoundLogger
) -> SteamNetwork:
    """Return the component that opens connections to Steam.

    Raises:
        TrustError: a file with certificates or keys cannot be used.
    """
    trust = Trust.load(network.ca_file, network.universe_key_file)
    return SteamNetwork(hub, trust, clock=time, rng=random.Random(), log=log)


def directory_of(
    network: Network, transport: str, *, clock: Clock, time: SteamTime, log: FilteringBoundLogger
) -> CmDirectory:
    """Return the list of Steam's servers. `transport`: as the settings have it."""
    return CmDirectory(
        network.directory_url,
        TRANSPORTS[transport],
        clock=clock,
        rng=random.Random(),
        log=log,
        time=time,
    )


@contextlib.asynccontextmanager
async def steam_network(settings: Settings) -> AsyncIterator[Network]:
    """Yield the network to use; a private sandbox runs as long as the block.

    Raises:
        ConfigError: the sandbox did not start.
    """
    named = settings.steam.effective_directory_url
    if named is not None:
        steam = settings.steam
        yield Network(named, steam.ca_file, steam.universe_key_file, steam.replay_mirror)
        return
    state_dir = settings.redis.data_dir / "sandbox"
    state_dir.mkdir(parents=True, exist_ok=True)
    keep_private(state_dir)
    async with sandbox_process(DEMO_ACCOUNTS, state_dir) as facts:
        yield Network(
            facts.directory_url,
            facts.ca_file,
            facts.universe_key_file,
            facts.replay_url,
            demo_accounts(),
        )


def demo_accounts() -> tuple[tuple[str, str, str | None], ...]:
    """Return name, password and shared secret of the sandbox's accounts."""
    return tuple(
        (row["name"], row["password"], row.get("shared_secret"))
        for row in orjson.loads(DEMO_ACCOUNTS.read_bytes())
    )
