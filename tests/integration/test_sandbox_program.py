"""The program: invalid input, shutdown, stored state, the directory, the control API, CM faults."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from support.sandbox_client import Connecting, logged_on, read_frame, steamid_of

from bench.sandbox_process import ROOT, SandboxError, SandboxProcess

pytestmark = pytest.mark.integration

ACCOUNTS = [{"name": "bot0", "password": "p0"}, {"name": "bot1", "password": "p1"}]
CONNECT_LIST = "/ISteamDirectory/GetCMListForConnect/v1/"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess(ACCOUNTS) as running:
        yield running


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sandbox", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


async def get(url: str, **query: str) -> Any:
    async with aiohttp.ClientSession() as http, http.get(url, params=query) as response:
        assert response.status == 200
        return json.loads(await response.text())


# --- the process ------------------------------------------------------------------------------
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


# --- the directory ----------------------------------------------------------------------------
async def test_the_list_for_connect_is_sorted_and_has_duplicates_and_other_realms(
    sandbox: SandboxProcess,
) -> None:
    response = (await get(sandbox.directory_url + CONNECT_LIST))["response"]
    rows = response["serverlist"]
    assert response["success"] is True
    assert {row["type"] for row in rows} == {"websockets", "netfilter"}
    assert {row["realm"] for row in rows} == {"steamglobal", "steamchina"}
    assert [row["wtd_load"] for row in rows] == sorted(row["wtd_load"] for row in rows)
    assert len({row["endpoint"] for row in rows}) < len(rows)
    assert len({row["dc"] for row in rows}) > 2
    real = {row["endpoint"] for row in rows if row["realm"] == "steamglobal"}
    assert real == {*sandbox.endpoints["websockets"], *sandbox.endpoints["netfilter"]}
    foreign = next(row for row in rows if row["realm"] == "steamchina")
    host, port = foreign["endpoint"].split(":")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, int(port))


async def test_the_list_honours_its_parameters(sandbox: SandboxProcess) -> None:
    url = sandbox.directory_url + "/ISteamDirectory/GetCMListForConnect/v0001"
    asked = {"cmtype": "websockets", "realm": "steamglobal", "maxcount": "3", "cellid": "0"}
    rows = (await get(url, **asked))["response"]["serverlist"]
    assert len(rows) == 3
    assert {(row["type"], row["realm"]) for row in rows} == {("websockets", "steamglobal")}


VDF_WORD = re.compile(r'"([^"\\]*)"|([{}])')


def read_vdf(text: str) -> dict[str, Any]:
    """Read KeyValues text: a word and a word, or a word and an object in braces."""
    words = iter(VDF_WORD.findall(text))

    def read_object() -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, brace in words:
            if brace:
                break
            value, opening = next(words)
            found[key] = read_object() if opening else value
        return found

    return read_object()


async def test_the_lists_are_vdf_on_request(sandbox: SandboxProcess) -> None:
    """node-steam-user and OpenDota's retriever request this form."""
    url = sandbox.directory_url + CONNECT_LIST
    expected = (await get(url, cmtype="websockets"))["response"]
    async with (
        aiohttp.ClientSession() as http,
        http.get(url, params={"cmtype": "websockets", "format": "vdf"}) as answer,
    ):
        response = read_vdf(await answer.text())["response"]
    rows = [response["serverlist"][str(n)] for n in range(len(expected["serverlist"]))]
    assert rows == [
        {key: str(value) for key, value in row.items()} for row in expected["serverlist"]
    ]
    assert (response["success"], response["message"]) == ("1", "")


async def test_the_old_list_still_works(sandbox: SandboxProcess) -> None:
    url = sandbox.directory_url + "/ISteamDirectory/GetCMList/v1/"
    response = (await get(url, cellid="0"))["response"]
    assert response["result"] == 1
    assert set(response["serverlist"]) == set(sandbox.endpoints["netfilter"])
    assert set(response["serverlist_websockets"]) == set(sandbox.endpoints["websockets"])


