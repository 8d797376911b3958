"""Violations of the protocol, and connections without a log-on, which the sandbox closes."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Callable, Iterator

import aiohttp
import pytest
from steam.protobufs import steammessages_clientserver_login_pb2 as login_pb
from support.sandbox_client import SandboxClient, logged_on
from support.sandbox_connection import Connecting, handshake, read_frame

from bench.sandbox_process import SandboxProcess

pytestmark = pytest.mark.integration

ACCOUNTS = [{"name": f"bot{n}", "password": f"p{n}"} for n in range(6)]
TRANSPORTS = ("websockets", "netfilter")
each_transport = pytest.mark.parametrize("transport", TRANSPORTS)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    """A sandbox with the default heartbeat."""
    with SandboxProcess(ACCOUNTS) as running:
        yield running


def eresult_of(body: bytes) -> int:
    return int(login_pb.CMsgClientLoggedOff.FromString(body).eresult)


async def call_before_hello(client: SandboxClient) -> None:
    await client.send(9804, jobid_source=1, target_job_name="Authentication.Poll#1")


async def call_before_logon(client: SandboxClient) -> None:
    await client.hello()
    await client.send(151, jobid_source=1, target_job_name="Authentication.Poll#1")


async def wrong_session_id(client: SandboxClient) -> None:
    await logged_on(client, ACCOUNTS[5])
    await client.send(5410, client_sessionid=client.session_id + 1)


async def wrong_steamid(client: SandboxClient) -> None:
    await logged_on(client, ACCOUNTS[5])
    await client.send(703, steamid=client.steamid + 1)


async def broken_header(client: SandboxClient) -> None:
    await client.send_bytes(struct.pack("<II", 9805 | 0x80000000, 500) + b"short")


async def broken_body(client: SandboxClient) -> None:
    await client.send(9805, b"\x08")


VIOLATIONS = (
    call_before_hello,
    call_before_logon,
    wrong_session_id,
    wrong_steamid,
    broken_header,
    broken_body,
)


@each_transport
@pytest.mark.parametrize("violate", VIOLATIONS)
async def test_a_protocol_violation_closes_the_connection(
    sandbox: SandboxProcess, transport: str, violate: Callable[[SandboxClient], object]
) -> None:
    since = await sandbox.last_event()
    async with Connecting(sandbox, transport) as client:
        await violate(client)  # type: ignore[misc]  # a coroutine function
        await client.wait_closed()
    await sandbox.wait_journal("protocol_violation", since=since)
    assert await sandbox.journal("sandbox_error") == []


def one_byte_more(response: bytes) -> bytes:
    return response + b"\0"


def wrong_crc(response: bytes) -> bytes:
    return response[:-8] + b"\0\0\0\0" + response[-4:]


def another_blob(response: bytes) -> bytes:
    import zlib  # noqa: PLC0415 - used once

    blob = bytes(128)
    return response[:28] + blob + struct.pack("<II", zlib.crc32(blob), 0)


@pytest.mark.parametrize("break_it", [one_byte_more, wrong_crc, another_blob])
async def test_a_wrong_handshake_is_closed(
    sandbox: SandboxProcess, break_it: Callable[[bytes], bytes]
) -> None:
    since = await sandbox.last_event()
    host, port = sandbox.endpoints["netfilter"][0].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    with pytest.raises(asyncio.IncompleteReadError):
        await handshake(reader, writer, sandbox, alter=break_it)
    writer.close()
    [event] = await sandbox.wait_journal("protocol_violation", since=since)
    assert event["reason"].startswith("channel")


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<I", 40) + b"VT02" + bytes(40),
        struct.pack("<I", 1 << 31) + b"VT01",
        struct.pack("<I", 48) + b"VT01" + bytes(48),
    ],
    ids=["magic", "length", "hmac"],
)
async def test_a_broken_frame_is_closed(sandbox: SandboxProcess, data: bytes) -> None:
    async with Connecting(sandbox, "netfilter") as client:
        await client.hello()
        assert client.raw_writer is not None
        client.raw_writer.write(data)
        await client.wait_closed()


async def test_plain_messages_before_encryption_are_refused(sandbox: SandboxProcess) -> None:
    host, port = sandbox.endpoints["netfilter"][0].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    await read_frame(reader)
    hello = struct.pack("<II", 9805 | 0x80000000, 0)
    writer.write(struct.pack("<I", len(hello)) + b"VT01" + hello)
    with pytest.raises(asyncio.IncompleteReadError):
        await read_frame(reader)
    writer.close()


async def test_a_text_frame_is_closed_and_other_paths_are_not_there(
    sandbox: SandboxProcess,
) -> None:
    async with Connecting(sandbox, "websockets") as client:
        assert client.raw_socket is not None
        await client.raw_socket.send_str("hello")
        await client.wait_closed()
    port = sandbox.endpoints["websockets"][0].split(":")[1]
    async with aiohttp.ClientSession() as http:
        for path, status in (("/cmsocket", 404), ("/", 404)):
            url = f"https://127.0.0.1:{port}{path}"
            async with http.get(url, ssl=False) as response:
                assert response.status == status
        async with http.get(f"https://127.0.0.1:{port}/cmping/", ssl=False) as response:
            assert response.status == 200
            assert int(response.headers["X-Steam-CMLoad"]) >= 0
            assert await response.read() == b""


@pytest.mark.parametrize("greets", [True, False])
async def test_a_connection_without_a_log_on_is_logged_off(
    sandbox: SandboxProcess, *, greets: bool
) -> None:
    await sandbox.faults(logon_wait_s=0.3)
    async with Connecting(sandbox, "netfilter") as client:
        if greets:
            await client.hello()
        off = await client.wait_for(757)
        if greets:
            assert eresult_of(off.body) == 2
        else:
            assert off.header is None
            assert struct.unpack("<iii", off.body)[0] == 2
        await client.wait_closed()
    await sandbox.clear_faults()


async def test_a_connection_that_sends_is_not_logged_off(sandbox: SandboxProcess) -> None:
    """Section 3.1: a connection that neither logs on nor sends is closed."""
    await sandbox.faults(logon_wait_s=0.6)
    async with Connecting(sandbox, "websockets") as client:
        begun = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() - begun < 1.5:
            await client.hello()
            with contextlib.suppress(TimeoutError):  # nothing arrives, so this waits
                await client.receive(within_s=0.2)
        assert 757 not in client.log
        assert eresult_of((await client.wait_for(757)).body) == 2
    await sandbox.clear_faults()
