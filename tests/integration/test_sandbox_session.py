"""Sessions: messages after the log-on, heartbeats, replaced sessions, kicks, violations, drops."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
from collections.abc import Callable, Iterator

import aiohttp
import pytest
from steam.protobufs import steammessages_clientserver_2_pb2 as server2_pb
from steam.protobufs import steammessages_clientserver_login_pb2 as login_pb
from steam.protobufs import steammessages_clientserver_pb2 as server_pb
from support.sandbox_client import (
    Closed,
    Connecting,
    Corrupted,
    SandboxClient,
    handshake,
    logged_on,
    read_frame,
    steamid_of,
)

from bench.sandbox_process import SandboxProcess

pytestmark = pytest.mark.integration

ACCOUNTS = [{"name": f"bot{n}", "password": f"p{n}"} for n in range(6)]
ACCOUNTS.append({"name": "poor", "password": "p", "no_license": True})  # type: ignore[dict-item]  # a flag
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


def eresult_of(body: bytes) -> int:
    return int(login_pb.CMsgClientLoggedOff.FromString(body).eresult)


@each_transport
async def test_the_logon_answer_is_sent_among_unknown_messages(
    sandbox: SandboxProcess, transport: str
) -> None:
    async with Connecting(sandbox, transport) as client:
        await logged_on(client, ACCOUNTS[0])
        state = await client.playing_state()
        assert (state.playing_blocked, state.playing_app) == (False, 0)
        await client.wait_for(766)
    log = client.log
    answer = log.index(751)
    assert log.index(5501) < answer
    for unknown in (9808, 65000):
        assert log.index(unknown) < answer
        assert unknown in log[answer:]
    assert {768, 5456, 767, 5553, 5587, 780, 798, 5528, 779, 146} <= set(log[answer:])
    assert {850, 5430, 5480, 782} <= set(log[answer:])
    assert log.count(798) == log.count(782) == 1  # the two in struct form


async def test_the_answer_has_the_accounts_id_and_address(sandbox: SandboxProcess) -> None:
    async with Connecting(sandbox, "websockets") as client:
        await client.hello()
        token = await client.token("bot1", "p1")
        answer = await client.log_on(token, steamid_of(token))
        assert answer.heartbeat_seconds == 9
        assert answer.public_ip.v4 == 0x7F000001
        assert answer.client_supplied_steamid == client.steamid == steamid_of(token)
        assert client.session_id != 0


@each_transport
async def test_a_heartbeat_with_send_reply_is_answered(
    sandbox: SandboxProcess, transport: str
) -> None:
    async with Connecting(sandbox, transport) as client:
        await logged_on(client, ACCOUNTS[0])
        await client.send(703, login_pb.CMsgClientHeartBeat(send_reply=True))
        await client.wait_for(703)


@each_transport
async def test_missed_heartbeats_end_the_session(hasty: SandboxProcess, transport: str) -> None:
    async with Connecting(hasty, transport) as client:
        await logged_on(client, ACCOUNTS[0])
        since = await hasty.last_event()
        for _ in range(8):  # heartbeats keep it open for more than three intervals
            await client.send(703, login_pb.CMsgClientHeartBeat(send_reply=True))
            await client.wait_for(703)
            await asyncio.sleep(HEARTBEAT_S / 2)
        assert await hasty.journal("session_ended", since=since) == []
        silent_since = time.monotonic()
        await client.wait_closed()
    assert 2 * HEARTBEAT_S < time.monotonic() - silent_since < 6 * HEARTBEAT_S
    [event] = await hasty.wait_journal("session_ended", since=since, account="bot0")
    assert (event["reason"], event["clean"]) == ("heartbeat_lost", False)


async def test_a_log_off_is_clean_and_the_connection_closes(sandbox: SandboxProcess) -> None:
    told = 0
    for _ in range(6):
        async with Connecting(sandbox, "websockets") as client:
            await logged_on(client, ACCOUNTS[1])
            since = await sandbox.last_event()
            await client.send(706)
            rest = await client.wait_closed()
            told += any(one.emsg == 757 and eresult_of(one.body) == 1 for one in rest)
        [event] = await sandbox.wait_journal("session_ended", since=since)
        assert (event["reason"], event["clean"]) == ("log_off", True)
    assert told > 0


@each_transport
async def test_a_log_on_with_the_same_ids_replaces_a_session(
    sandbox: SandboxProcess, transport: str
) -> None:
    async with Connecting(sandbox, transport) as older, Connecting(sandbox, transport) as newer:
        await logged_on(older, ACCOUNTS[2], logon_id=7)
        await logged_on(newer, ACCOUNTS[2], logon_id=7)
        off = await older.wait_for(757)
        assert eresult_of(off.body) == 34
        await older.wait_closed()
        await newer.send(703, login_pb.CMsgClientHeartBeat(send_reply=True))
        await newer.wait_for(703)
    summary = await sandbox.summary()
    assert summary["max_concurrent"]["bot2"] == 1


async def test_of_two_sessions_the_first_plays_until_it_is_kicked(sandbox: SandboxProcess) -> None:
    async with (
        Connecting(sandbox, "websockets") as first,
        Connecting(sandbox, "netfilter") as second,
    ):
        await logged_on(first, ACCOUNTS[3], logon_id=1)
        await first.launch()
        await logged_on(second, ACCOUNTS[3], logon_id=2)
        assert (await second.playing_state()).playing_blocked  # in the messages after the log-on
        await second.play(570)
        state = await second.playing_state()
        assert (state.playing_blocked, state.playing_app) == (True, 570)
        await second.send_gc(4006)
        [hello] = await sandbox.wait_journal("gc_hello", account="bot3", outcome="not_playing")
        assert hello["session"] == second.session_id
        await second.send(9601, server2_pb.CMsgClientKickPlayingSession(only_stop_game=False))
        assert eresult_of((await first.wait_for(757)).body) == 6
        assert not (await second.playing_state()).playing_blocked
        await second.play(570)
        await second.send_gc(4006)
        await second.receive_gc(4004)
    assert (await sandbox.summary())["max_concurrent"]["bot3"] == 2


async def test_a_session_that_ends_unblocks_the_other(sandbox: SandboxProcess) -> None:
    async with Connecting(sandbox, "websockets") as waiting:
        async with Connecting(sandbox, "websockets") as playing:
            await logged_on(playing, ACCOUNTS[4], logon_id=1)
            await playing.launch()
            await logged_on(waiting, ACCOUNTS[4], logon_id=2)
            assert (await waiting.playing_state()).playing_blocked
        assert not (await waiting.playing_state()).playing_blocked


async def test_a_missing_licence_is_granted_on_request(sandbox: SandboxProcess) -> None:
    async with Connecting(sandbox, "websockets") as client:
        await logged_on(client, ACCOUNTS[6])
        await client.play(570)
        await client.send_gc(4006)
        await sandbox.wait_journal("gc_hello", account="poor", outcome="no_license")
        request = server2_pb.CMsgClientRequestFreeLicense(appids=[570])
        await client.send(5572, request, jobid_source=99)
        got = await client.wait_for(5573)
        assert got.header.jobid_target == 99
        granted = server2_pb.CMsgClientRequestFreeLicenseResponse.FromString(got.body)
        assert (granted.eresult, list(granted.granted_appids)) == (1, [570])
        licenses = server_pb.CMsgClientLicenseList.FromString((await client.wait_for(780)).body)
        assert set(granted.granted_packageids) < {one.package_id for one in licenses.licenses}
        await client.send(5572, request, jobid_source=100)
        again = await client.wait_for(5573)
        owned = server2_pb.CMsgClientRequestFreeLicenseResponse.FromString(again.body)
        assert (owned.eresult, list(owned.granted_appids)) == (1, [])
        await client.send_gc(4006)
        await client.receive_gc(4004)


async def test_former_names_and_server_time_are_answered(sandbox: SandboxProcess) -> None:
    async with Connecting(sandbox, "netfilter") as client:
        await logged_on(client, ACCOUNTS[5])
        request = server_pb.CMsgClientAMGetPersonaNameHistory(id_count=1)
        request.Ids.add(steamid=client.steamid)
        await client.send(5570, request, jobid_source=5)
        got = await client.wait_for(5571)
        names = server_pb.CMsgClientAMGetPersonaNameHistoryResponse.FromString(got.body)
        assert got.header.jobid_target == 5
        assert names.responses[0].steamid == client.steamid
        dates = [one.name_since for one in names.responses[0].names]
        assert dates
        assert dates == sorted(dates, reverse=True)
        stamp = login_pb.CMsgClientServerTimestampRequest(client_request_timestamp=3)
        await client.send(9802, stamp, jobid_source=6)
        told = login_pb.CMsgClientServerTimestampResponse.FromString(
            (await client.wait_for(9803)).body
        )
        assert abs(told.server_timestamp_ms / 1000 - time.time()) < 60


# --- strictness -------------------------------------------------------------------------------
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


# --- drops ------------------------------------------------------------------------------------
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
