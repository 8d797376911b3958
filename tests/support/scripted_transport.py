"""A transport whose other end is controlled by the test.

Everything runs in the gevent hub of the test's thread:

    with connected() as (connection, server):
        server.say(CLIENT_LOGGED_OFF, CMsgClientLoggedOff(eresult=6))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import gevent
import structlog
from gevent.event import Event
from gevent.queue import Queue
from steam.protobufs.steammessages_base_pb2 import CMsgProtoBufHeader
from steam.protobufs.steammessages_clientserver_2_pb2 import CMsgGCClient

from actors.steam.connection import Connection
from actors.steam.protocol.emsg import CLIENT_FROM_GC, CLIENT_TO_GC, DOTA, PROTO_BIT
from actors.steam.protocol.envelope import build
from actors.steam.protocol.gc_envelope import GcMessage, gc_message, parse_gc
from actors.steam.steam_time import SteamTime
from supervisor.clock import SystemClock

PATIENCE_S = 5.0


@dataclass
class Received:
    """One message that the code under test sent."""

    emsg: int
    header: Any
    body: bytes

    @property
    def gc(self) -> GcMessage | None:
        return parse_gc(self.body) if self.emsg == CLIENT_TO_GC else None


@dataclass
class ScriptedTransport:
    received: list[Received] = field(default_factory=list)
    is_closed: bool = False
    reads: bool = True  # whether the other end reads
    on_message: Callable[[Received], None] | None = None
    keep_alives: int = 0
    local_ip: str = "10.0.0.5"

    def __post_init__(self) -> None:
        self._incoming: Any = Queue()
        self._arrived: Any = Event()

    # -- for the code under test ---------------------------------------------------------------
    def send(self, message: bytes) -> None:
        while not self.reads:
            gevent.sleep(0.01)
        if self.is_closed:
            raise OSError("closed")
        head = int.from_bytes(message[4:8], "little")
        header = CMsgProtoBufHeader.FromString(message[8 : 8 + head])
        emsg = int.from_bytes(message[:4], "little") & ~PROTO_BIT
        one = Received(emsg, header, message[8 + head :])
        self.received.append(one)
        self._arrived.set()
        if self.on_message is not None:
            self.on_message(one)

    def receive(self) -> bytes:
        item = self._incoming.get()
        if isinstance(item, Exception):
            raise item
        return bytes(item)

    def keep_alive(self) -> None:
        self.keep_alives += 1

    def close(self) -> None:
        self.is_closed = True

    # -- for the test --------------------------------------------------------------------------
    def say(self, emsg: int, body: Any = None, **header: Any) -> None:
        """Send a protobuf message."""
        content = body if isinstance(body, bytes) else body.SerializeToString() if body else b""
        self.say_raw(build(emsg, CMsgProtoBufHeader(**header), content))

    def say_raw(self, data: bytes) -> None:
        self._incoming.put(data)

    def say_gc(self, msgtype: int, body: bytes = b"", job: int | None = None) -> None:
        """Send a message of the GC."""
        wrapped = CMsgGCClient.FromString(gc_message(b"", msgtype, body))
        if job is not None:
            inner = bytes([11 << 3 | 1]) + job.to_bytes(8, "little")
            kind = (msgtype | PROTO_BIT).to_bytes(4, "little")
            wrapped.payload = kind + len(inner).to_bytes(4, "little") + inner + body
        wrapped.appid = DOTA
        self.say(CLIENT_FROM_GC, wrapped)

    def break_with(self, error: Exception) -> None:
        self._incoming.put(error)

    def wait(self, count: int, matches: Callable[[Received], bool]) -> list[Received]:
        """Wait for `count` matching messages; return them."""
        with gevent.Timeout(PATIENCE_S):
            while len(found := [one for one in self.received if matches(one)]) < count:
                self._arrived.clear()
                self._arrived.wait()
        return found

    def wait_emsg(self, emsg: int, count: int = 1) -> list[Received]:
        return self.wait(count, lambda one: one.emsg == emsg)

    def wait_gc(self, msgtype: int, count: int = 1) -> list[Received]:
        return self.wait(count, lambda one: one.gc is not None and one.gc.type == msgtype)


@contextmanager
def connected() -> Iterator[tuple[Connection, ScriptedTransport]]:
    """Yield a connection and its other end; afterwards nothing of it may run."""
    transport = ScriptedTransport()
    connection = Connection(clock=SteamTime(SystemClock()), log=structlog.get_logger())
    connection.open(transport)
    try:
        with gevent.Timeout(PATIENCE_S):
            yield connection, transport
    finally:
        connection.close()
        with gevent.Timeout(PATIENCE_S):
            gevent.joinall(connection._greenlets)
        assert transport.is_closed
        assert connection.ended.is_set()
