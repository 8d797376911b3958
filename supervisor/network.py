"""Which Steam network the bots log on to: the live one, one that was named, or a sandbox of our own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import orjson

import sandbox as sandbox_package
from supervisor.private_file import keep_private
from supervisor.sandbox_process import sandbox_process
from supervisor.settings import Settings

DEMO_ACCOUNTS: Final = Path(sandbox_package.__file__).with_name("demo_accounts.json")


@dataclass(frozen=True, slots=True)
class Network:
    """A Steam network and what it is trusted by; None trusts what live Steam is trusted by."""

    directory_url: str
    ca_file: Path | None
    universe_key_file: Path | None
    replay_mirror: str | None  # where its replays are, if not on Valve's servers
    demo_accounts: tuple[tuple[str, str, str | None], ...] = field(default=(), repr=False)


@contextlib.asynccontextmanager
async def steam_network(settings: Settings) -> AsyncIterator[Network]:
    """Yield the network to use; a sandbox of our own lives as long as the block.

    Raises:
        ConfigError: the sandbox did not come up.
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
    """Return name, password and shared secret of the accounts the sandbox is started with."""
    return tuple(
        (row["name"], row["password"], row.get("shared_secret"))
        for row in orjson.loads(DEMO_ACCOUNTS.read_bytes())
    )
