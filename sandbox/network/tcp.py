"""CM behind TCP: VT01 frames, channel encryption, Steam messages."""

from __future__ import annotations

import asyncio
import os
import struct
from typing import Final

from sandbox.control.faults import Faults
from sandbox.network import channel, dispatch
from sandbox.network.cm import Place
from sandbox.network.connection import DropMode, break_handshake, reset
from sandbox.network.corruption import OF_FRAMES, Corruption, message
from sandbox.network.ports import ReservedPort
from sandbox.steam.session import Session

KIND: Final = "netfilter"
MAGIC: Final = b"VT01"
MAX_MESSAGE: Final = 16 * 1024 * 1024
MAX_QUEUED: Final = 64 * 1024 * 1024
HUGE: Final = 0x7FFFFFFF
LINGER_S: Final = 1.0  # for a client to read the last words and close, too
_HEAD: Final = struct.Struct("<I4s")


def frame(payload: bytes) -> bytes:
    """Put length and magic before a payload."""
    return _HEAD.pack(len(payload), MAGIC) + payload


class TcpLink(asyncio.Protocol):
    """One client's TCP connection: framing, encryption, and the session behind them."""

    transport_name = KIND

    def __init__(self, place: Place) -> None:
        self.cm = place.name
        self.source = ""
        self._place = place
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._session: Session | None = None
        self._channel: channel.Channel | None = None
        self._challenge = os.urandom(channel.CHALLENGE_SIZE)
        self._is_frozen = False  # half open, or silent from the start
        self._is_closing = False

    # --- asyncio.Protocol ---------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Speak first: the CM asks for encryption."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("not a stream")
        self._transport = transport
        self.source = transport.get_extra_info("peername")[0]
        self._session = Session(self._place.services, self._place.sessions, self)
        if self._place.services.faults.take("accept_and_silence", cm=self.cm):
            self._is_frozen = True
            return
        hello = frame(channel.request(self._challenge))
        how = self._place.services.faults.take("close_handshake", cm=self.cm)
        if how is not None:
            break_handshake(transport, how, hello[: len(hello) // 2])
            return
        transport.write(hello)

    def data_received(self, data: bytes) -> None:
        """Cut frames out of the stream."""
        session = self._session
        if self._is_deaf or session is None:
            return
        self._buffer += data
        try:
            while not self._is_deaf and (payload := self._next()) is not None:
                self._serve(session, payload)
        except channel.ChannelError as error:
            session.violate(f"channel: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the session."""
        if self._session is not None:
            self._session.lost("client_closed" if exc is None else "transport_lost")

    # --- Link ---------------------------------------------------------------------------------
    def send(self, message: bytes) -> None:
        """Encrypt and frame one message."""
        if self._channel is not None:
            self._write(frame(self._channel.encrypt(message)))

    def close(self) -> None:
        """Send what is queued, then close.

        Only our half at first: to close a socket in which something lies unread is a reset, and that
        takes what the client has not read yet, the reason of its log-off, away from it.
        """
        transport = self._transport
        if transport is None or self._is_deaf or transport.is_closing():
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

    def send_flawed(self, flaw: Corruption) -> None:
        """Send bytes that are wrong in this way."""
        if self._channel is None:
            return
        if flaw not in OF_FRAMES:
            self.send(message(flaw))
            return
        sealed = bytearray(self._channel.encrypt(b"\0" * 64))
        sealed[0] ^= flaw is Corruption.HMAC  # another IV: the check over the plain text fails
        size = HUGE if flaw is Corruption.LENGTH else len(sealed)
        self._write(_HEAD.pack(size, b"VT02" if flaw is Corruption.MAGIC else MAGIC) + sealed)

    def destroy(self) -> None:
        """Let go of the socket at once."""
        if self._transport is not None:
            self._transport.abort()

    # --- inside -------------------------------------------------------------------------------
    @property
    def _is_deaf(self) -> bool:
        return self._is_frozen or self._is_closing

    def _next(self) -> bytes | None:
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

    def _serve(self, session: Session, payload: bytes) -> None:
        if self._channel is not None:
            dispatch.receive(session, self._channel.decrypt(payload))
            return
        key = self._place.services.keys.universe
        opened = channel.accept(payload, self._challenge, key)
        self._write(frame(channel.result()))
        self._channel = opened

    def _write(self, data: bytes) -> None:
        transport = self._transport
        if self._is_deaf or transport is None or transport.is_closing():
            return
        if transport.get_write_buffer_size() > MAX_QUEUED:
            reset(transport)
            return
        transport.write(data)


class TcpCm:
    """One CM."""

    kind = KIND

    def __init__(self, place: Place) -> None:
        self.name = place.name
        self._place = place
        self._reserved = ReservedPort()
        self.port = self._reserved.number
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Start to listen."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: TcpLink(self._place), sock=self._reserved.listener()
        )

    async def obey(self, faults: Faults) -> None:
        """Stop or start to listen."""
        if faults.is_on("refuse_connect", cm=self.name):
            self._refuse()
        elif self._server is None:
            await self.open()

    async def close(self) -> None:
        """Stop for good."""
        self._refuse()
        self._reserved.close()

    def _refuse(self) -> None:
        if self._server is not None:
            server, self._server = self._server, None
            server.close()
