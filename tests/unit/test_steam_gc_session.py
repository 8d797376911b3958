"""Greeting the Game Coordinator, being welcomed, losing it and getting it back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest
from dota2.protobufs.gcsdk_gcmessages_pb2 import CMsgConnectionStatus
from scripted_transport import ScriptedTransport, connected
from steam.protobufs.steammessages_clientserver_2_pb2 import (
    CMsgClientPlayingSessionState,
    CMsgClientRequestFreeLicense,
)
from steam.protobufs.steammessages_clientserver_pb2 import CMsgClientGamesPlayed

from actors.errors import SteamUnreachable
from actors.steam import emsg
from actors.steam import gc as gc_module
from actors.steam.gc import GcSession


class Seen:
    def __init__(self) -> None:
        self.bodies: list[tuple[int, bytes]] = []
        self.cards: list[tuple[int, bytes]] = []
        self.events: list[str] = []

    def on_body(self, job: int, body: bytes) -> None:
        self.bodies.append((job, body))

    def on_card(self, job: int, body: bytes) -> None:
        self.cards.append((job, body))

    def on_lost(self, reason: str) -> None:
        self.events.append(reason)

    def on_ready(self) -> None:
        self.events.append("ready")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc_module, "HELLO_PAUSES_S", (0.005, 0.005))
    monkeypatch.setattr(gc_module, "SLOW_HELLO_S", 0.01)
    monkeypatch.setattr(gc_module, "GOING_DOWN_HELLO_S", 60.0)


@contextmanager
def session() -> Iterator[tuple[GcSession, ScriptedTransport, Seen]]:
    seen = Seen()
    with connected() as (connection, server):
        gc = GcSession(
            connection,
            on_body=seen.on_body,
            on_card=seen.on_card,
            on_lost=seen.on_lost,
            on_ready=seen.on_ready,
        )
        try:
            yield gc, server, seen
        finally:
            gc.close()


@contextmanager
def welcomed() -> Iterator[tuple[GcSession, ScriptedTransport, Seen]]:
    with session() as (gc, server, seen):
        launching = gevent.spawn(gc.launch)
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
    """Encode by hand: the library's class refuses numbers that it does not know."""
    return b"\x08" + bytes([number]) + bytes(CMsgConnectionStatus(**others).SerializeToString())


def playing(server: ScriptedTransport, app: int, *, blocked: bool = False) -> None:
    state = CMsgClientPlayingSessionState(playing_app=app, playing_blocked=blocked)
    server.say(emsg.CLIENT_PLAYING_SESSION_STATE, state)


def test_the_game_is_played_and_hello_repeated_until_the_welcome() -> None:
    with session() as (gc, server, seen):
        launching = gevent.spawn(gc.launch)
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
        gevent.spawn(gc.launch)
        server.wait_gc(emsg.GC_CLIENT_HELLO, 10)
        (request,) = server.wait_emsg(emsg.CLIENT_REQUEST_FREE_LICENSE)
        assert list(CMsgClientRequestFreeLicense.FromString(request.body).appids) == [570]


def test_the_free_license_is_not_asked_for_again_after_a_loss() -> None:
    """Steam grants few of them an hour."""
    with session() as (gc, server, _):
        gevent.spawn(gc.launch)
        server.wait_emsg(emsg.CLIENT_REQUEST_FREE_LICENSE)
        server.say_gc(emsg.GC_CLIENT_WELCOME)
        settle()
        server.received.clear()
        server.say_gc(emsg.GC_CONNECTION_STATUS, status(2))
        server.wait_gc(emsg.GC_CLIENT_HELLO, 10)
        assert not [one for one in server.received if one.emsg == emsg.CLIENT_REQUEST_FREE_LICENSE]


def test_a_connection_that_dies_ends_the_launch() -> None:
    with session() as (gc, server, _):
        launching = gevent.spawn(gc.launch)
        server.wait_gc(emsg.GC_CLIENT_HELLO)
        server.break_with(ConnectionResetError("gone"))
        with pytest.raises(SteamUnreachable):
            launching.get()


def test_no_hello_while_another_session_plays() -> None:
    with session() as (gc, server, _):
        playing(server, 570, blocked=True)
        settle()
        gevent.spawn(gc.launch)
        server.wait_emsg(emsg.CLIENT_GAMES_PLAYED)
        gevent.sleep(0.03)
        assert not [one for one in server.received if one.gc]
        assert "another session" in gc.why_not_ready().reason
        playing(server, 0)
        server.wait_emsg(emsg.CLIENT_GAMES_PLAYED, 2)
        server.wait_gc(emsg.GC_CLIENT_HELLO)


def test_play_that_is_possible_again_is_greeted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc_module, "HELLO_PAUSES_S", ())
    monkeypatch.setattr(gc_module, "SLOW_HELLO_S", 60.0)
    with session() as (gc, server, _):
        playing(server, 570, blocked=True)
        settle()
        gevent.spawn(gc.launch)
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
        gc.request_match(5, 1)
        gc.request_card(7, 2)
        [asked] = server.wait_gc(emsg.GC_PROFILE_CARD_REQUEST)
        assert asked.gc is not None
        assert asked.gc.body == b"\x08\x07"
        server.say_gc(emsg.GC_PROFILE_CARD_RESPONSE, b"card", job=2)
        server.say_gc(emsg.GC_MATCH_DETAILS_RESPONSE, b"match", job=1)
        server.say_gc(emsg.GC_PROFILE_CARD_RESPONSE, b"nobody's")
        settle()
        assert (seen.bodies, seen.cards) == ([(1, b"match")], [(2, b"card")])


def test_have_session_is_as_good_as_a_welcome() -> None:
    with session() as (gc, server, _):
        launching = gevent.spawn(gc.launch)
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
def test_a_status_that_nobody_knows_is_no_session(number: int) -> None:
    """The old class reads it as its default, which is HAVE_SESSION."""
    with welcomed() as (gc, server, seen):
        server.say_gc(emsg.GC_CONNECTION_STATUS, status(number))
        settle()
        assert not gc.is_ready
        assert seen.events == [f"connection status {number}"]


@pytest.mark.parametrize("number", [1, 6])
def test_a_gc_that_goes_down_is_greeted_slowly(number: int) -> None:
    with welcomed() as (_, server, seen):
        server.say_gc(emsg.GC_CONNECTION_STATUS, status(number))
        server.wait_gc(emsg.GC_CLIENT_HELLO)
        gevent.sleep(0.05)
        assert len(server.wait_gc(emsg.GC_CLIENT_HELLO)) == 1
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
        gevent.spawn(gc.launch)
        server.say_gc(emsg.GC_CONNECTION_STATUS, status(2))
        server.wait_gc(emsg.GC_CLIENT_HELLO, 3)
        assert seen.events == []


def test_welcome_and_loss_in_one_breath_end_in_greeting() -> None:
    with session() as (gc, server, seen):
        gevent.spawn(gc.launch)
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
        gc.request_match(7490235544, 5)
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
