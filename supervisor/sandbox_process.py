"""The simulated Steam network as a process of its own, for `botapi run --sandbox`.

It gets its own session, so that the Ctrl-C meant for us does not take the network away before the
bots have logged off, and ends by itself should we be killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from supervisor.settings_errors import ConfigError

START_S: Final = 30.0  # it makes keys on its first start
STOP_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class SandboxFacts:
    """Where the simulated network is and what it is trusted by."""

    directory_url: str
    control_url: str
    ca_file: Path
    universe_key_file: Path
    replay_url: str


@contextlib.asynccontextmanager
async def sandbox_process(accounts_file: Path, state_dir: Path) -> AsyncIterator[SandboxFacts]:
    """Run the sandbox while the block runs.

    Raises:
        ConfigError: it did not come up; its own words are on stderr.
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
