"""Both transports against a scripted socket: messages arrive, other input is rejected.

The other end is wsproto's server and the handshake as `tcp.js` of node-steam-user has it; the network
cuts everything into pieces of any size.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from Cryptodome.PublicKey import RSA
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from steam.core.crypto import (
    PKCS1_OAEP,
    SHA1,
    symmetric_decrypt_HMAC,
    symmetric_encrypt_HMAC,
)
from wsproto import ConnectionType, WSConnection
from wsproto import events as ws

from actors.steam.port import Server, TransportKind
from actors.steam.protocol import envelope
from actors.steam.protocol.wire import ParseError
from actors.steam.transport import tcp, websocket
from actors.steam.transport.base import Trust
from actors.steam.transport.tcp import TcpTransport
from actors.steam.transport.websocket import WebSocketTransport

KEY = RSA.generate(1024)  # noqa: S505 - as large as Valve's own
NO_JOB = b"\xff" * 8
messages = st.lists(st.binary(min_size=1, max_size=3000), max_size=5)
cuts = st.integers(1, 4000)
PATCHED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


class ScriptedSocket:
    """What the transports need of a socket; `reply` is the other end."""

    def __init__(self, reply: Callable[[bytes], bytes], cut: int) -> None:
        self._reply = reply
        self._cut = cut
        self._incoming = bytearray()
        self.is_closed = False

    def sendall(self, data: bytes) -> None:
        self._incoming += self._reply(data)

    def recv(self, _size: int) -> bytes:
        piece = bytes(self._incoming[: self._cut])
        del self._incoming[: self._cut]
        return piece

    def push(self, data: bytes) -> None:
        self._incoming += data

    def do_handshake(self) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True


class NoTls:
    def wrap_socket(self, sock: Any, **_: object) -> Any:
        return sock


def server_for(transport: TransportKind) -> Server:
    return Server("cm.example:443", "cm.example", "127.0.0.1", 443, transport)


def drain(transport: WebSocketTransport | TcpTransport) -> None:
    while True:
        transport.receive()


# -- WebSocket -------------------------------------------------------------------------------------


class WebSocketEnd:
    """wsproto's server; `hostile` is sent right after the upgrade."""

    def __init__(self, hostile: bytes = b"") -> None:
        self.protocol = WSConnection(ConnectionType.SERVER)
        self.received: list[Any] = []
        self._hostile = hostile

    def reply(self, data: bytes) -> bytes:
        self.protocol.receive_data(data)
        out = b""
        for event in self.protocol.events():
            if isinstance(event, ws.Request):
                assert event.target == "/cmsocket/"
                assert event.host == "cm.example"
                out += self.protocol.send(ws.AcceptConnection()) + self._hostile
            else:
                self.received.append(event)
        return out


def open_websocket(
    patch: pytest.MonkeyPatch, reply: Callable[[bytes], bytes], cut: int
) -> tuple[WebSocketTransport, ScriptedSocket]:
    sock = ScriptedSocket(reply, cut)
    patch.setattr(websocket, "dial", lambda _server: sock)
    return WebSocketTransport(server_for(TransportKind.WEBSOCKET), Trust(NoTls(), None)), sock


