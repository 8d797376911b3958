"""Log-on and log-off, and Steam's messages in between."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest
from steam.protobufs import steammessages_clientserver_login_pb2 as pb
from support.scripted_transport import PATIENCE_S, ScriptedTransport, connected

from actors.errors import LogOnRefused, SteamUnreachable
from actors.steam.connection import Connection
from actors.steam.port import AuthState
from actors.steam.protocol import emsg
from actors.steam.session import Session
from actors.steam.steam_time import SteamTime
from supervisor.clock import SystemClock

STEAM_ID = 76561197960287930
AUTH = AuthState(STEAM_ID, "a.refresh.token")
STRUCT_HEAD = struct.Struct("<IBHQQBQi")


def struct_message(number: int, body: bytes) -> bytes:
    return STRUCT_HEAD.pack(number, 36, 2, 2**64 - 1, 2**64 - 1, 239, 0, 0) + body


@contextmanager
def session() -> Iterator[tuple[Session, Connection, ScriptedTransport]]:
    with connected() as (connection, server):
        yield Session(connection, SteamTime(SystemClock()), {}), connection, server


def start(one: Session, server: ScriptedTransport) -> Any:
    """Log on in a greenlet, up to the wait for the answer."""
    logging_on = gevent.spawn(one.log_on, "abaddon", AUTH, PATIENCE_S)
    server.wait_emsg(emsg.CLIENT_LOG_ON)
    return logging_on


def accepted(**fields: object) -> pb.CMsgClientLogonResponse:
    return pb.CMsgClientLogonResponse(eresult=1, heartbeat_seconds=9, **fields)


@contextmanager
def logged_on(session_id: int = 77) -> Iterator[tuple[Session, Connection, ScriptedTransport]]:
    with session() as (one, connection, server):
        logging_on = start(one, server)
        header = {"steamid": STEAM_ID, "client_sessionid": session_id}
        server.say(emsg.CLIENT_LOG_ON_RESPONSE, accepted(cell_id=31), **header)
        logging_on.get()
        yield one, connection, server


def test_hello_tells_the_protocol() -> None:
    with session() as (one, _, server):
        one.hello()
        (hello,) = server.wait_emsg(emsg.CLIENT_HELLO)
        assert pb.CMsgClientHello.FromString(hello.body).protocol_version == 65580
        assert (hello.header.steamid, hello.header.client_sessionid) == (0, 0)


def test_a_log_on_names_the_account_in_its_header() -> None:
    with session() as (one, _, server):
        gevent.spawn(one.log_on, "abaddon", AUTH, PATIENCE_S)
        (request,) = server.wait_emsg(emsg.CLIENT_LOG_ON)
        assert (request.header.steamid, request.header.client_sessionid) == (STEAM_ID, 0)
        assert pb.CMsgClientLogon.FromString(request.body).access_token == "a.refresh.token"


@pytest.mark.parametrize("session_id", [77, -77])
def test_a_log_on_takes_its_session_from_the_answer(session_id: int) -> None:
    with logged_on(session_id) as (_, connection, server):
        assert (connection.steam_id, connection.session_id) == (STEAM_ID, session_id)
        (beat,) = server.wait_emsg(emsg.CLIENT_HEARTBEAT)
        assert beat.header.client_sessionid == session_id


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({"heartbeat_seconds": 30, "legacy_out_of_game_heartbeat_seconds": 9}, 30.0),
        ({"legacy_out_of_game_heartbeat_seconds": 12}, 12.0),
        ({}, 9.0),
        ({"heartbeat_seconds": -1}, 9.0),
    ],
)
def test_the_heartbeat_is_what_steam_says_or_nine_seconds(
    seconds: dict[str, int], expected: float
) -> None:
    with session() as (one, _, server):
        answer = pb.CMsgClientLogonResponse(eresult=1, **seconds)
        logging_on = start(one, server)
        server.say(emsg.CLIENT_LOG_ON_RESPONSE, answer, client_sessionid=1)
        assert logging_on.get().heartbeat_s == expected


@pytest.mark.parametrize("address", ["203.0.113.9", "2001:db8::7", None])
def test_the_public_ip_is_what_steam_sees(address: str | None) -> None:
    answer = accepted()
    if address is not None:
        ip = ipaddress.ip_address(address)
        if ip.version == 4:
            answer.public_ip.v4 = int(ip)
        else:
            answer.public_ip.v6 = ip.packed
    with session() as (one, _, server):
        logging_on = start(one, server)
        server.say(emsg.CLIENT_LOG_ON_RESPONSE, answer, client_sessionid=1)
        assert logging_on.get().public_ip == address


def test_where_steam_names_no_public_ip_another_name_is_charged() -> None:
    """The last one named to a connection from the same local address, or that address."""
    known: dict[str, str] = {}

    def log_on(local_ip: str, public_ip: str | None) -> tuple[str | None, str]:
        answer = accepted()
        if public_ip is not None:
            answer.public_ip.v4 = int(ipaddress.ip_address(public_ip))
        with connected() as (connection, server):
            connection.local_ip = local_ip
            logging_on = start(Session(connection, SteamTime(SystemClock()), known), server)
            server.say(emsg.CLIENT_LOG_ON_RESPONSE, answer, client_sessionid=1)
            logged_on = logging_on.get()
        return logged_on.public_ip, logged_on.egress_ip

    assert log_on("10.0.0.5", None) == (None, "10.0.0.5")
    assert log_on("10.0.0.5", "203.0.113.9") == ("203.0.113.9", "203.0.113.9")
    assert log_on("10.0.0.6", "203.0.113.10") == ("203.0.113.10", "203.0.113.10")
    assert log_on("10.0.0.5", None) == (None, "203.0.113.9")
    assert log_on("10.0.0.6", None) == (None, "203.0.113.10")
    assert log_on("2001:db8::7", None) == (None, "2001:db8::7")


def test_a_public_ip_of_an_odd_length_does_not_cost_the_log_on() -> None:
    answer = accepted()
    answer.public_ip.v6 = b"odd"
    with session() as (one, _, server):
        logging_on = start(one, server)
        server.say(emsg.CLIENT_LOG_ON_RESPONSE, answer, client_sessionid=1)
        assert logging_on.get().public_ip is None
        assert logging_on.get().egress_ip == server.local_ip


@pytest.mark.parametrize("eresult", [5, 15, 27, 84, 126, 131, 9999, 0])
def test_a_refusal_carries_its_number_known_or_not(eresult: int) -> None:
    with session() as (one, _, server):
        logging_on = start(one, server)
        server.say(emsg.CLIENT_LOG_ON_RESPONSE, pb.CMsgClientLogonResponse(eresult=eresult))
        with pytest.raises(LogOnRefused) as caught:
            logging_on.get()
        assert (caught.value.phase, caught.value.eresult) == ("logon", eresult)


def test_an_answer_without_a_result_is_a_failure() -> None:
    with session() as (one, _, server):
        logging_on = start(one, server)
        server.say(emsg.CLIENT_LOG_ON_RESPONSE, b"")
        with pytest.raises(LogOnRefused, match="result 2"):
            logging_on.get()


def test_an_answer_of_the_old_kind_is_trouble_of_the_server() -> None:
    with session() as (one, _, server):
        logging_on = start(one, server)
        server.say_raw(
            struct_message(emsg.CLIENT_LOG_ON_RESPONSE, struct.pack("<i", 5) + bytes(28))
        )
        with pytest.raises(SteamUnreachable) as caught:
            logging_on.get()
        assert (caught.value.phase, caught.value.eresult) == ("logon", 20)


@pytest.mark.parametrize(
    "body", [b"\xff", b"\x08", b"\x0a\x05ab", b"\x42\x02\xff\xfe", b"\x0b" * 900]
)
def test_an_answer_that_cannot_be_read_is_trouble_of_the_server(body: bytes) -> None:
    """An exception of the protobuf library would count as a bug of the bot."""
    with session() as (one, _, server):
        logging_on = start(one, server)
        server.say(emsg.CLIENT_LOG_ON_RESPONSE, body)
        with pytest.raises(SteamUnreachable):
            logging_on.get()


@pytest.mark.parametrize("eresult", [0, 6, 20, 34, 9999])
def test_being_logged_off_ends_the_connection_with_the_reason(eresult: int) -> None:
    with logged_on() as (_, connection, server):
        waiting = gevent.spawn(connection.wait, "match")
        server.say(emsg.CLIENT_LOGGED_OFF, pb.CMsgClientLoggedOff(eresult=eresult))
        waiting.join()
        assert waiting.exception.eresult == eresult


@pytest.mark.parametrize(
    ("body", "eresult"), [(struct.pack("<iii", 6, 0, 0), 6), (b"\x05\0\0\0", 5), (b"", 2)]
)
def test_being_logged_off_the_old_way_is_understood(body: bytes, eresult: int) -> None:
    with logged_on() as (_, connection, server):
        waiting = gevent.spawn(connection.wait, "match")
        server.say_raw(struct_message(emsg.CLIENT_LOGGED_OFF, body))
        waiting.join()
        assert waiting.exception.eresult == eresult


def test_an_unavailable_server_ends_the_connection() -> None:
    with logged_on() as (_, connection, server):
        waiting = gevent.spawn(connection.wait, "match")
        server.say_raw(
            struct_message(emsg.CLIENT_SERVER_UNAVAILABLE, struct.pack("<QIi", 0, 1, 20))
        )
        waiting.join()
        assert waiting.exception.eresult == 20


def test_log_off_waits_for_steams_goodbye() -> None:
    with logged_on() as (one, connection, server):
        leaving = gevent.spawn(one.log_off, 5)
        server.wait_emsg(emsg.CLIENT_LOG_OFF)
        assert not leaving.dead
        server.say(emsg.CLIENT_LOGGED_OFF, pb.CMsgClientLoggedOff(eresult=1))
        leaving.get()
        assert connection.death is None  # no event: the owner asked for it


def test_log_off_takes_a_close_for_a_goodbye() -> None:
    with logged_on() as (one, _, server):
        leaving = gevent.spawn(one.log_off, 5)
        server.wait_emsg(emsg.CLIENT_LOG_OFF)
        server.break_with(ConnectionResetError("closed"))
        leaving.get()


def test_log_off_does_not_wait_for_ever() -> None:
    with logged_on() as (one, _, server):
        one.log_off(0.02)
        assert server.wait_emsg(emsg.CLIENT_LOG_OFF)


def test_log_off_without_a_session_says_nothing() -> None:
    with session() as (one, _, server):
        one.log_off(5)
        gevent.sleep(0)
        assert not server.received