async def test_the_directory_has_every_fault(sandbox: SandboxProcess) -> None:
    url = sandbox.directory_url + CONNECT_LIST
    seen = {}
    for fault in ("500", "403", "invalid_json", "empty", "success_false"):
        await sandbox.faults(directory_status={"value": fault, "times": 1})
        async with aiohttp.ClientSession() as http, http.get(url) as response:
            seen[fault] = (response.status, await response.text())
    assert seen["500"][0] == 500
    assert seen["403"][0] == 403
    with pytest.raises(json.JSONDecodeError):
        json.loads(seen["invalid_json"][1])
    assert json.loads(seen["empty"][1])["response"]["serverlist"] == []
    assert json.loads(seen["success_false"][1])["response"]["success"] is False
    assert (await get(url))["response"]["serverlist"]  # each is counted once


# --- faults at connect ------------------------------------------------------------------------
async def test_a_cm_can_stop_listening_and_listen_again_on_its_port(
    sandbox: SandboxProcess,
) -> None:
    for transport, cm in (("websockets", "ws1"), ("netfilter", "tcp1")):
        await sandbox.faults(refuse_connect={"cms": [cm]})
        with pytest.raises((ConnectionRefusedError, aiohttp.ClientConnectorError)):
            async with Connecting(sandbox, transport):
                pass
        async with Connecting(sandbox, transport, sandbox.endpoints[transport][1]):
            pass
        await sandbox.clear_faults()
        async with Connecting(sandbox, transport) as client:
            await client.hello()


async def test_a_refusal_with_a_duration_ends(sandbox: SandboxProcess) -> None:
    await sandbox.faults(refuse_connect={"for_s": 0.3})
    for transport in ("websockets", "netfilter"):
        with pytest.raises((ConnectionRefusedError, aiohttp.ClientConnectorError)):
            async with Connecting(sandbox, transport):
                pass
    async with asyncio.timeout(5):
        for transport in ("websockets", "netfilter"):
            await connected(sandbox, transport)
    assert (await sandbox.call("GET", "/faults"))["faults"] == {}


async def connected(sandbox: SandboxProcess, transport: str) -> None:
    """Retry until a connection is established."""
    while True:
        try:
            async with Connecting(sandbox, transport) as client:
                await client.hello()
                return
        except (ConnectionRefusedError, aiohttp.ClientConnectorError):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("transport", ["websockets", "netfilter"])
async def test_a_cm_can_accept_and_stay_silent(sandbox: SandboxProcess, transport: str) -> None:
    await sandbox.faults(accept_and_silence=True)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5), Connecting(sandbox, transport):
            pass
    await sandbox.clear_faults()


@pytest.mark.parametrize("transport", ["websockets", "netfilter"])
async def test_a_cm_can_close_within_the_handshake(sandbox: SandboxProcess, transport: str) -> None:
    await sandbox.faults(close_handshake=True)
    with pytest.raises((aiohttp.ClientError, asyncio.IncompleteReadError)):
        async with Connecting(sandbox, transport):
            pass
    await sandbox.clear_faults()
    async with Connecting(sandbox, transport) as client:
        await client.hello()


async def test_a_cm_can_use_an_untrusted_certificate(sandbox: SandboxProcess) -> None:
    await sandbox.faults(tls_untrusted=True)
    with pytest.raises((aiohttp.ClientConnectorCertificateError, ssl.SSLError)):
        async with Connecting(sandbox, "websockets"):
            pass
    await sandbox.clear_faults()
    async with Connecting(sandbox, "websockets") as client:
        await client.hello()


async def test_logons_fail_as_often_as_configured(sandbox: SandboxProcess) -> None:
    async with Connecting(sandbox, "websockets") as client:
        token = await logged_on(client, ACCOUNTS[0])
    await sandbox.faults(logon_eresult={"value": 126, "times": 2, "accounts": ["bot0"]})
    results = []
    for _ in range(3):
        async with Connecting(sandbox, "websockets") as client:
            await client.hello()
            results.append((await client.log_on(token, steamid_of(token))).eresult)
    assert results == [126, 126, 1]
    await sandbox.faults(logon_struct={"value": 20, "times": 1})
    async with Connecting(sandbox, "websockets") as client:
        await client.hello()
        assert await client.log_on(token, steamid_of(token)) is None
    await sandbox.faults(logon_never_answered={"times": 1})
    async with Connecting(sandbox, "websockets") as client:
        await client.hello()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await client.log_on(token, steamid_of(token))


# --- the control API --------------------------------------------------------------------------
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