@PATCHED
@given(whole=messages, cut=cuts, part=st.integers(1, 1000))
def test_websocket_messages_arrive_whole_and_in_order(
    monkeypatch: pytest.MonkeyPatch, whole: list[bytes], cut: int, part: int
) -> None:
    """In any fragmentation, with pings and text between them."""
    end = WebSocketEnd()
    transport, sock = open_websocket(monkeypatch, end.reply, cut)
    for message in whole:
        pieces = [message[at : at + part] for at in range(0, len(message), part)]
        for number, piece in enumerate(pieces, start=1):
            last = number == len(pieces)
            sock.push(end.protocol.send(ws.BytesMessage(piece, message_finished=last)))
            sock.push(end.protocol.send(ws.Ping(b"are you there")))
        sock.push(end.protocol.send(ws.TextMessage("hello")))
    assert [transport.receive() for _ in whole] == whole
    with pytest.raises(ConnectionResetError):
        transport.receive()
    pongs = [one for one in end.received if isinstance(one, ws.Pong)]
    assert len(pongs) == sum(-(-len(one) // part) for one in whole)


@PATCHED
@given(whole=messages)
def test_websocket_messages_leave_whole(
    monkeypatch: pytest.MonkeyPatch, whole: list[bytes]
) -> None:
    end = WebSocketEnd()
    transport, _ = open_websocket(monkeypatch, end.reply, 4096)
    for message in whole:
        transport.send(message)
    transport.keep_alive()
    *binary, ping = end.received
    assert [bytes(one.data) for one in binary if one.message_finished] == whole
    assert isinstance(ping, ws.Ping)


@PATCHED
@given(hostile=st.binary(max_size=300), cut=cuts)
def test_garbage_after_the_upgrade_is_a_parse_error_or_an_end(
    monkeypatch: pytest.MonkeyPatch, hostile: bytes, cut: int
) -> None:
    end = WebSocketEnd(hostile)

    def reply(data: bytes) -> bytes:
        return b"" if end.protocol.state.name != "CONNECTING" else end.reply(data)

    def open_and_drain() -> None:
        drain(open_websocket(monkeypatch, reply, cut)[0])

    with pytest.raises((ParseError, OSError)):
        open_and_drain()


@PATCHED
@given(hostile=st.binary(max_size=300) | st.just(b"HTTP/1.1 403 Forbidden\r\n\r\n"), cut=cuts)
def test_garbage_instead_of_the_upgrade_closes_the_socket(
    monkeypatch: pytest.MonkeyPatch, hostile: bytes, cut: int
) -> None:
    sock = ScriptedSocket(lambda _: hostile, cut)
    monkeypatch.setattr(websocket, "dial", lambda _server: sock)
    with pytest.raises((ParseError, OSError)):
        WebSocketTransport(server_for(TransportKind.WEBSOCKET), Trust(NoTls(), None))
    assert sock.is_closed


def test_a_websocket_message_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "MAX_MESSAGE", 1000)
    end = WebSocketEnd()
    transport, sock = open_websocket(monkeypatch, end.reply, 4096)
    for _ in range(11):
        sock.push(end.protocol.send(ws.BytesMessage(bytes(100), message_finished=False)))
    with pytest.raises(ParseError, match="too large"):
        transport.receive()


def test_many_websocket_messages_may_be_larger_together_than_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(websocket, "MAX_MESSAGE", 1000)
    end = WebSocketEnd()
    transport, sock = open_websocket(monkeypatch, end.reply, 4096)
    for _ in range(5):
        sock.push(end.protocol.send(ws.BytesMessage(bytes(900))))
    assert [len(transport.receive()) for _ in range(5)] == [900] * 5


# -- TCP ---------------------------------------------------------------------------------------------


def frame(payload: bytes) -> bytes:
    return struct.pack("<I4s", len(payload), b"VT01") + payload


class TcpEnd:
    """Sends first, checks the key, then encrypts."""

    challenge = bytes(range(16))

    def __init__(self) -> None:
        self.key = b""
        self.received: list[bytes] = []

    def hello(self) -> bytes:
        header = struct.pack("<I", 1303) + NO_JOB * 2
        return frame(header + struct.pack("<II", 1, 1) + self.challenge)

    def reply(self, data: bytes) -> bytes:
        size, magic = struct.unpack_from("<I4s", data)
        payload = data[8:]
        assert (size, magic) == (len(payload), b"VT01")
        if self.key:
            self.received.append(symmetric_decrypt_HMAC(payload, self.key, self.key[:16]))
            return b""
        assert payload[:28] == struct.pack("<I", 1304) + NO_JOB * 2 + struct.pack("<II", 1, 128)
        blob = payload[28:156]
        assert payload[156:] == struct.pack("<II", zlib.crc32(blob), 0)
        plain = PKCS1_OAEP.new(KEY, SHA1).decrypt(blob)
        assert plain[32:] == self.challenge
        self.key = plain[:32]
        return frame(struct.pack("<I", 1305) + NO_JOB * 2 + struct.pack("<I", 1))

    def seal(self, message: bytes) -> bytes:
        return frame(symmetric_encrypt_HMAC(message, self.key, self.key[:16]))


def open_tcp(patch: pytest.MonkeyPatch, cut: int) -> tuple[TcpTransport, ScriptedSocket, TcpEnd]:
    end = TcpEnd()
    sock = ScriptedSocket(end.reply, cut)
    sock.push(end.hello())
    patch.setattr(tcp, "dial", lambda _server: sock)
    trust = Trust(None, KEY.public_key())
    return TcpTransport(server_for(TransportKind.TCP), trust), sock, end


@PATCHED
@given(there=messages, back=messages, cut=cuts)
def test_tcp_messages_arrive_whole_and_in_order_both_ways(
    monkeypatch: pytest.MonkeyPatch, there: list[bytes], back: list[bytes], cut: int
) -> None:
    transport, sock, end = open_tcp(monkeypatch, cut)
    for message in there:
        transport.send(message)
    assert end.received == there
    for message in back:
        sock.push(end.seal(message))
    assert [transport.receive() for _ in back] == back
    with pytest.raises(ConnectionResetError):
        transport.receive()


@PATCHED
@given(hostile=st.binary(max_size=200), framed=st.booleans(), cut=cuts)
def test_garbage_in_the_channel_is_a_parse_error_or_an_end(
    monkeypatch: pytest.MonkeyPatch, *, hostile: bytes, framed: bool, cut: int
) -> None:
    transport, sock, _ = open_tcp(monkeypatch, cut)
    sock.push(frame(hostile) if framed else hostile)
    with pytest.raises((ParseError, OSError)):
        drain(transport)


@PATCHED
@given(
    message=st.binary(min_size=1, max_size=100), at=st.integers(0, 10_000), bit=st.integers(0, 7)
)
def test_one_bit_turned_over_is_noticed(
    monkeypatch: pytest.MonkeyPatch, message: bytes, at: int, bit: int
) -> None:
    transport, sock, end = open_tcp(monkeypatch, 4096)
    sealed = bytearray(end.seal(message))
    sealed[8 + at % (len(sealed) - 8)] ^= 1 << bit
    sock.push(bytes(sealed))
    with pytest.raises(ParseError):
        transport.receive()


@PATCHED
@given(
    hostile=st.binary(max_size=300)
    | st.binary(max_size=300).map(frame)
    | st.just(frame(struct.pack("<I", 1305) + NO_JOB * 2 + struct.pack("<I", 1))),
    cut=cuts,
)
def test_garbage_instead_of_the_handshake_closes_the_socket(
    monkeypatch: pytest.MonkeyPatch, hostile: bytes, cut: int
) -> None:
    sock = ScriptedSocket(lambda _: b"", cut)
    sock.push(hostile)
    monkeypatch.setattr(tcp, "dial", lambda _server: sock)
    with pytest.raises((ParseError, OSError)):
        TcpTransport(server_for(TransportKind.TCP), Trust(None, KEY.public_key()))
    assert sock.is_closed


@pytest.mark.parametrize("eresult", [0, 2, 84])
def test_a_channel_that_is_refused_is_told(monkeypatch: pytest.MonkeyPatch, eresult: int) -> None:
    end = TcpEnd()
    refusal = frame(struct.pack("<I", 1305) + NO_JOB * 2 + struct.pack("<I", eresult))
    sock = ScriptedSocket(lambda _: refusal, 4096)
    sock.push(end.hello())
    monkeypatch.setattr(tcp, "dial", lambda _server: sock)
    with pytest.raises(ParseError, match=f"result {eresult}"):
        TcpTransport(server_for(TransportKind.TCP), Trust(None, KEY.public_key()))
    assert sock.is_closed


@pytest.mark.parametrize("size", [envelope.MAX_MESSAGE + 1, 2**31, 2**32 - 1])
def test_a_length_beyond_the_limit_is_refused_before_it_is_read(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    transport, sock, _ = open_tcp(monkeypatch, 4096)
    sock.push(struct.pack("<I4s", size, b"VT01"))
    with pytest.raises(ParseError, match="too large"):
        transport.receive()
