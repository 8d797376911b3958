"""The WebSocket transport over a socket pair, with valid and invalid input."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest
from gevent import socket
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    RejectConnection,
    Request,
    TextMessage,
)

from actors.steam.port import Server, TransportKind
from actors.steam.protocol.envelope import ParseError
from actors.steam.transport import websocket
from actors.steam.transport.websocket import WebSocketTransport

SERVER = Server("cm.example:27020", "cm.example", "127.0.0.1", 27020, TransportKind.WEBSOCKET)


class OtherEnd:
    """A WebSocket server on one socket."""

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        self.protocol = WSConnection(ConnectionType.SERVER)

    def next(self) -> Any:
        while (event := next(self.protocol.events(), None)) is None:
            data = self.sock.recv(65536)
            assert data, "the client closed"
            self.protocol.receive_data(data)
        return event

    def say(self, *events: Any) -> None:
        self.sock.sendall(b"".join(self.protocol.send(event) for event in events))


@contextmanager
def sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtherEnd]:
    """Give the next transport one end of a pair; return the other end."""
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(websocket, "dial", lambda _: ours)
    monkeypatch.setattr(websocket, "_secure", lambda sock, *_: sock)
    try:
        with gevent.Timeout(5):
            yield OtherEnd(theirs)
    finally:
        ours.close()
        theirs.close()


@contextmanager
def connected(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[WebSocketTransport, OtherEnd]]:
    with sockets(monkeypatch) as other:
        connecting = gevent.spawn(WebSocketTransport, SERVER, None)
        assert isinstance(other.next(), Request)
        other.say(AcceptConnection())
        transport = connecting.get()
        yield transport, other
        transport.close()


def fails_to_connect(connecting: Any, error: type[Exception]) -> str:
    with pytest.raises(error) as caught:
        connecting.get()
    return str(caught.value)


def test_the_upgrade_names_host_port_and_path(monkeypatch: pytest.MonkeyPatch) -> None:
    with sockets(monkeypatch) as other:
        connecting = gevent.spawn(WebSocketTransport, SERVER, None)
        request = other.next()
        assert (request.host, request.target) == ("cm.example:27020", "/cmsocket/")
        assert request.subprotocols == []
        connecting.kill()


def test_the_usual_port_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = Server("cm.example:443", "cm.example", "127.0.0.1", 443, TransportKind.WEBSOCKET)
    with sockets(monkeypatch) as other:
        connecting = gevent.spawn(WebSocketTransport, usual, None)
        assert other.next().host == "cm.example"
        connecting.kill()


def test_messages_go_both_ways_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    large = bytes(range(256)) * 2000
    with connected(monkeypatch) as (transport, other):
        transport.send(b"to the server")
        assert other.next().data == b"to the server"
        other.say(BytesMessage(b"one"), BytesMessage(b"two"))
        gevent.spawn(other.say, BytesMessage(large))
        assert [transport.receive() for _ in range(3)] == [b"one", b"two", large]


def test_a_message_in_fragments_with_a_ping_between_is_put_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with connected(monkeypatch) as (transport, other):
        other.say(
            BytesMessage(b"fir", message_finished=False),
            Ping(b"are you there"),
            BytesMessage(b"", message_finished=False),
            BytesMessage(b"st", message_finished=True),
            BytesMessage(b"second"),
        )
        assert [transport.receive(), transport.receive()] == [b"first", b"second"]
        pong = other.next()
        assert isinstance(pong, Pong)
        assert pong.payload == b"are you there"


def test_text_carries_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with connected(monkeypatch) as (transport, other):
        other.say(TextMessage("hello"), BytesMessage(b"bytes"))
        assert transport.receive() == b"bytes"


def test_keeping_alive_is_a_ping(monkeypatch: pytest.MonkeyPatch) -> None:
    with connected(monkeypatch) as (transport, other):
        transport.keep_alive()
        assert isinstance(other.next(), Ping)


def test_a_close_frame_ends_reading_and_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    with connected(monkeypatch) as (transport, other):
        other.say(CloseConnection(code=1001))
        with pytest.raises(OSError, match="closed"):
            transport.receive()
        with pytest.raises(OSError, match="closed"):
            transport.send(b"too late")


def test_the_end_of_the_stream_ends_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    with connected(monkeypatch) as (transport, other):
        other.sock.close()
        with pytest.raises(OSError, match="closed"):
            transport.receive()


def test_a_message_without_end_is_not_collected_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "MAX_MESSAGE", 10_000)
    with connected(monkeypatch) as (transport, other):
        gevent.spawn(other.say, *[BytesMessage(bytes(900), message_finished=False)] * 20)
        with pytest.raises(ParseError, match="too large"):
            transport.receive()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x83\x00",  # a reserved opcode
        b"\xf2\x00",  # reserved bits
        b"\x80\x00",  # a continuation of nothing
        b"\x82\x80\x00\x00\x00\x00",  # a server does not mask
        b"\x81\x02\xff\xfe",  # text that is none
    ],
)
def test_frames_that_break_the_rules_are_garbage(
    monkeypatch: pytest.MonkeyPatch, garbage: bytes
) -> None:
    with connected(monkeypatch) as (transport, other):
        other.sock.sendall(garbage)
        with pytest.raises(OSError, match=r"code 100[27]"):
            transport.receive()


def test_a_refused_upgrade_is_told_with_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    with sockets(monkeypatch) as other:
        connecting = gevent.spawn(WebSocketTransport, SERVER, None)
        other.next()
        other.say(RejectConnection(status_code=503))
        assert "503" in fails_to_connect(connecting, ParseError)


@pytest.mark.parametrize("answer", [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"\x00" * 99])
def test_who_does_not_speak_websocket_is_garbage(
    monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    with sockets(monkeypatch) as other:
        connecting = gevent.spawn(WebSocketTransport, SERVER, None)
        other.next()
        other.sock.sendall(answer)
        fails_to_connect(connecting, ParseError)


def test_headers_without_end_are_not_collected_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    with sockets(monkeypatch) as other:
        connecting = gevent.spawn(WebSocketTransport, SERVER, None)
        other.next()
        writing = gevent.spawn(other.sock.sendall, b"HTTP/1.1 101 X\r\na: " + b"b" * 500_000)
        fails_to_connect(connecting, ParseError)
        writing.kill()


def test_writers_do_not_mix_their_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    messages = [bytes([number]) * 200_000 for number in range(8)]
    with connected(monkeypatch) as (transport, other):
        writing = [gevent.spawn(transport.send, one) for one in messages]
        found: list[bytes] = []
        part = b""
        while len(found) < len(messages):
            event = other.next()
            part += event.data
            if event.message_finished:
                found.append(part)
                part = b""
        gevent.joinall(writing)
    assert sorted(found) == messages
