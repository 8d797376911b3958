"""Steam over TCP: VT01 frames and channel encryption.

The server sends first. The session key is encrypted with the universe's public key; after that every
payload is AES with an HMAC as IV, as in the `steam` package's crypto.
"""

from __future__ import annotations

import struct
import zlib
from os import urandom
from typing import Any, Final

from steam.core.crypto import PKCS1_OAEP, SHA1, symmetric_decrypt_HMAC, symmetric_encrypt_HMAC

from actors.steam.port import Server
from actors.steam.protocol.emsg import (
    CHANNEL_ENCRYPT_REQUEST,
    CHANNEL_ENCRYPT_RESPONSE,
    CHANNEL_ENCRYPT_RESULT,
)
from actors.steam.protocol.envelope import MAX_MESSAGE, NO_JOB
from actors.steam.protocol.wire import ParseError
from actors.steam.transport.base import CHUNK, Trust, dial

MAGIC: Final = b"VT01"
PROTOCOL: Final = 1
HMAC_KEY_SIZE: Final = 16
_FRAME = struct.Struct("<I4s")
# Each begins with emsg, target job, source job.
_REQUEST = struct.Struct("<IQQII16s")  # protocol, universe, challenge
_RESPONSE = struct.Struct("<IQQII")  # protocol, size of the RSA blob
_RESULT = struct.Struct("<IQQI")  # eresult
_OK: Final = 1


class TcpTransport:
    """Transport over TCP with the encrypted channel."""

    def __init__(self, server: Server, trust: Trust) -> None:
        """Connect and exchange a session key; the caller sets the time limit.

        Raises:
            OSError: refused, or closed during the handshake.
            ParseError: the server violates the protocol, or refuses the key.
        """
        self._buffer = bytearray()
        self._key: bytes | None = None
        self._sock: Any = dial(server)
        try:
            self._handshake(trust)
        except BaseException:
            self.close()
            raise

    @property
    def local_ip(self) -> str:
        """See Transport."""
        return str(self._sock.getsockname()[0])

    def send(self, message: bytes) -> None:
        """See Transport."""
        if self._key is not None:
            message = symmetric_encrypt_HMAC(message, self._key, self._key[:HMAC_KEY_SIZE])
        self._sock.sendall(_FRAME.pack(len(message), MAGIC) + message)

    def receive(self) -> bytes:
        """See Transport."""
        size, magic = _FRAME.unpack(self._exactly(_FRAME.size))
        if magic != MAGIC:
            raise ParseError("a frame does not begin with VT01")
        if size > MAX_MESSAGE:
            raise ParseError("a frame is too large")
        payload = self._exactly(size)
        return payload if self._key is None else self._decrypt(payload, self._key)

    def keep_alive(self) -> None:
        """Do nothing: the session's heartbeats suffice."""

    def close(self) -> None:
        """See Transport."""
        self._sock.close()

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            data = self._sock.recv(CHUNK)
            if not data:
                raise ConnectionResetError("the server closed the connection")
            self._buffer += data
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    @staticmethod
    def _decrypt(payload: bytes, key: bytes) -> bytes:
        try:
            return bytes(symmetric_decrypt_HMAC(payload, key, key[:HMAC_KEY_SIZE]))
        except (RuntimeError, ValueError, IndexError) as error:
            raise ParseError("a frame does not decrypt") from error

    def _handshake(self, trust: Trust) -> None:
        emsg, *_, challenge = self._receive_plain(_REQUEST)
        if emsg != CHANNEL_ENCRYPT_REQUEST:
            raise ParseError(f"message {emsg} before the channel is secured")
        session_key = urandom(32)
        blob = PKCS1_OAEP.new(trust.universe_key, SHA1).encrypt(session_key + challenge)
        head = _RESPONSE.pack(CHANNEL_ENCRYPT_RESPONSE, NO_JOB, NO_JOB, PROTOCOL, len(blob))
        self.send(head + blob + struct.pack("<II", zlib.crc32(blob), 0))
        emsg, _, _, eresult = self._receive_plain(_RESULT)
        if emsg != CHANNEL_ENCRYPT_RESULT or eresult != _OK:
            raise ParseError(f"the channel was refused (message {emsg}, result {eresult})")
        self._key = session_key

    def _receive_plain(self, layout: struct.Struct) -> tuple[Any, ...]:
        try:
            return layout.unpack_from(self.receive())
        except struct.error:
            raise ParseError("a message of the handshake is truncated") from None
