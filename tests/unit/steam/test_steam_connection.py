"""Connection in the hub: waiters get the error; one bad message does not affect the others."""

from __future__ import annotations

import struct

import gevent
import pytest
from steam.protobufs.steammessages_clientserver_login_pb2 import CMsgClientHeartBeat
from structlog.testing import capture_logs
from support.scripted_transport import connected

from actors.errors import SteamUnreachable
from actors.steam import connection as connection_module
from actors.steam.protocol.emsg import CLIENT_HEARTBEAT
from actors.steam.protocol.envelope import Message, ParseError


def settle() -> None:
    for _ in range(5):
        gevent.sleep(0)


def test_messages_go_to_their_handlers_in_order() -> None:
    seen: list[int] = []
    with connected() as (connection, server):
        connection.on(1001, lambda message: seen.append(message.emsg))
        connection.on(1002, lambda message: seen.append(message.emsg))
        for emsg in (1002, 1001, 9808, 65000, 1001):
            server.say(emsg)
        settle()
    assert seen == [1002, 1001, 1001]


def test_a_handler_that_fails_costs_only_its_message() -> None:
    seen: list[int] = []

    def failing(message: Message) -> None:
        raise LookupError(f"secret {message.body!r}")

    with connected() as (connection, server), capture_logs() as logs:
        connection.on(1001, failing)
        connection.on(1002, lambda message: seen.append(message.emsg))
        server.say(1001)
        server.say(1002)
        settle()
        assert connection.death is None
    assert seen == [1002]
    assert [(one["event"], one["emsg"]) for one in logs] == [("message_unreadable", 1001)]
    assert "secret" not in str(logs)


@pytest.mark.parametrize(
    ("broken", "text"),
    [
        (ConnectionResetError("reset by peer"), "reset by peer"),
        (TimeoutError("no route"), "no route"),
        (ParseError("no VT01"), "garbage: no VT01"),
    ],
)
def test_every_waiting_greenlet_is_told_when_it_breaks(broken: Exception, text: str) -> None:
    with connected() as (connection, server):
        waiting = [gevent.spawn(connection.wait, number) for number in range(20)]
        settle()
        server.break_with(broken)
        gevent.joinall(waiting)
        assert all(isinstance(one.exception, SteamUnreachable) for one in waiting)
        assert text in str(waiting[0].exception)
        with pytest.raises(SteamUnreachable, match=text):
            connection.wait("a late waiter")


def test_garbage_from_the_server_ends_it() -> None:
    with connected() as (connection, server):
        waiting = gevent.spawn(connection.wait, "answer")
        server.say_raw(b"\1\2")
        waiting.join()
        assert "garbage" in str(waiting.exception)
        assert connection.death is waiting.exception


def test_the_first_reason_counts() -> None:
    with connected() as (connection, _):
        first = SteamUnreachable("session", "first")
        connection.die(first)
        connection.die(SteamUnreachable("session", "second"))
        assert connection.death is first


def test_a_wait_that_is_given_up_leaves_nothing() -> None:
    with connected() as (connection, _):
        waiting = gevent.spawn(connection.wait, "answer")
        settle()
        waiting.kill()
        assert not connection._expected
        connection.resolve("answer", "late")


def test_silence_ends_it_within_three_heartbeats() -> None:
    with connected() as (connection, server):
        connection.start_pulse(0.05)
        waiting = gevent.spawn(connection.wait, "answer")
        waiting.join(2)
        assert "silence" in str(waiting.exception)
        beats = [one for one in server.received if one.emsg == CLIENT_HEARTBEAT]
        assert 1 <= len(beats) <= 3
        assert CMsgClientHeartBeat.FromString(beats[0].body).send_reply


def test_answered_heartbeats_keep_it_alive() -> None:
    with connected() as (connection, server):
        server.on_message = lambda message: server.say(message.emsg)
        connection.start_pulse(0.05)
        server.wait_emsg(CLIENT_HEARTBEAT, 6)
        assert connection.death is None


def test_heartbeats_name_the_session() -> None:
    with connected() as (connection, server):
        connection.steam_id, connection.session_id = 76561197960287930, -5
        connection.start_pulse(60)
        (beat,) = server.wait_emsg(CLIENT_HEARTBEAT)
        assert (beat.header.steamid, beat.header.client_sessionid) == (76561197960287930, -5)


def test_the_transport_is_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "KEEP_ALIVE_S", 0.02)
    with connected() as (connection, server):
        server.on_message = lambda message: server.say(message.emsg)
        connection.start_pulse(0.02)
        server.wait_emsg(CLIENT_HEARTBEAT, 5)
        assert server.keep_alives > 0


def test_a_server_that_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "MAX_UNSENT", 10)
    with connected() as (connection, server):
        server.reads = False
        for _ in range(12):
            connection.send(CLIENT_HEARTBEAT)
            settle()
        assert connection.death is not None
        assert "does not read" in str(connection.death)


def test_sending_on_a_broken_transport_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "LAST_WORDS_S", 0.01)
    with connected() as (connection, server):
        server.close()
        waiting = gevent.spawn(connection.wait, "answer")
        connection.send(CLIENT_HEARTBEAT)
        waiting.join()
        assert "broke: closed" in str(waiting.exception)


def test_close_tells_who_waits_and_may_be_repeated() -> None:
    with connected() as (connection, server):
        waiting = gevent.spawn(connection.wait, "answer")
        settle()
        connection.close()
        connection.close()
        waiting.join()
        assert "closed by us" in str(waiting.exception)
        assert server.is_closed
        connection.send(CLIENT_HEARTBEAT)  # harmless on a dead connection


def test_a_struct_message_reaches_its_handler() -> None:
    seen: list[Message] = []
    with connected() as (connection, server):
        connection.on(757, seen.append)
        head = struct.pack("<IBHQQBQi", 757, 36, 2, 2**64 - 1, 2**64 - 1, 239, 0, 0)
        server.say_raw(head + struct.pack("<iii", 6, 0, 0))
        settle()
    assert [(one.is_proto, one.body[:4]) for one in seen] == [(False, b"\6\0\0\0")]
