"""Dropped, half-open and corrupted connections."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import aiohttp
import pytest
from steam.protobufs import steammessages_clientserver_login_pb2 as login_pb
from support.sandbox_client import Closed, Corrupted, logged_on
from support.sandbox_connection import Connecting

from bench.sandbox_process import SandboxProcess

pytestmark = pytest.mark.integration

ACCOUNTS = [{"name": f"bot{n}", "password": f"p{n}"} for n in range(6)]
HEARTBEAT_S = 0.3
TRANSPORTS = ("websockets", "netfilter")
each_transport = pytest.mark.parametrize("transport", TRANSPORTS)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    """A sandbox with the default heartbeat."""
    with SandboxProcess(ACCOUNTS) as running:
        yield running


@pytest.fixture(scope="module")
def hasty() -> Iterator[SandboxProcess]:
    """A sandbox with a short heartbeat."""
    with SandboxProcess(ACCOUNTS, ("--heartbeat", str(HEARTBEAT_S))) as running:
        yield running


@each_transport
@pytest.mark.parametrize("mode", ["close", "reset", "mid_message"])
async def test_dropped_connections_end_with_their_sessions(
    sandbox: SandboxProcess, transport: str, mode: str
) -> None:
    async with Connecting(sandbox, transport) as client:
        await logged_on(client, ACCOUNTS[0])
        since = await sandbox.last_event()
        assert await sandbox.drop(mode, accounts=["bot0"]) == 1
        await client.wait_closed()
    [event] = await sandbox.wait_journal("session_ended", since=since)
    assert event["reason"] == f"dropped_{mode}"


@each_transport
async def test_a_half_open_connection_ends_after_missed_heartbeats(
    hasty: SandboxProcess, transport: str
) -> None:
    async with Connecting(hasty, transport) as client:
        await logged_on(client, ACCOUNTS[1])
        await client.wait_for(766)
        since = await hasty.last_event()
        await hasty.drop("half_open", accounts=["bot1"])
        await client.send(703, login_pb.CMsgClientHeartBeat(send_reply=True))
        [event] = await hasty.wait_journal("session_ended", since=since, account="bot1")
        assert event["reason"] == "heartbeat_lost"
        with pytest.raises(TimeoutError):
            await client.receive(0.2)
        assert await hasty.journal("connection_closed", since=since) == []
    await hasty.wait_journal("connection_closed", since=since)


async def test_websocket_pings_are_answered_until_half_open(sandbox: SandboxProcess) -> None:
    url = f"wss://{sandbox.endpoints['websockets'][0]}/cmsocket/"
    since = await sandbox.last_event()
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(url, ssl=False, autoping=False) as socket,
    ):
        await socket.ping(b"are you there")
        pong = await socket.receive(timeout=5)
        assert (pong.type, bytes(pong.data)) == (aiohttp.WSMsgType.PONG, b"are you there")
        [opened] = await sandbox.wait_journal("connection_opened", since=since)
        await sandbox.drop("half_open", cms=[opened["cm"]])
        await socket.ping(b"and now")
        with pytest.raises(TimeoutError):
            await socket.receive(timeout=0.2)
        await sandbox.drop("reset", cms=[opened["cm"]])
        await sandbox.wait_journal("connection_closed", since=since)


async def test_a_fraction_can_be_dropped(sandbox: SandboxProcess) -> None:
    async with (
        Connecting(sandbox, "websockets", sandbox.endpoints["websockets"][1]) as one,
        Connecting(sandbox, "websockets", sandbox.endpoints["websockets"][1]) as two,
    ):
        await one.hello()
        await two.hello()
        assert await sandbox.drop("reset", cms=["ws2"], fraction=0.5) == 1
        ended = [asyncio.create_task(client.wait_closed()) for client in (one, two)]
        done, pending = await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
        assert (len(done), len(pending)) == (1, 1)
        await sandbox.drop("close", cms=["ws2"])
        await asyncio.wait(pending)


@each_transport
@pytest.mark.parametrize(
    ("flaw", "seen"),
    [
        ("magic", Closed),
        ("hmac", Closed),
        ("length", Closed),
        ("gzip", Corrupted),
        ("unzipped_size", Corrupted),
        ("inner_length", Corrupted),
        ("header", Corrupted),
    ],
)
async def test_corrupted_bytes_reach_the_client(
    sandbox: SandboxProcess, transport: str, flaw: str, seen: type[Exception]
) -> None:
    async with Connecting(sandbox, transport) as client:
        await logged_on(client, ACCOUNTS[0])
        await client.wait_for(766)
        await sandbox.call("POST", "/corrupt", {"flaw": flaw, "accounts": ["bot0"]})
        with pytest.raises(seen):
            await client.receive()


async def test_server_unavailable_can_be_pushed(sandbox: SandboxProcess) -> None:
    async with Connecting(sandbox, "websockets") as client:
        await logged_on(client, ACCOUNTS[0])
        await sandbox.call("POST", "/push", {"what": "server_unavailable", "all": True})
        got = await client.wait_for(5500)
        assert got.header is None
        assert len(got.body) == 16
