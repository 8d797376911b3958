"""The program: invalid input, shutdown and stored state."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.sandbox_client import logged_on, steamid_of
from support.sandbox_connection import Connecting
from support.sandbox_program import ACCOUNTS, run

from bench.sandbox_process import ROOT, SandboxProcess

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess(ACCOUNTS) as running:
        yield running


@pytest.mark.parametrize("content", [None, "{", "[]", '[{"name": "a"}]'])
def test_bad_accounts_are_one_line_and_exit_code_2(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "accounts.json"
    if content is not None:
        file.write_text(content)
    ended = run("--accounts", str(file))
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert "accounts.json" in ended.stderr


def test_a_port_in_use_is_one_line_and_exit_code_2(sandbox: SandboxProcess, tmp_path: Path) -> None:
    file = tmp_path / "accounts.json"
    file.write_text(json.dumps(ACCOUNTS))
    ended = run("--accounts", str(file), "--port", sandbox.directory_url.rsplit(":", 1)[1])
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "in use" in ended.stderr


async def test_it_stops_with_open_connections_and_leaves_no_files() -> None:
    sandbox = SandboxProcess(ACCOUNTS).start()
    folder = sandbox.ca_file.parent
    async with (
        Connecting(sandbox, "websockets") as one,
        Connecting(sandbox, "netfilter") as other,
    ):
        await logged_on(one, ACCOUNTS[0])
        await logged_on(other, ACCOUNTS[1])
        await sandbox.drop("half_open", accounts=["bot0"])
        waiting = asyncio.create_task(sandbox.wait_journal("play_kicked", within_s=60))
        await asyncio.sleep(0)
        errors = await asyncio.to_thread(sandbox.errors)
        code = await asyncio.to_thread(sandbox.stop)
        await asyncio.wait([waiting])
        assert waiting.exception() is not None
        await other.wait_closed()
    assert (code, errors) == (0, "")
    assert not folder.exists()


def test_it_stops_with_its_parent() -> None:
    program = (
        "import subprocess, sys;"
        "child = subprocess.Popen([sys.executable, '-m', 'sandbox', '--exit-with-parent',"
        " '--accounts', 'sandbox/demo_accounts.json'], stdout=subprocess.PIPE);"
        "print(child.stdout.readline().decode(), flush=True)"
    )
    parent = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, timeout=20, check=True
    )
    pid = json.loads(parent.stdout)["pid"]
    try:
        psutil.Process(pid).wait(timeout=5)
    except psutil.NoSuchProcess:
        return


def test_an_interrupt_stops_it_cleanly(tmp_path: Path) -> None:
    file = tmp_path / "accounts.json"
    file.write_text(json.dumps(ACCOUNTS))
    with subprocess.Popen(
        [sys.executable, "-m", "sandbox", "--accounts", str(file)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        json.loads(process.stdout.readline())
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(5) == 0
        assert process.stdout.read() == b""


async def test_tokens_revocations_and_keys_survive_a_restart(tmp_path: Path) -> None:
    with SandboxProcess(ACCOUNTS, state=tmp_path) as first:
        ca = first.ca_file.read_bytes()
        async with Connecting(first, "websockets") as client:
            kept = await logged_on(client, ACCOUNTS[0])
        async with Connecting(first, "websockets") as client:
            revoked = await logged_on(client, ACCOUNTS[1])
        await first.revoke("bot1")
    with SandboxProcess(ACCOUNTS, state=tmp_path) as second:
        assert second.ca_file.read_bytes() == ca
        for transport in ("websockets", "netfilter"):
            async with Connecting(second, transport) as client:
                assert (await client.log_on(kept, steamid_of(kept))).eresult == 1
        async with Connecting(second, "websockets") as client:
            await client.hello()
            assert (await client.log_on(revoked, steamid_of(revoked))).eresult == 15
    with SandboxProcess(ACCOUNTS) as stranger:
        async with Connecting(stranger, "websockets") as client:
            await client.hello()
            assert (await client.log_on(kept, steamid_of(kept))).eresult == 5


async def test_stored_matches_are_served(tmp_path: Path) -> None:
    answer = {"result": 1, "match": {"match_id": "42", "cluster": 417, "replay_salt": 99}}
    (tmp_path / "42.json").write_text(json.dumps(answer))
    with SandboxProcess(ACCOUNTS, matches=tmp_path) as sandbox:
        async with Connecting(sandbox, "websockets") as client:
            await logged_on(client, ACCOUNTS[0])
            await client.launch()
            match = (await client.match(42)).match
    assert (match.match_id, match.cluster, match.replay_salt) == (42, 417, 99)
    assert len(match.players) == 0
