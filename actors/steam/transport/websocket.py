"""Steam over WebSocket: TLS, `/cmsocket/`, one binary message per Steam message."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from gevent.lock import BoundedSemaphore
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    RejectConnection,
    Request,
)
from wsproto.utilities import LocalProtocolError, ProtocolError

from actors.steam.port import Server
from actors.steam.protocol.envelope import MAX_MESSAGE
from actors.steam.protocol.wire import ParseError
from actors.steam.transport.base import CHUNK, Trust, dial

PATH: Final = "/cmsocket/"


class WebSocketTransport:
    """Transport over WebSocket: wsproto handles the protocol, gevent the socket."""

    def __init__(self, server: Server, trust: Trust) -> None:
        """Connect, TLS, upgrade; the caller sets the time limit.

        Raises:
            OSError: refused, no TLS, or an untrusted certificate.
            ParseError: the server does not accept the upgrade.
        """
        self._messages: deque[bytes] = deque()
        self._parts: list[bytes] = []
        self._size = 0
        self._accepted = False
        # Frames of the writer, pings and pongs must not interleave.
        self._one_writer = BoundedSemaphore(1)
        self._protocol = WSConnection(ConnectionType.CLIENT)
        self._sock = _secure(dial(server), server, trust)
        try:
            host = server.host if server.port == 443 else f"{server.host}:{server.port}"  # noqa: PLR2004
            self._send(Request(host=host, target=PATH))
            while not self._accepted:
                self._read()
        except BaseException:
            self.close()
            raise

    @property
    def local_ip(self) -> str:
        """See Transport."""
        return str(self._sock.getsockname()[0])

    def send(self, message: bytes) -> None:
        """See Transport."""
        self._send(BytesMessage(message))

    def receive(self) -> bytes:
        """See Transport."""
        while not self._messages:
            self._read()
        return self._messages.popleft()

    def keep_alive(self) -> None:
        """Ping, as node-steam-user does every 30 s."""
        self._send(Ping())

    def close(self) -> None:
        """See Transport. No closing handshake: Steam's close codes mean nothing."""
        self._sock.close()

    def _send(self, event: Any) -> None:
        with self._one_writer:
            try:
                data = self._protocol.send(event)
            except LocalProtocolError as error:  # the reader has seen the close, a writer not yet
                raise ConnectionResetError("the WebSocket is closed") from error
            self._sock.sendall(data)

    def _read(self) -> None:
        """Read once from the socket and handle the events."""
        data = self._sock.recv(CHUNK)
        if not data:
            raise ConnectionResetError("the server closed the connection")
        try:
            self._protocol.receive_data(data)
            for event in self._protocol.events():
                self._on_event(event)
        except ProtocolError as error:
            raise ParseError(f"not a WebSocket: {error}") from error

    def _on_event(self, event: Any) -> None:
        match event:
            case BytesMessage():
                self._on_part(event)
            case Ping():
                self._send(event.response())
            case AcceptConnection():
                self._accepted = True
            case RejectConnection():
                raise ParseError(f"the upgrade was refused with status {event.status_code}")
            case CloseConnection():
                # wsproto also reports invalid frames this way: 1002, 1007.
                raise ConnectionResetError(f"the WebSocket closed with code {event.code}")

    def _on_part(self, part: BytesMessage) -> None:
        self._size += len(part.data)
        if self._size > MAX_MESSAGE:
            raise ParseError("a message is too large")
        self._parts.append(bytes(part.data))
        if part.message_finished:
            whole = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            self._messages.append(whole)
            self._parts = []
            self._size = 0


def _secure(sock: Any, server: Server, trust: Trust) -> Any:
    """Wrap, then shake hands: a greenlet killed in between can still close the socket."""
    try:
        sock = trust.tls.wrap_socket(
            sock, server_hostname=server.host, do_handshake_on_connect=False
        )
        sock.do_handshake()
    except BaseException:
        sock.close()
        raise
    return sock
