"""Ends of a connection: silence, a peer that does not read, a stopped process, errors, `close`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import gevent
import pytest
import structlog
from steam.protobufs.steammessages_base_pb2 import CMsgMulti, CMsgProtoBufHeader
from structlog.testing import capture_logs
from support.scripted_transport import PATIENCE_S, ScriptedTransport

from actors.errors import SteamUnreachable
from actors.steam import connection as module
from actors.steam.connection import MAX_SLEPT, Connection
from actors.steam.protocol.emsg import CLIENT_HEARTBEAT, CLIENT_LOG_OFF, MULTI
from actors.steam.protocol.envelope import build
from actors.steam.steam_time import SteamTime
from supervisor.clock import SystemClock

BEAT_S = 0.02
UNUSED = 4242  # a message number


class StoppedClock(SteamTime):
    """Stands still until a test moves it, as all clocks seem to do for a stopped process."""

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self.time = 1000.0
        self.now = lambda: self.time


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@contextmanager
def opened(clock: StoppedClock) -> Iterator[tuple[Connection, ScriptedTransport, list[str]]]:
    """Yield a connection with a stopped clock, its other end, and the reasons of its death."""
    transport = ScriptedTransport()
    deaths: list[str] = []
    connection = Connection(clock=clock, log=structlog.get_logger())
    connection.open(transport)

    def on_death(_: object) -> None:
        assert connection.death is not None
        deaths.append(connection.death.reason)

    connection.ended.rawlink(on_death)
    try:
        with gevent.Timeout(PATIENCE_S):
            yield connection, transport, deaths
    finally:
        connection.close()
        connection.wait_closed()


def wait_death(connection: Connection) -> str:
    with pytest.raises(SteamUnreachable) as death:
        connection.wait("something that never comes")
    return death.value.reason


def test_a_peer_that_does_not_read_is_noticed_though_a_keep_alive_is_due(
    clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ping that waits for the socket must not delay the detection of silence."""
    monkeypatch.setattr(module, "KEEP_ALIVE_S", 0.0)
    with opened(clock) as (connection, server, _):
        server.reads = False
        connection.send(CLIENT_LOG_OFF)
        connection.start_pulse(BEAT_S)
        assert "silence" in wait_death(connection)


@pytest.mark.parametrize("awake", ["reader", "writer", "pulse"])
def test_a_process_that_was_stopped_for_long_sends_nothing_more(
    clock: StoppedClock, awake: str
) -> None:
    """The first greenlet that runs must detect it: another instance may hold the account."""
    heartbeat_s = BEAT_S if awake == "pulse" else 60.0
    with opened(clock) as (connection, server, _):
        handled: list[int] = []
        connection.on(UNUSED, lambda message: handled.append(message.emsg))
        connection.start_pulse(heartbeat_s)
        server.wait_emsg(CLIENT_HEARTBEAT)
        clock.time += heartbeat_s * MAX_SLEPT + 1
        if awake == "reader":
            server.say(UNUSED)
        elif awake == "writer":
            connection.send(CLIENT_LOG_OFF)
        assert "stopped for" in wait_death(connection)
        connection.send(CLIENT_LOG_OFF)
        gevent.sleep(0)
        assert [one.emsg for one in server.received] == [CLIENT_HEARTBEAT]
        assert handled == []


@pytest.mark.parametrize("awake", ["reader", "writer", "pulse"])
def test_nothing_is_sent_once_the_lease_is_about_to_end(clock: StoppedClock, awake: str) -> None:
    heartbeat_s = BEAT_S if awake == "pulse" else 60.0
    with opened(clock) as (connection, server, deaths):
        handled: list[int] = []
        connection.on(UNUSED, lambda message: handled.append(message.emsg))
        connection.end_at = clock.time + 1
        connection.start_pulse(heartbeat_s)
        server.wait_emsg(CLIENT_HEARTBEAT)
        sent = len(server.received)
        clock.time += 1
        if awake == "reader":
            server.say(UNUSED)
        elif awake == "writer":
            connection.send(CLIENT_LOG_OFF)
        assert wait_death(connection) == "the lease was not renewed in time"
        connection.send(CLIENT_LOG_OFF)
        gevent.sleep(BEAT_S)
        assert len(server.received) == sent
        assert handled == []
        assert len(deaths) == 1


