"""The TCP transport over a socket pair, against a second implementation and invalid input."""

from __future__ import annotations

import hashlib
import hmac
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest
from Cryptodome.PublicKey import RSA
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from gevent import socket

from actors.steam.port import Server, TransportKind
from actors.steam.protocol.wire import ParseError
from actors.steam.transport import tcp
from actors.steam.transport.base import Trust
from actors.steam.transport.tcp import TcpTransport

SERVER = Server("127.0.0.1:27017", "127.0.0.1", "127.0.0.1", 27017, TransportKind.TCP)
KEY = RSA.generate(1024)  # noqa: S505 - the size that Valve's universe key has
PRIVATE: Any = load_pem_private_key(KEY.export_key(), None)
TRUST = Trust(None, KEY.public_key())
CHALLENGE = bytes(range(16))
HEADER = struct.Struct("<Iqq")


def framed(payload: bytes) -> bytes:
    return struct.pack("<I", len(payload)) + b"VT01" + payload


def request(emsg: int = 1303) -> bytes:
    return framed(HEADER.pack(emsg, -1, -1) + struct.pack("<II", 1, 1) + CHALLENGE)


def result(eresult: int = 1, emsg: int = 1305) -> bytes:
    return framed(HEADER.pack(emsg, -1, -1) + struct.pack("<I", eresult))


class OtherEnd:
    """A CM on one socket, with cryptography's primitives instead of the steam package's."""

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        self.key = b""

    def exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.sock.recv(size - len(data))
            assert more, "the client closed"
            data += more
        return data

    def frame(self) -> bytes:
        size, magic = struct.unpack("<I4s", self.exactly(8))
        assert magic == b"VT01"
        return self.exactly(size)

    def take_key(self) -> None:
        message = self.frame()
        assert len(message) == 164
        assert HEADER.unpack_from(message) == (1304, -1, -1)
        protocol, size = struct.unpack_from("<II", message, 20)
        blob = message[28:156]
        assert (protocol, size) == (1, 128)
        assert struct.unpack_from("<II", message, 156) == (zlib.crc32(blob), 0)
        oaep = padding.OAEP(padding.MGF1(SHA1()), SHA1(), None)  # noqa: S303 - the protocol's choice
        plain = PRIVATE.decrypt(blob, oaep)
        assert plain[32:] == CHALLENGE
        self.key = plain[:32]

    def sealed(self, plain: bytes, salt: bytes = b"abc") -> bytes:
        digest = hmac.new(self.key[:16], salt + plain, hashlib.sha1).digest()
        iv = digest[:13] + salt
        pad = PKCS7(128).padder()
        ecb = Cipher(algorithms.AES(self.key), modes.ECB()).encryptor()  # noqa: S305 - as above
        cbc = Cipher(algorithms.AES(self.key), modes.CBC(iv)).encryptor()
        return ecb.update(iv) + cbc.update(pad.update(plain) + pad.finalize())

    def opened(self, data: bytes) -> bytes:
        iv = Cipher(algorithms.AES(self.key), modes.ECB()).decryptor().update(data[:16])  # noqa: S305 - as above
        cbc = Cipher(algorithms.AES(self.key), modes.CBC(iv)).decryptor()
        unpad = PKCS7(128).unpadder()
        plain = unpad.update(cbc.update(data[16:])) + unpad.finalize()
        assert hmac.new(self.key[:16], iv[13:] + plain, hashlib.sha1).digest()[:13] == iv[:13]
        return plain


@contextmanager
def connecting(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, OtherEnd]]:
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(tcp, "dial", lambda _: ours)
    try:
        with gevent.Timeout(5):
            yield gevent.spawn(TcpTransport, SERVER, TRUST), OtherEnd(theirs)
    finally:
        ours.close()
        theirs.close()


@contextmanager
def connected(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[TcpTransport, OtherEnd]]:
    with connecting(monkeypatch) as (starting, other):
        other.sock.sendall(request())
        other.take_key()
        other.sock.sendall(result())
        yield starting.get(), other


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 1000, 100_000])
def test_messages_go_both_ways_sealed(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    message = bytes(n % 251 for n in range(size))
    with connected(monkeypatch) as (transport, other):
        gevent.spawn(transport.send, message)
        sent = other.frame()
        assert message == other.opened(sent)
        assert size < 16 or message not in sent
        gevent.spawn(other.sock.sendall, framed(other.sealed(message)))
        assert transport.receive() == message


def test_messages_cut_anywhere_on_the_way_are_put_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with connected(monkeypatch) as (transport, other):
        stream = framed(other.sealed(b"first")) + framed(other.sealed(b"second"))

        def trickle() -> None:
            for byte in stream:
                other.sock.sendall(bytes([byte]))
                gevent.sleep(0)

        gevent.spawn(trickle)
        assert [transport.receive(), transport.receive()] == [b"first", b"second"]
        other.sock.sendall(stream)
        assert [transport.receive(), transport.receive()] == [b"first", b"second"]


@pytest.mark.parametrize(
    "said",
    [
        b"VT01" + request(),  # out of step
        struct.pack("<I4s", 0x7FFFFFFF, b"VT01"),
        request(emsg=1305),
        framed(b"short"),
        framed(HEADER.pack(1303, -1, -1) + b"no challenge"),
        framed(struct.pack("<II", 757 | 0x80000000, 0)),  # protobuf before the channel is secured
    ],
)
def test_a_server_that_begins_otherwise_is_garbage(
    monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    with connecting(monkeypatch) as (starting, other):
        other.sock.sendall(said)
        with pytest.raises(ParseError):
            starting.get()


@pytest.mark.parametrize("said", [result(eresult=2), result(emsg=1303), framed(b"short")])
def test_a_server_that_refuses_the_key_is_garbage(
    monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    with connecting(monkeypatch) as (starting, other):
        other.sock.sendall(request())
        other.take_key()
        other.sock.sendall(said)
        with pytest.raises(ParseError):
            starting.get()


@pytest.mark.parametrize("cut", [0, 3, 8, 20])
def test_a_server_that_closes_during_the_handshake_is_gone(
    monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    with connecting(monkeypatch) as (starting, other):
        other.sock.sendall(request()[:cut])
        other.sock.close()
        with pytest.raises(OSError, match="closed"):
            starting.get()


def broken(other: OtherEnd, how: str) -> bytes:
    sealed = bytearray(other.sealed(b"a message of some length"))
    match how:
        case "first bit":
            sealed[0] ^= 1
        case "last bit":
            sealed[-1] ^= 1
        case "another text":
            sealed[20] ^= 1
        case "cut":
            del sealed[-3:]
        case "no body":
            del sealed[16:]
        case "half an iv":
            del sealed[7:]
        case _:
            sealed.clear()
    return bytes(sealed)


@pytest.mark.parametrize(
    "how", ["first bit", "last bit", "another text", "cut", "no body", "half an iv", "empty"]
)
def test_a_frame_that_was_touched_is_garbage(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    with connected(monkeypatch) as (transport, other):
        other.sock.sendall(framed(broken(other, how)))
        with pytest.raises(ParseError, match="decrypt"):
            transport.receive()


def test_a_huge_frame_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with connected(monkeypatch) as (transport, other):
        other.sock.sendall(struct.pack("<I4s", 0x7FFFFFFF, b"VT01"))
        with pytest.raises(ParseError, match="too large"):
            transport.receive()


def test_the_end_of_the_stream_ends_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    with connected(monkeypatch) as (transport, other):
        other.sock.sendall(framed(other.sealed(b"half"))[:-5])
        other.sock.close()
        with pytest.raises(OSError, match="closed"):
            transport.receive()
