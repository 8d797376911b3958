"""`botapi run --sandbox`: private Valkey, simulated Steam, demo accounts, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from support.command import botapi

from actors.redis.embedded import EmbeddedValkey
from bench.service_process import ServiceProcess

pytestmark = pytest.mark.integration

DEMO = {"abaddon", "bane", "chen", "dazzle", "enigma"}


@pytest.fixture
def service() -> Iterator[ServiceProcess]:
    with ServiceProcess({}, args=("--sandbox",)) as one:
        yield one


def data(service: ServiceProcess) -> Path:
    return service.config_file.with_name("data")


def journal(service: ServiceProcess) -> list[dict[str, Any]]:
    """The journal of the simulated Steam for the last run."""
    lines = (data(service) / "sandbox" / "journal.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


async def scores(service: ServiceProcess) -> dict[str, float]:
    """Return the checkouts in the data that the private Valkey has left on disk."""
    valkey = EmbeddedValkey(data(service))
    await valkey.start()
    with redis.Redis(unix_socket_path=valkey.url.removeprefix("unix://")) as client:
        found = dict(client.zrange("botapi:checkouts", 0, -1, withscores=True))
    valkey.stop()
    await valkey.run()
    valkey.disclaim()
    return {name.decode(): score for name, score in found.items()}


async def test_it_answers_and_ctrl_c_leaves_everything_free(service: ServiceProcess) -> None:
    service.wait_ready(len(DEMO))
    status, body = service.get("/match-details?match_id=7490235544")
    assert status == 200
    assert json.loads(body)["replay_url"] == (
        "http://replay153.valve.net/570/7490235544_447089001.dem.bz2"
    )
    children = psutil.Process(service.process.pid).children(recursive=True)
    os.killpg(service.process.pid, signal.SIGINT)  # as a terminal does: to the whole group
    assert service.process.wait(20) == 0
    assert not [child for child in children if child.is_running()]
    ends = [one for one in journal(service) if one["kind"] == "session_ended"]
    assert {one["account"] for one in ends} == DEMO
    assert all(one["clean"] for one in ends)
    assert await scores(service) == dict.fromkeys(DEMO, 0)


def test_a_replay_can_be_downloaded_from_the_simulated_servers(
    service: ServiceProcess, tmp_path: Path
) -> None:
    service.wait_ready(1)
    said = botapi(
        *("replay", "7490235544", "-o", "x.dem.bz2"),
        cwd=tmp_path,
        env={"BOTAPI_URL": service.url},
    )
    assert (said.code, said.err) == (0, "")
    assert (tmp_path / "x.dem.bz2").read_bytes().startswith(b"BZh")


def test_a_second_start_needs_no_password(service: ServiceProcess) -> None:
    service.wait_ready(len(DEMO))
    assert service.stop() == 0
    service.start()
    service.wait_ready(len(DEMO))
    assert service.stop() == 0
    kinds = [one["kind"] for one in journal(service)]
    assert kinds.count("token_logon") == len(DEMO)
    assert "credential_logon" not in kinds


def test_killed_without_a_word_it_leaves_no_process_behind(service: ServiceProcess) -> None:
    service.wait_ready(len(DEMO))
    children = psutil.Process(service.process.pid).children(recursive=True)
    assert len(children) == 2
    service.kill()
    _, left = psutil.wait_procs(children, timeout=10)
    assert not left
    service.start()  # on the same data
    assert service.get("/healthz")[0] == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_in_the_first_moment_is_a_clean_one(number: signal.Signals, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[http]\nport = 0\n[redis]\ndata_dir = "{tmp_path}/data"\n')
    process = subprocess.Popen(
        [sys.executable, "-m", "supervisor", "run", "--sandbox", "--config", str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            if "service_starting" in line:
                process.send_signal(number)
                break
        rest = process.stdout.read()
    assert process.returncode == 0, rest
    assert "Traceback" not in rest