def test_a_connection_is_used_up_to_the_end_of_its_lease(clock: StoppedClock) -> None:
    with opened(clock) as (connection, server, deaths):
        connection.end_at = clock.time + 1
        clock.time += 0.999
        connection.send(CLIENT_LOG_OFF)
        server.wait_emsg(CLIENT_LOG_OFF)
        connection.end_at += 1000
        clock.time += 999
        connection.send(CLIENT_LOG_OFF)
        server.wait_emsg(CLIENT_LOG_OFF, 2)
        assert deaths == []


def test_the_reason_that_is_known_before_the_end_is_the_one_that_is_told(
    clock: StoppedClock,
) -> None:
    with opened(clock) as (connection, server, deaths):
        connection.ending = SteamUnreachable("session", "the lease is over")
        server.break_with(ConnectionResetError())
        wait_death(connection)
        assert deaths == ["the lease is over"]


def test_a_short_stop_is_survived(clock: StoppedClock) -> None:
    with opened(clock) as (connection, server, deaths):
        server.on_message = lambda _: server.say(UNUSED)
        connection.start_pulse(BEAT_S)
        server.wait_emsg(CLIENT_HEARTBEAT)
        clock.time += BEAT_S * 2
        server.wait_emsg(CLIENT_HEARTBEAT, 4)
        assert deaths == []


def test_nothing_is_sent_after_the_death(clock: StoppedClock) -> None:
    with opened(clock) as (connection, server, _):
        for _number in range(5):
            connection.send(CLIENT_LOG_OFF)
        connection.die(SteamUnreachable("session", "logged off"))
        gevent.sleep(0.001)
        assert server.received == []


@pytest.mark.parametrize("side", ["receive", "send"])
def test_a_surprise_ends_the_connection_and_tells_no_contents(
    clock: StoppedClock, side: str
) -> None:
    def surprise(*_: object) -> None:
        raise LookupError("a secret")

    with capture_logs() as logs, opened(clock) as (connection, server, deaths):
        if side == "receive":
            server.break_with(LookupError("a secret"))
        else:
            server.on_message = surprise
            connection.send(CLIENT_LOG_OFF)
        wait_death(connection)
        assert deaths == ["we could not go on: LookupError"]
    assert [one["event"] for one in logs] == ["connection_crashed"]
    assert "secret" not in str(logs)


def test_what_the_server_said_before_it_closed_is_read_although_sending_fails(
    clock: StoppedClock,
) -> None:
    """A reset socket refuses to send before its last message is read."""
    with opened(clock) as (connection, server, deaths):
        connection.on(UNUSED, lambda _: connection.die(SteamUnreachable("session", "logged off")))
        server.is_closed = True  # so that sending fails
        connection.send(CLIENT_LOG_OFF)
        gevent.sleep(0.01)
        assert deaths == []
        server.say(UNUSED)
        server.break_with(ConnectionResetError())
        assert wait_death(connection) == "logged off"


def test_one_multi_lets_the_others_have_their_turn(clock: StoppedClock) -> None:
    with opened(clock) as (connection, server, _):
        handled, turns = [0], []

        def handle(_: object) -> None:
            handled[0] += 1

        connection.on(UNUSED, handle)
        part = build(UNUSED, CMsgProtoBufHeader())
        body = (len(part).to_bytes(4, "little") + part) * 1000
        server.say(MULTI, CMsgMulti(message_body=body))
        gevent.spawn(lambda: turns.append(handled[0]))
        gevent.sleep(0)
        gevent.sleep(0)
        assert turns
        assert turns[0] < 1000


def test_endless_traffic_lets_the_others_have_their_turn(clock: StoppedClock) -> None:
    with opened(clock) as (_connection, server, _):
        turns: list[int] = []
        for _number in range(1000):
            server.say(UNUSED)
        gevent.spawn(lambda: turns.append(server._incoming.qsize()))
        gevent.sleep(0)
        gevent.sleep(0)
        assert turns
        assert turns[0] > 0


def test_close_ends_every_greenlet_even_from_the_hub_itself(clock: StoppedClock) -> None:
    transport = ScriptedTransport()
    connection = Connection(clock=clock, log=structlog.get_logger())
    connection.open(transport)
    connection.start_pulse(60.0)
    transport.wait_emsg(CLIENT_HEARTBEAT)
    gevent.get_hub().loop.run_callback(connection.close)
    connection.wait_closed()  # returns before CLOSE_S only if there are greenlets
    gevent.sleep(0)
    connection.wait_closed()
    assert transport.is_closed
    assert all(one.dead for one in connection._greenlets)
