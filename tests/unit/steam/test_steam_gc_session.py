"""GC session: hellos, welcome, loss and return."""

from __future__ import annotations

import gzip
import itertools
import random
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest
import structlog
from dota2.protobufs.gcsdk_gcmessages_pb2 import CMsgConnectionStatus
from steam.protobufs.steammessages_clientserver_2_pb2 import (
    CMsgClientPlayingSessionState,
    CMsgClientRequestFreeLicense,
)
from steam.protobufs.steammessages_clientserver_pb2 import CMsgClientGamesPlayed
from support.scripted_transport import PATIENCE_S, ScriptedTransport, connected

from actors.errors import PlayingElsewhere, SteamUnreachable
from actors.steam import gc as gc_module
from actors.steam.bridge import Bridge
from actors.steam.gc import GcSession, WaitingSessions
from actors.steam.pending import Inbox, PendingRequests
from actors.steam.port import Dropped, GcLost, LinkEvent
from actors.steam.protocol import emsg
from actors.steam.protocol.envelope import NO_JOB
from actors.steam.protocol.wire import varint
from actors.steam.steam_time import SteamTime
from supervisor.clock import SystemClock


class DirectBridge(Bridge):
    """Runs at once what is posted to the loop."""

    def __init__(self) -> None:
        pass

    def post(self, fn: Callable[..., None], *args: object) -> None:
        fn(*args)


class RecordedRequests(PendingRequests):
    """Records every answer, also of requests that are not pending."""

    def __init__(self) -> None:
        super().__init__(itertools.count(1))
        self.answers: list[tuple[int, bytes]] = []

    def resolve(self, job: int, body: bytes) -> None:
        self.answers.append((job, body))


class Seen(Inbox):
    def __init__(self) -> None:
        super().__init__(self._on_event)
        matches, cards = RecordedRequests(), RecordedRequests()
        self.matches, self.cards = matches, cards
        self.bodies, self.card_bodies = matches.answers, cards.answers
        self.dropped: list[int] = []
        self.events: list[str] = []

    def on_request_dropped(self, job: int) -> None:
        self.dropped.append(job)

    def _on_event(self, event: LinkEvent) -> None:
        self.events.append(event.reason if isinstance(event, Dropped | GcLost) else "ready")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc_module, "PAUSES_S", (0.005, 0.005))
    monkeypatch.setattr(gc_module, "SLOW_S", 0.01)
    monkeypatch.setattr(gc_module, "LOST_S", 0.01)
    monkeypatch.setattr(gc_module, "GOING_DOWN_S", 60.0)


@contextmanager
def session(
    waiting: WaitingSessions | None = None,
) -> Iterator[tuple[GcSession, ScriptedTransport, Seen]]:
    seen = Seen()
    with connected() as (connection, server):
        gc = GcSession(
            connection,
            seen,
            DirectBridge(),
            waiting=WaitingSessions(random.Random(1)) if waiting is None else waiting,
            clock=SteamTime(SystemClock()),
            log=structlog.get_logger(),
        )
        try:
            yield gc, server, seen
        finally:
            gc.close()


@contextmanager
def welcomed(
    waiting: WaitingSessions | None = None,
) -> Iterator[tuple[GcSession, ScriptedTransport, Seen]]:
    with session(waiting) as (gc, server, seen):
        launching = gevent.spawn(gc.launch, PATIENCE_S)
        server.wait_gc(emsg.GC_CLIENT_HELLO)
        server.say_gc(emsg.GC_CLIENT_WELCOME, b"a large body that is not parsed")
        launching.get()
        server.received.clear()
        seen.events.clear()
        yield gc, server, seen


def settle() -> None:
    for _ in range(10):
        gevent.sleep(0)


def status(number: int, **others: Any) -> bytes:
    """Encode by hand: the library's class refuses unknown numbers."""
    return b"\x08" + bytes([number]) + bytes(CMsgConnectionStatus(**others).SerializeToString())


def playing(server: ScriptedTransport, app: int, *, blocked: bool = False) -> None:
    state = CMsgClientPlayingSessionState(playing_app=app, playing_blocked=blocked)
    server.say(emsg.CLIENT_PLAYING_SESSION_STATE, state)


def test_the_game_is_played_and_hello_repeated_until_the_welcome() -> None:
    with session() as (gc, server, seen):
        launching = gevent.spawn(gc.launch, PATIENCE_S)
        server.wait_gc(emsg.GC_CLIENT_HELLO, 6)
        assert server.received[0].emsg == emsg.CLIENT_GAMES_PLAYED
        games = CMsgClientGamesPlayed.FromString(server.received[0].body)
        assert [one.game_id for one in games.games_played] == [570]
        assert not gc.is_ready
        server.say_gc(emsg.GC_CLIENT_WELCOME)
        launching.get()
        server.received.clear()
        gevent.sleep(0.03)
        assert not server.received
        assert seen.events == ["ready"]


