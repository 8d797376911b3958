"""Sessions: messages after the log-on, heartbeats, replaced sessions, kicks and the licence."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from steam.protobufs import steammessages_clientserver_2_pb2 as server2_pb
from steam.protobufs import steammessages_clientserver_login_pb2 as login_pb
from steam.protobufs import steammessages_clientserver_pb2 as server_pb
from support.sandbox_client import logged_on, steamid_of
from support.sandbox_connection import Connecting

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
    notified = 0
    for _ in range(6):
        async with Connecting(sandbox, "websockets") as client:
            await logged_on(client, ACCOUNTS[1])
            since = await sandbox.last_event()
            await client.send(706)
            rest = await client.wait_closed()
            notified += any(one.emsg == 757 and eresult_of(one.body) == 1 for one in rest)
        [event] = await sandbox.wait_journal("session_ended", since=since)
        assert (event["reason"], event["clean"]) == ("log_off", True)
    assert notified > 0


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
        answer = login_pb.CMsgClientServerTimestampResponse.FromString(
            (await client.wait_for(9803)).body
        )
        assert abs(answer.server_timestamp_ms / 1000 - time.time()) < 60
