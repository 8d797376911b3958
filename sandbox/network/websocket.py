"""CM over WebSocket: wss on /cmsocket/, one binary frame per Steam message.

aiohttp does the upgrade and reads frames. This module writes frames to the transport itself, because
faults need incomplete and invalid frames.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Final

from aiohttp import WSMsgType, web

from sandbox.control.faults import Faults
from sandbox.network import dispatch
from sandbox.network.cm import ConnectionManager
from sandbox.network.connection import DropMode, break_handshake, reset
from sandbox.network.corruption import Corruption, message
from sandbox.steam.context import Context
from sandbox.steam.session import Session, Sessions

KIND: Final = "websockets"
MAX_MESSAGE: Final = 16 * 1024 * 1024
MAX_QUEUED: Final = 64 * 1024 * 1024  # a client that does not read is disconnected
HUGE: Final = 0x7FFFFFFF
_BINARY, _CLOSE, _PONG = 0x82, 0x88, 0x8A
_RESERVED_OPCODE, _RESERVED_BIT = 0x83, 0x20
_CLOSE_WAIT_S: Final = 1.0


def frame(opcode: int, payload: bytes) -> bytes:
    """Encode one unmasked frame (RFC 6455, section 5.2)."""
    size = len(payload)
    if size < 126:  # noqa: PLR2004 - RFC 6455: the second byte holds sizes up to 125
        return bytes((opcode, size)) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", opcode, 126, size) + payload
    return struct.pack("!BBQ", opcode, 127, size) + payload


class WebSocketConnection:
    """WebSocket connection of one client."""

    transport_name = KIND

    def __init__(self, transport: asyncio.Transport, cm: str, source: str) -> None:
        self.cm = cm
        self.source = source
        self.is_frozen = False
        self._transport = transport
        self._closing: asyncio.TimerHandle | None = None

    def send(self, message: bytes) -> None:
        """Send one binary frame."""
        self.write(frame(_BINARY, message))

    def write(self, data: bytes) -> None:
        """Write raw bytes, unless the connection is frozen or closing."""
        if self.is_frozen or self._closing is not None or self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() > MAX_QUEUED:
            reset(self._transport)
            return
        self._transport.write(data)

    def close(self) -> None:
        """Send a close frame; the socket closes after the client's answer or `_CLOSE_WAIT_S`."""
        if self.is_frozen or self._closing is not None:
            return
        self.write(frame(_CLOSE, struct.pack("!H", 1000)))
        loop = asyncio.get_running_loop()
        self._closing = loop.call_later(_CLOSE_WAIT_S, self._transport.close)

    def drop(self, mode: DropMode) -> None:
        """Break the connection."""
        if mode is DropMode.CLOSE:
            self.close()
        elif mode is DropMode.RESET:
            reset(self._transport)
        elif mode is DropMode.HALF_OPEN:
            self.is_frozen = True
        else:
            whole = frame(_BINARY, bytes(200))
            self.write(whole[: len(whole) // 2])
            self._transport.close()

    def send_corrupted(self, corruption: Corruption) -> None:
        """Send invalid bytes."""
        if corruption is Corruption.MAGIC:
            self.write(frame(_RESERVED_OPCODE, bytes(64)))
        elif corruption is Corruption.HMAC:
            self.write(frame(_BINARY | _RESERVED_BIT, bytes(64)))
        elif corruption is Corruption.LENGTH:
            self.write(struct.pack("!BBQ", _BINARY, 127, HUGE) + bytes(64))
        else:
            self.send(message(corruption))

    def close_socket(self) -> None:
        """Close the socket; called when reading has ended."""
        if self._closing is not None:
            self._closing.cancel()
        self._transport.close()

    def abort(self) -> None:
        """Close the socket immediately."""
        if self._closing is not None:
            self._closing.cancel()
        self._transport.abort()


class WebSocketCm(ConnectionManager):
    """A CM over WebSocket. With `accept_and_silence` it leaves the upgrade unanswered."""

    kind = KIND

    def __init__(self, name: str, context: Context, sessions: Sessions) -> None:
        super().__init__(name, context, sessions)
        self._stalled: set[asyncio.Event] = set()
        app = web.Application()
        app.router.add_get("/cmsocket/", self._on_socket)
        app.router.add_get("/cmping/", self._on_ping)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        self._site: web.SockSite | None = None
        self._is_untrusted = False

    async def open(self) -> None:
        """Start to listen."""
        if self._runner.server is None:
            await self._runner.setup()
        keys = self.context.keys
        tls = keys.untrusted_tls if self._is_untrusted else keys.tls
        self._site = web.SockSite(self._runner, self._reserved.listener(), ssl_context=tls)
        await self._site.start()

    async def apply_faults(self, faults: Faults) -> None:
        """Stop or start listening, with the trusted or the untrusted certificate."""
        untrusted = faults.is_on("tls_untrusted", cm=self.name)
        refuses = faults.is_on("refuse_connect", cm=self.name)
        if self._site is not None and (refuses or untrusted != self._is_untrusted):
            site, self._site = self._site, None
            await site.stop()
        self._is_untrusted = untrusted
        if self._site is None and not refuses:
            await self.open()

    async def close(self) -> None:
        """Stop listening and release the port."""
        for stopped in self._stalled:
            stopped.set()
        await self._runner.cleanup()
        self._site = None
        self._reserved.close()

    async def _on_ping(self, request: web.Request) -> web.Response:
        del request
        load = self.context.rng.randrange(10, 60)
        return web.Response(headers={"X-Steam-CMLoad": str(load)})

    async def _on_socket(self, request: web.Request) -> web.StreamResponse:
        if self.context.faults.take("accept_and_silence", cm=self.name):
            await self._stall()
        mode = self.context.faults.take("close_handshake", cm=self.name)
        if mode is not None:
            if request.transport is not None:
                break_handshake(request.transport, mode, b"HTTP/1.1 101 Swit")
            return web.Response()
        # `_read` answers pings and close frames, so that a half-open connection does not.
        socket = web.WebSocketResponse(
            autoping=False, autoclose=False, compress=False, max_msg_size=MAX_MESSAGE
        )
        await socket.prepare(request)
        transport = request.transport
        if not isinstance(transport, asyncio.Transport):
            return socket
        connection = WebSocketConnection(transport, self.name, request.remote or "")
        session = Session(self.context, self.sessions, connection)
        reason = "transport_lost"
        try:
            reason = await _read(socket, connection, session)
        finally:
            session.on_connection_lost(reason)
            connection.close_socket()
        return socket

    async def _stall(self) -> None:
        stopped = asyncio.Event()
        self._stalled.add(stopped)
        try:
            await stopped.wait()
        finally:
            self._stalled.discard(stopped)


async def _read(
    socket: web.WebSocketResponse, connection: WebSocketConnection, session: Session
) -> str:
    """Pass messages to the session until the socket ends; return the reason."""
    while True:
        received = await socket.receive()
        kind = received.type
        if connection.is_frozen:
            if kind in {WSMsgType.CLOSED, WSMsgType.CLOSING, WSMsgType.ERROR}:
                return "client_gone"
            continue
        if kind is WSMsgType.BINARY:
            dispatch.receive(session, received.data)
        elif kind is WSMsgType.PING:
            connection.write(frame(_PONG, bytes(received.data)))
        elif kind is WSMsgType.CLOSE:
            connection.close()
            return "client_closed"
        elif kind is WSMsgType.TEXT:
            session.close_on_violation("text frame")
        elif kind is not WSMsgType.PONG:
            return "transport_lost"