def test_the_free_license_is_asked_for_once_when_hellos_stay_unanswered() -> None:
    with session() as (gc, server, _):
        gevent.spawn(gc.launch, PATIENCE_S)
        server.wait_gc(emsg.GC_CLIENT_HELLO, 10)
        (request,) = server.wait_emsg(emsg.CLIENT_REQUEST_FREE_LICENSE)
        assert list(CMsgClientRequestFreeLicense.FromString(request.body).appids) == [570]


def test_the_free_license_is_not_asked_for_again_after_a_loss() -> None:
    """Steam grants few of them an hour."""
    with session() as (gc, server, _):
        gevent.spawn(gc.launch, PATIENCE_S)
        server.wait_emsg(emsg.CLIENT_REQUEST_FREE_LICENSE)
        server.say_gc(emsg.GC_CLIENT_WELCOME)
        settle()
        server.received.clear()
        server.say_gc(emsg.GC_CONNECTION_STATUS, status(2))
        server.wait_gc(emsg.GC_CLIENT_HELLO, 10)
        assert not [one for one in server.received if one.emsg == emsg.CLIENT_REQUEST_FREE_LICENSE]


def test_a_connection_that_dies_ends_the_launch() -> None:
    with session() as (gc, server, _):
        launching = gevent.spawn(gc.launch, PATIENCE_S)
        server.wait_gc(emsg.GC_CLIENT_HELLO)
        server.break_with(ConnectionResetError("gone"))
        with pytest.raises(SteamUnreachable):
            launching.get()


def test_no_hello_while_another_session_plays() -> None:
    with session() as (gc, server, _):
        playing(server, 570, blocked=True)
        settle()
        launching = gevent.spawn(gc.launch, 0.03)
        server.wait_emsg(emsg.CLIENT_GAMES_PLAYED)
        launching.join()
        assert not [one for one in server.received if one.gc]
        assert "another session" in str(launching.exception)
        playing(server, 0)
        server.wait_emsg(emsg.CLIENT_GAMES_PLAYED, 2)
        server.wait_gc(emsg.GC_CLIENT_HELLO)


def test_play_that_is_possible_again_is_greeted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc_module, "PAUSES_S", ())
    monkeypatch.setattr(gc_module, "SLOW_S", 60.0)
    with session() as (gc, server, _):
        playing(server, 570, blocked=True)
        settle()
        gevent.spawn(gc.launch, PATIENCE_S)
        server.wait_emsg(emsg.CLIENT_GAMES_PLAYED)
        settle()  # the greeter is in its long pause now
        before = gc._greeter
        playing(server, 0)
        server.wait_gc(emsg.GC_CLIENT_HELLO)
        settle()
        assert len([one for one in server.received if one.gc]) == 1
        assert before.dead


def test_answers_go_to_who_asked_for_their_kind() -> None:
    with welcomed() as (gc, server, seen):
        gc.request(emsg.GC_MATCH_DETAILS_REQUEST, 5, 1)
        gc.request(emsg.GC_PROFILE_CARD_REQUEST, 7, 2)
        [asked] = server.wait_gc(emsg.GC_PROFILE_CARD_REQUEST)
        assert asked.gc is not None
        assert asked.gc.body == b"\x08\x07"
        server.say_gc(emsg.GC_PROFILE_CARD_RESPONSE, b"card", job=2)
        server.say_gc(emsg.GC_MATCH_DETAILS_RESPONSE, b"match", job=1)
        server.say_gc(emsg.GC_PROFILE_CARD_RESPONSE, b"not asked for")
        settle()
        assert (seen.bodies, seen.card_bodies) == ([(1, b"match")], [(2, b"card")])


def test_have_session_is_as_good_as_a_welcome() -> None:
    with session() as (gc, server, _):
        launching = gevent.spawn(gc.launch, PATIENCE_S)
        server.wait_gc(emsg.GC_CLIENT_HELLO)
        server.say_gc(emsg.GC_CONNECTION_STATUS, status(0))
        launching.get()
        assert gc.is_ready


@pytest.mark.parametrize("number", [2, 4, 5])
def test_a_lost_session_is_told_and_greeted_again(number: int) -> None:
    with welcomed() as (gc, server, seen):
        server.say_gc(emsg.GC_CONNECTION_STATUS, status(number))
        server.wait_gc(emsg.GC_CLIENT_HELLO, 2)
        assert seen.events == [f"connection status {number}"]
        assert not gc.is_ready
        server.say_gc(emsg.GC_CLIENT_WELCOME)
        settle()
        assert seen.events[1:] == ["ready"]


