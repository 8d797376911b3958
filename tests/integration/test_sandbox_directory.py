"""The CM directory, and faults while connecting to a CM."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from support.sandbox_client import logged_on, steamid_of
from support.sandbox_connection import Connecting
from support.sandbox_program import ACCOUNTS, get

from bench.sandbox_process import SandboxProcess

pytestmark = pytest.mark.integration

CONNECT_LIST = "/ISteamDirectory/GetCMListForConnect/v1/"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess(ACCOUNTS) as running:
        yield running


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
