"""Scenario files with a seed, and delayed CMs."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.sandbox_client import logged_on
from support.sandbox_connection import Connecting

from bench.sandbox_process import DEMO_ACCOUNTS, SandboxProcess

pytestmark = pytest.mark.integration

SCENARIO = """
[[at]]
s = 1.5
drop = { fraction = 0.5 }

[[at]]
s = 1.6
faults = { gc_silent = true }
"""


async def dropped(scenario: Path, seed: int) -> list[int]:
    """Return which of six connections a run of the scenario drops."""
    options = ("--scenario", str(scenario), "--seed", str(seed))
    with SandboxProcess(DEMO_ACCOUNTS, options) as sandbox:
        host, port = sandbox.endpoints["netfilter"][0].split(":")
        streams = [await asyncio.open_connection(host, int(port)) for _ in range(6)]
        await sandbox.wait_journal("scenario_ended", outcome="finished")
        assert "gc_silent" in (await sandbox.call("GET", "/faults"))["faults"]
        alive = {one["connection"] for one in await sandbox.sessions() if one["stage"] == "silent"}
        for _, writer in streams:
            writer.close()
        return sorted(set(range(1, 7)) - alive)


async def test_a_scenario_drops_the_same_connections_for_the_same_seed(tmp_path: Path) -> None:
    scenario = tmp_path / "t.toml"
    scenario.write_text(SCENARIO)
    first, again = await dropped(scenario, 1), await dropped(scenario, 1)
    assert len(first) == 3
    assert first == again
    assert first != await dropped(scenario, 3)


def test_an_invalid_scenario_is_one_line(tmp_path: Path) -> None:
    scenario = tmp_path / "t.toml"
    scenario.write_text("[[at]]\ns = 1\nexplode = {}\n")
    accounts = Path(__file__).parents[2] / "sandbox" / "demo_accounts.json"
    command = [sys.executable, "-m", "sandbox", "--accounts", str(accounts)]
    said = subprocess.run(
        [*command, "--scenario", str(scenario)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert said.returncode == 2
    assert said.stderr == "sandbox: no such action: explode\n"


async def test_a_slow_cm_sends_everything_later_and_in_order() -> None:
    with SandboxProcess(DEMO_ACCOUNTS) as sandbox:
        async with Connecting(sandbox, "websockets") as client:
            await logged_on(client, DEMO_ACCOUNTS[0])
            await client.launch()
            await sandbox.faults(slow_ms=200)
            begun = time.monotonic()
            answers = [await client.match(match_id) for match_id in (5_000_000, 5_000_001)]
            assert time.monotonic() - begun >= 0.4
            assert [one.match.match_id for one in answers] == [5_000_000, 5_000_001]
