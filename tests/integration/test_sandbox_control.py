"""The control API: refused requests, waiting for events, scenarios."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from support.sandbox_client import logged_on, steamid_of
from support.sandbox_connection import Connecting, read_frame
from support.sandbox_program import ACCOUNTS

from bench.sandbox_process import SandboxError, SandboxProcess

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess(ACCOUNTS) as running:
        yield running


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/faults", {"no_such": 1}),
        ("POST", "/drop", {}),
        ("POST", "/drop", {"all": True, "mode": "gently"}),
        ("POST", "/push", {"all": True, "what": "?"}),
        ("POST", "/corrupt", {"all": True, "flaw": "?"}),
        ("POST", "/tokens/revoke", {"account": "unknown"}),
        ("POST", "/matches/blocked", {"add": ["x"]}),
        ("POST", "/quota", {"account": "many"}),
        ("POST", "/scenario", {"steps": [{"explode": {}}]}),
        ("POST", "/drop", [1]),
        ("GET", "/journal/wait", None),
    ],
)
async def test_an_invalid_request_is_refused_with_a_reason(
    sandbox: SandboxProcess, method: str, path: str, body: Any
) -> None:
    with pytest.raises(SandboxError, match=r"400 .*error"):
        await sandbox.call(method, path, body)


async def test_kinds_that_do_not_exist_are_refused(sandbox: SandboxProcess) -> None:
    with pytest.raises(SandboxError, match="no such kind"):
        await sandbox.journal("birthday")


async def test_waiting_for_a_missing_event_times_out(sandbox: SandboxProcess) -> None:
    with pytest.raises(TimeoutError, match="0 of 1 play_kicked"):
        await sandbox.wait_journal("play_kicked", within_s=0.05)


async def test_a_scenario_does_its_steps_in_order(sandbox: SandboxProcess) -> None:
    async with Connecting(sandbox, "websockets") as client:
        await logged_on(client, ACCOUNTS[0])
        since = await sandbox.last_event()
        steps = [
            {"faults": {"gc_down": True}},
            {"after_s": 0.05, "drop": {"all": True}, "clear": {}},
        ]
        await sandbox.call("POST", "/scenario", {"steps": steps})
        await client.wait_closed()
        await sandbox.wait_journal("scenario_ended", since=since, outcome="finished")
    events = await sandbox.journal("faults_changed,connections_dropped", since=since)
    assert [one["kind"] for one in events] == [
        "faults_changed",
        "connections_dropped",
        "faults_changed",
    ]
    assert (await sandbox.call("GET", "/faults"))["faults"] == {}


async def test_on_tuesday_all_servers_stop_and_return(sandbox: SandboxProcess) -> None:
    async with Connecting(sandbox, "netfilter") as client:
        token = await logged_on(client, ACCOUNTS[0])
        since = await sandbox.last_event()
        durations = {"gc_first_s": 0.05, "down_s": 0.3, "return_s": 0.2}
        await sandbox.call("POST", "/scenario", {"name": "tuesday", **durations})
        await client.wait_closed()
        with pytest.raises(ConnectionRefusedError):
            async with Connecting(sandbox, "netfilter"):
                pass
        await sandbox.wait_journal("scenario_ended", since=since, outcome="finished")
    async with Connecting(sandbox, "netfilter") as client:
        assert (await client.log_on(token, steamid_of(token))).eresult == 1
        await client.launch()


async def test_a_silent_tcp_cm_keeps_its_clients_waiting(sandbox: SandboxProcess) -> None:
    await sandbox.faults(accept_and_silence={"cms": ["tcp2"]})
    host, port = sandbox.endpoints["netfilter"][1].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await read_frame(reader)
    writer.close()
    await sandbox.clear_faults()