@pytest.mark.parametrize("number", [7, 9, 100])
def test_an_unknown_status_is_no_session(number: int) -> None:
    """The old class reads it as its default, which is HAVE_SESSION."""
    with welcomed() as (gc, server, seen):
        server.say_gc(emsg.GC_CONNECTION_STATUS, status(number))
        settle()
        assert not gc.is_ready
        assert seen.events == [f"connection status {number}"]


@pytest.mark.parametrize("number", [1, 6])
def test_a_gc_that_goes_down_is_greeted_slowly(number: int) -> None:
    with welcomed() as (gc, server, seen):
        server.say_gc(emsg.GC_CONNECTION_STATUS, status(number))
        settle()
        assert gc._schedule is not None
        left_s = gc._schedule.due_at - SystemClock().now()
        assert 0.05 * 60.0 < left_s < 1.2 * 60.0
        assert not [one for one in server.received if one.gc]
        assert len(seen.events) == 1


def test_the_queue_is_waited_for_and_told() -> None:
    with welcomed() as (gc, server, seen):
        body = status(3, queue_position=42, queue_size=1000)
        server.say_gc(emsg.GC_CONNECTION_STATUS, body)
        settle()
        assert seen.events == ["queued at 42 of 1000"]
        server.say_gc(emsg.GC_CLIENT_WELCOME)
        settle()
        assert gc.is_ready


def test_a_second_welcome_is_no_news() -> None:
    with welcomed() as (_, server, seen):
        server.say_gc(emsg.GC_CLIENT_WELCOME)
        settle()
        assert seen.events == []


def test_a_loss_before_the_welcome_is_no_news() -> None:
    with session() as (gc, server, seen):
        gevent.spawn(gc.launch, PATIENCE_S)
        server.say_gc(emsg.GC_CONNECTION_STATUS, status(2))
        server.wait_gc(emsg.GC_CLIENT_HELLO, 3)
        assert seen.events == []


def test_welcome_and_loss_in_one_breath_end_in_greeting() -> None:
    with session() as (gc, server, seen):
        gevent.spawn(gc.launch, PATIENCE_S)
        server.wait_gc(emsg.GC_CLIENT_HELLO)
        server.say_gc(emsg.GC_CLIENT_WELCOME)
        server.say_gc(emsg.GC_CONNECTION_STATUS, status(2))
        settle()
        server.received.clear()
        server.wait_gc(emsg.GC_CLIENT_HELLO, 2)
        assert seen.events == ["ready", "connection status 2"]
        assert not gc.is_ready


def test_pings_are_answered() -> None:
    with welcomed() as (_, server, _seen):
        server.say_gc(emsg.GC_PING_REQUEST)
        server.wait_gc(emsg.GC_PING_RESPONSE)


def test_a_game_that_ended_is_played_again() -> None:
    with welcomed() as (_, server, seen):
        playing(server, 0)
        server.wait_emsg(emsg.CLIENT_GAMES_PLAYED)
        server.wait_gc(emsg.GC_CLIENT_HELLO)
        assert seen.events == ["the game is not running any more"]


def test_our_own_game_starting_is_no_news() -> None:
    with welcomed() as (gc, server, seen):
        playing(server, 570)
        settle()
        assert gc.is_ready
        assert seen.events == []


def test_answers_go_to_their_jobs_and_those_without_one_nowhere() -> None:
    with welcomed() as (gc, server, seen):
        gc.request(emsg.GC_MATCH_DETAILS_REQUEST, 7490235544, 5)
        (request,) = server.wait_gc(7095)
        assert request.header.routing_appid == 570
        server.say_gc(emsg.GC_MATCH_DETAILS_RESPONSE, b"without")
        server.say_gc(65001, b"unknown", job=5)
        server.say_gc(emsg.GC_MATCH_DETAILS_RESPONSE, b"body", job=5)
        settle()
        assert seen.bodies == [(5, b"body")]


@pytest.mark.parametrize("payload", [b"", b"\xff", b"\x08\xff"])
def test_a_broken_message_of_the_gc_is_skipped(payload: bytes) -> None:
    with welcomed() as (gc, server, _):
        server.say(emsg.CLIENT_FROM_GC, payload)
        server.say_gc(emsg.GC_CONNECTION_STATUS, b"\x08\xff")
        server.say_gc(emsg.GC_PING_REQUEST)
        server.wait_gc(emsg.GC_PING_RESPONSE)
        assert gc.is_ready


