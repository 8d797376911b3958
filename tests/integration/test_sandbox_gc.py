"""The Game Coordinator: welcome, match answers, quotas, and its faults."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from dota2.protobufs import dota_gcmessages_client_pb2 as dota_pb
from dota2.protobufs import dota_gcmessages_common_pb2 as common_pb
from dota2.protobufs import gcsdk_gcmessages_pb2 as gc_pb
from google.protobuf.message import DecodeError
from support.sandbox_client import SandboxClient, logged_on
from support.sandbox_connection import Connecting

from bench.sandbox_process import SandboxProcess

pytestmark = pytest.mark.integration

ACCOUNTS = [{"name": f"bot{n}", "password": f"p{n}"} for n in range(4)]
MATCH = 6_543_210_001


@pytest.fixture(scope="module")
def process() -> Iterator[SandboxProcess]:
    with SandboxProcess(ACCOUNTS, ("--quota-account", "5", "--quota-ip", "8")) as running:
        yield running


@pytest.fixture
async def sandbox(process: SandboxProcess) -> SandboxProcess:
    """Reset quotas and faults before each test."""
    await process.clear_faults()
    await process.quota(reset=True, account=5, ip=8)
    return process


async def playing(client: SandboxClient, number: int = 0) -> None:
    await logged_on(client, ACCOUNTS[number])
    await client.launch()


async def test_the_welcome_is_as_large_as_a_real_one(sandbox: SandboxProcess) -> None:
    async with Connecting(sandbox, "websockets") as client:
        await playing(client)
    assert 10_000 < len(client.welcome) <= 310_000
    welcome = gc_pb.CMsgClientWelcome.FromString(client.welcome)
    assert welcome.version
    assert len(welcome.outofdate_subscribed_caches[0].objects[0].object_data) >= 300
    assert dota_pb.CMsgDOTAWelcome.FromString(welcome.game_data).currency == 3


async def test_the_gc_ignores_a_session_that_does_not_play(sandbox: SandboxProcess) -> None:
    async with Connecting(sandbox, "websockets") as client:
        await logged_on(client, ACCOUNTS[0])
        since = await sandbox.last_event()
        await client.send_gc(4006)
        [hello] = await sandbox.wait_journal("gc_hello", since=since)
        assert hello["outcome"] == "not_playing"
        await client.ask_match(MATCH)
        [request] = await sandbox.wait_journal("match_request", since=since)
        assert request["outcome"] == "silent_no_session"
        await client.launch()
        await client.play()
        await sandbox.wait_journal("gc_session_lost", since=since, reason="stopped_playing")
        await client.ask_match(MATCH)
        await sandbox.wait_journal("match_request", 2, since=since, outcome="silent_no_session")


async def test_a_message_that_is_not_routed_to_dota_does_not_arrive(
    sandbox: SandboxProcess,
) -> None:
    async with Connecting(sandbox, "websockets") as client:
        await playing(client)
        since = await sandbox.last_event()
        await client.send_gc(4006, routing_appid=0)
        await client.send_gc(4006, appid=730)
        await client.send_gc(9999)
        events = await sandbox.wait_journal("gc_request", 3, since=since)
    assert [one["outcome"] for one in events] == ["not_routed", "not_routed", "unknown"]


async def test_early_hellos_can_be_lost(sandbox: SandboxProcess) -> None:
    await sandbox.faults(lose_hellos=2)
    async with Connecting(sandbox, "websockets") as client:
        await logged_on(client, ACCOUNTS[0])
        since = await sandbox.last_event()
        await client.play(570)
        for _ in range(3):
            await client.send_gc(4006)
        await client.receive_gc(4004)
    outcomes = [one["outcome"] for one in await sandbox.journal("gc_hello", since=since)]
    assert outcomes == ["lost", "lost", "welcomed"]


async def test_results_tell_missing_and_blocked_matches_apart(sandbox: SandboxProcess) -> None:
    await sandbox.hide_matches(not_found=[5], blocked=[6])
    async with Connecting(sandbox, "netfilter") as client:
        await playing(client)
        answers = [await client.match(one) for one in (5, 6, 9_000_000_000, 4_000_000_015)]
        assert [answer.result for answer in answers] == [2, 15, 2, 15]
        assert not any(answer.HasField("match") for answer in answers)
        await sandbox.faults(gc_result=16)
        assert (await client.match(MATCH)).result == 16


async def test_answers_can_be_useless(sandbox: SandboxProcess) -> None:
    async with Connecting(sandbox, "netfilter") as client:
        await playing(client)
        await sandbox.faults(gc_other_match=1)
        assert (await client.match(MATCH)).match.match_id == MATCH + 1
        await sandbox.faults(gc_answer_kb={"value": 1100, "times": 1})
        large = await client.match(MATCH)
        assert large.match.match_id == MATCH
        assert large.ByteSize() > 1100 * 1024
        await sandbox.faults(gc_garbled=1)
        with pytest.raises(DecodeError):
            await client.match(MATCH)
        assert (await client.match(MATCH)).match.match_id == MATCH


async def test_the_quota_ends_in_silence_and_survives_relogs(sandbox: SandboxProcess) -> None:
    async with Connecting(sandbox, "websockets") as client:
        await playing(client)
        for number in range(5):
            assert (await client.match(MATCH + number)).result == 1
        since = await sandbox.last_event()
        await client.ask_match(MATCH)
        await sandbox.wait_journal("match_request", since=since, outcome="silent_quota_account")
    async with Connecting(sandbox, "websockets") as client:
        await playing(client)
        await client.ask_match(MATCH, job=1)
        await sandbox.wait_journal("match_request", 2, since=since, outcome="silent_quota_account")
        card = dota_pb.CMsgClientToGCGetProfileCard(account_id=120269134)
        await client.send_gc(7534, card.SerializeToString(), job=2)
        job, body = await client.receive_gc(7535)  # nothing came for job 1
        assert job == 2
        assert common_pb.CMsgDOTAProfileCard.FromString(body).account_id == 120269134
        assert await sandbox.quota(advance_s=86400 + 2)
        assert (await client.match(MATCH)).result == 1


async def test_the_budget_of_the_ip_is_shared_by_its_accounts(sandbox: SandboxProcess) -> None:
    async with (
        Connecting(sandbox, "websockets") as one,
        Connecting(sandbox, "netfilter") as other,
    ):
        await playing(one, 0)
        await playing(other, 1)
        for number in range(4):
            await one.match(MATCH + number)
            await other.match(MATCH + number)
        since = await sandbox.last_event()
        await one.ask_match(MATCH)
        [event] = await sandbox.wait_journal("match_request", since=since)
    assert (event["outcome"], event["source"]) == ("silent_quota_ip", "127.0.0.1")


async def test_answers_can_be_delayed(sandbox: SandboxProcess) -> None:
    await sandbox.faults(gc_delay_ms=300)
    async with Connecting(sandbox, "websockets") as client:
        await playing(client)
        since = await sandbox.last_event()
        asked = time.monotonic()
        await client.match(MATCH)
        took_s = time.monotonic() - asked
        [answer] = await sandbox.wait_journal("match_answer", since=since)
    assert 0.29 < answer["took_s"] < took_s
    assert (answer["account"], answer["match_id"]) == ("bot0", MATCH)


async def test_answers_can_be_reordered_and_duplicated(sandbox: SandboxProcess) -> None:
    await sandbox.faults(gc_out_of_order=4)
    async with Connecting(sandbox, "websockets") as client:
        await playing(client)
        for job in (1, 2, 3, 4):
            await client.ask_match(MATCH + job, job)
        jobs = [(await client.receive_gc(7096))[0] for _ in range(4)]
        assert sorted(jobs) == [1, 2, 3, 4]
        assert jobs != [1, 2, 3, 4]
        await sandbox.clear_faults()
        await sandbox.faults(gc_duplicate=True)
        await client.ask_match(MATCH, 9)
        assert [(await client.receive_gc(7096))[0] for _ in range(2)] == [9, 9]


async def test_a_silent_account_does_not_affect_others(sandbox: SandboxProcess) -> None:
    await sandbox.faults(gc_silent=["bot0"])
    async with Connecting(sandbox, "websockets") as one, Connecting(sandbox, "websockets") as other:
        await playing(one, 0)
        await playing(other, 1)
        await one.ask_match(MATCH)
        await sandbox.wait_journal("match_request", account="bot0", outcome="silent_fault")
        assert (await other.match(MATCH)).result == 1


@pytest.mark.parametrize(
    ("how", "status"), [(True, 2), ("going_down", 1), ("queue", 3), ("silent", None)]
)
async def test_a_gc_that_goes_down_notifies_its_sessions(
    sandbox: SandboxProcess, how: object, status: int | None
) -> None:
    async with Connecting(sandbox, "websockets") as client:
        await playing(client)
        since = await sandbox.last_event()
        await sandbox.faults(gc_down=how)
        await sandbox.wait_journal("gc_session_lost", since=since, reason="gc_down")
        await client.send_gc(4006)
        await sandbox.wait_journal("gc_hello", since=since, outcome="gc_down")
        if status is not None:
            for _ in ("told", "asked"):
                _, body = await client.receive_gc(4009)
                assert gc_pb.CMsgConnectionStatus.FromString(body).status == status
        await sandbox.clear_faults()
        if how != "queue":  # the queue admits the session by itself
            await client.send_gc(4006)
        await client.receive_gc(4004)
        assert (await client.match(MATCH)).result == 1


async def test_unanswered_pings_end_the_session_without_a_message(sandbox: SandboxProcess) -> None:
    await sandbox.faults(gc_ping_every_s=0.01)
    async with Connecting(sandbox, "websockets") as client:
        await playing(client)
        since = await sandbox.last_event()
        await client.receive_gc(3001)
        await sandbox.wait_journal("gc_session_lost", since=since, reason="pings_neglected")
        await client.ask_match(MATCH)
        await sandbox.wait_journal("match_request", since=since, outcome="silent_no_session")


async def test_unknown_messages_may_come_before_an_answer(sandbox: SandboxProcess) -> None:
    await sandbox.faults(send_unknown_messages=True)
    async with Connecting(sandbox, "websockets") as client:
        await playing(client)
        client.log.clear()
        assert (await client.match(MATCH)).result == 1
    assert client.log[-5:] == [9808, 65000, 146, 5453, 5453]


async def test_a_late_answer_of_an_ended_session_is_dropped_or_sent_to_the_next(
    sandbox: SandboxProcess,
) -> None:
    for stale in (False, True):
        await sandbox.faults(gc_delay_ms=400, gc_stale_answers=stale)
        async with Connecting(sandbox, "websockets") as client:
            await playing(client)
            await client.ask_match(MATCH, job=77)
            await sandbox.wait_journal("match_request", account="bot0")
        await sandbox.clear_faults("gc_delay_ms")
        async with Connecting(sandbox, "websockets") as client:
            await playing(client)
            if stale:
                assert (await client.receive_gc(7096, 2.0))[0] == 77
            else:
                with pytest.raises(TimeoutError):
                    await client.receive_gc(7096, 0.6)


async def test_the_summary_counts_requests_per_account(sandbox: SandboxProcess) -> None:
    before = await sandbox.summary()
    async with Connecting(sandbox, "websockets") as client:
        await playing(client, 3)
        for number in range(6):
            await client.ask_match(MATCH + number, number + 1)
        await sandbox.wait_journal("match_request", 6, account="bot3")
        during = await sandbox.summary()
    assert before["requests"].get("bot3") is None
    assert during["requests"]["bot3"] == 6
    assert during["served"]["bot3"] == 5
    assert during["sessions_now"] == {"bot3": 1}
    assert during["quota_used"]["accounts"] == {"bot3": 5}
