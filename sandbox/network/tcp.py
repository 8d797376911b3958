"""CM over TCP: VT01 frames and channel encryption."""

from __future__ import annotations

import asyncio
import os
import struct
from typing import Final

from sandbox.control.faults import Faults
from sandbox.network import channel, dispatch
from sandbox.network.cm import ConnectionManager
from sandbox.network.connection import DropMode, break_handshake, reset
from sandbox.network.corruption import OF_FRAMES, Corruption, message
from sandbox.steam.session import Session

KIND: Final = "netfilter"
MAGIC: Final = b"VT01"
MAX_MESSAGE: Final = 16 * 1024 * 1024
MAX_QUEUED: Final = 64 * 1024 * 1024
HUGE: Final = 0x7FFFFFFF
LINGER_S: Final = 1.0  # time for the client to read the last messages and close
_HEAD: Final = struct.Struct("<I4s")


def frame(payload: bytes) -> bytes:
    """Return a payload with length and magic in front."""
    return _HEAD.pack(len(payload), MAGIC) + payload


class TcpConnection(asyncio.Protocol):
    """TCP connection of one client: framing, encryption and its session."""

    transport_name = KIND

    def __init__(self, cm: ConnectionManager) -> None:
        self.cm = cm.name
        self.source = ""
        self._context = cm.context
        self._sessions = cm.sessions
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._session: Session | None = None
        self._channel: channel.Channel | None = None
        self._challenge = os.urandom(channel.CHALLENGE_SIZE)
        self._is_frozen = False  # half open: no bytes are read or sent
        self._is_closing = False

    # --- asyncio.Protocol ---------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Create the session and request encryption."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("not a stream")
        self._transport = transport
        self.source = transport.get_extra_info("peername")[0]
        self._session = Session(self._context, self._sessions, self)
        if self._context.faults.take("accept_and_silence", cm=self.cm):
            self._is_frozen = True
            return
        hello = frame(channel.request(self._challenge))
        mode = self._context.faults.take("close_handshake", cm=self.cm)
        if mode is not None:
            break_handshake(transport, mode, hello[: len(hello) // 2])
            return
        transport.write(hello)

    def data_received(self, data: bytes) -> None:
        """Handle every complete frame."""
        session = self._session
        if self._is_inactive or session is None:
            return
        self._buffer += data
        try:
            while not self._is_inactive and (payload := self._next_frame()) is not None:
                self._handle(session, payload)
        except channel.ChannelError as error:
            session.close_on_violation(f"channel: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        """End the session."""
        if self._session is not None:
            self._session.on_connection_lost("client_closed" if exc is None else "transport_lost")

    # --- ClientConnection ---------------------------------------------------------------------
    def send(self, message: bytes) -> None:
        """Encrypt and send one message."""
        if self._channel is not None:
            self._write(frame(self._channel.encrypt(message)))

    def close(self) -> None:
        """Send what is queued, then close.

        The sending half closes first: closing a socket with unread data sends RST, which makes the
        client lose messages that it has not read, such as the reason of its log-off.
        """
        transport = self._transport
        if transport is None or self._is_inactive or transport.is_closing():
            return
        self._is_closing = True
        transport.write_eof()
        asyncio.get_running_loop().call_later(LINGER_S, transport.close)

    def drop(self, mode: DropMode) -> None:
        """Break the connection."""
        if mode is DropMode.CLOSE:
            self.close()
        elif mode is DropMode.RESET:
            reset(self._transport)
        elif mode is DropMode.HALF_OPEN:
            self._is_frozen = True
        else:
            whole = frame(os.urandom(208))
            self._write(whole[: len(whole) // 2])
            self.close()

    def send_corrupted(self, corruption: Corruption) -> None:
        """Send invalid bytes."""
        if self._channel is None:
            return
        if corruption not in OF_FRAMES:
            self.send(message(corruption))
            return
        sealed = bytearray(self._channel.encrypt(b"\0" * 64))
        sealed[0] ^= corruption is Corruption.HMAC  # changes the IV, so the HMAC is wrong
        size = HUGE if corruption is Corruption.LENGTH else len(sealed)
        self._write(_HEAD.pack(size, b"VT02" if corruption is Corruption.MAGIC else MAGIC) + sealed)

    def abort(self) -> None:
        """Close the socket immediately."""
        if self._transport is not None:
            self._transport.abort()

    # --- inside -------------------------------------------------------------------------------
    @property
    def _is_inactive(self) -> bool:
        return self._is_frozen or self._is_closing

    def _next_frame(self) -> bytes | None:
        if len(self._buffer) < _HEAD.size:
            return None
        size, magic = _HEAD.unpack_from(self._buffer)
        if magic != MAGIC or size > MAX_MESSAGE:
            self._buffer.clear()
            raise channel.ChannelError("magic or length")
        end = _HEAD.size + size
        if len(self._buffer) < end:
            return None
        payload = bytes(self._buffer[_HEAD.size : end])
        del self._buffer[:end]
        return payload

    def _handle(self, session: Session, payload: bytes) -> None:
        if self._channel is not None:
            dispatch.receive(session, self._channel.decrypt(payload))
            return
        key = self._context.keys.universe
        opened = channel.accept(payload, self._challenge, key)
        self._write(frame(channel.result()))
        self._channel = opened

    def _write(self, data: bytes) -> None:
        transport = self._transport
        if self._is_inactive or transport is None or transport.is_closing():
            return
        if transport.get_write_buffer_size() > MAX_QUEUED:
            reset(transport)
            return
        transport.write(data)


class TcpCm(ConnectionManager):
    """A CM over TCP."""

    kind = KIND
    _server: asyncio.Server | None = None

    async def open(self) -> None:
        """Start to listen."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: TcpConnection(self), sock=self._reserved.listener()
        )

    async def apply_faults(self, faults: Faults) -> None:
        """Stop or start listening."""
        if faults.is_on("refuse_connect", cm=self.name):
            self._stop_listening()
        elif self._server is None:
            await self.open()

    async def close(self) -> None:
        """Stop listening and release the port."""
        self._stop_listening()
        self._reserved.close()

    def _stop_listening(self) -> None:
        if self._server is not None:
            server, self._server = self._server, None
            server.close()