def test_hellos_without_an_answer_start_the_game_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steam may not have connected the game to a GC that restarted meanwhile."""
    monkeypatch.setattr(gc_module, "RESTART_GAME_S", 0.05)
    with welcomed() as (_, server, _seen):
        playing(server, 0)
        server.wait_emsg(emsg.CLIENT_GAMES_PLAYED)
        server.received.clear()
        stopped, started = server.wait_emsg(emsg.CLIENT_GAMES_PLAYED, 2)[:2]
        assert not CMsgClientGamesPlayed.FromString(stopped.body).games_played
        games = CMsgClientGamesPlayed.FromString(started.body).games_played
        assert [one.game_id for one in games] == [570]


def test_the_place_in_the_queue_is_not_lost_by_a_restart_of_the_game(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gc_module, "RESTART_GAME_S", 0.02)
    monkeypatch.setattr(gc_module, "GOING_DOWN_S", 0.01)
    with welcomed() as (_, server, _seen):
        server.say_gc(emsg.GC_CONNECTION_STATUS, status(3, queue_position=7, queue_size=9))
        server.wait_gc(emsg.GC_CLIENT_HELLO, 8)
        assert not [one for one in server.received if one.emsg == emsg.CLIENT_GAMES_PLAYED]


def test_a_launch_that_another_session_blocks_does_not_wait_for_the_gc(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gc_module, "BLOCKED_S", 0.01)
    with session() as (gc, server, _):
        launching = gevent.spawn(gc.launch, PATIENCE_S)
        server.wait_emsg(emsg.CLIENT_GAMES_PLAYED)
        playing(server, 570, blocked=True)
        with pytest.raises(PlayingElsewhere):
            launching.get()


def test_a_welcome_brings_the_hellos_of_waiting_sessions_forward(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gc_module, "LEAST_GAP_S", 0.0)
    waiting = WaitingSessions(random.Random(1))
    with welcomed(waiting) as (_, first, _seen), welcomed(waiting) as (second_gc, second, _):
        for server in (first, second):
            server.say_gc(emsg.GC_CONNECTION_STATUS, status(1))  # the next hello is a minute away
        settle()
        assert len(waiting) == 2
        first.say_gc(emsg.GC_CLIENT_WELCOME)
        second.wait_gc(emsg.GC_CLIENT_HELLO)
        second.say_gc(emsg.GC_CLIENT_WELCOME)
        settle()
        assert second_gc.is_ready
        assert len(waiting) == 0


def test_a_closed_session_no_longer_waits() -> None:
    waiting = WaitingSessions(random.Random(1))
    with session(waiting) as (gc, server, _):
        gevent.spawn(gc.launch, PATIENCE_S)
        server.wait_gc(emsg.GC_CLIENT_HELLO)
        assert len(waiting) == 1
    assert len(waiting) == 0


@pytest.mark.parametrize("job", [7, NO_JOB])
def test_a_dropped_request_is_told_with_its_job(job: int) -> None:
    with welcomed() as (_, server, seen):
        server.say_gc(emsg.GC_REQUEST_DROPPED, job=None if job == NO_JOB else job)
        settle()
        assert seen.dropped == [job]


def _body_of_match(content: bytes) -> bytes:
    """CompressedMsgToClient { 1 msg_id, 2 compressed_msg } of a match answer."""
    number = varint(emsg.GC_MATCH_DETAILS_RESPONSE | emsg.PROTO_BIT)
    return b"\x08" + number + b"\x12" + varint(len(content)) + content


@pytest.mark.parametrize("squeeze", [zlib.compress, gzip.compress])
def test_a_compressed_answer_is_read(squeeze: Callable[[bytes], bytes]) -> None:
    with welcomed() as (_, server, seen):
        server.say_gc(emsg.GC_COMPRESSED, _body_of_match(squeeze(b"a match")), job=7)
        settle()
        assert seen.bodies == [(7, b"a match")]
        assert seen.dropped == []


def test_a_compressed_message_with_its_own_header_is_read() -> None:
    header = bytes([11 << 3 | 1]) + (9).to_bytes(8, "little")
    kind = (emsg.GC_MATCH_DETAILS_RESPONSE | emsg.PROTO_BIT).to_bytes(4, "little")
    payload = kind + len(header).to_bytes(4, "little") + header + b"a match"
    with welcomed() as (_, server, seen):
        server.say_gc(emsg.GC_COMPRESSED, _body_of_match(zlib.compress(payload)))
        settle()
        assert seen.bodies == [(9, b"a match")]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"not compressed at all", id="another format"),
        pytest.param(zlib.compress(b"a match" * 100)[:-8], id="cut short"),
        pytest.param(zlib.compress(bytes(17 * 1024 * 1024)), id="17 MiB of zeros"),
    ],
)
def test_a_compressed_message_that_does_not_open_is_a_dropped_request(content: bytes) -> None:
    with welcomed() as (gc, server, seen), structlog.testing.capture_logs() as lines:
        for job in (7, 8):
            server.say_gc(emsg.GC_COMPRESSED, _body_of_match(content), job=job)
        settle()
        assert seen.dropped == [7, 8]
        assert gc.is_ready
    assert [line["event"] for line in lines] == ["gc_message_compressed"]
