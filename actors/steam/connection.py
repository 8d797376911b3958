"""One connection in the hub: reader, writer, heartbeat, service calls.

Three greenlets: the reader passes every message to its handler in order, the writer empties a queue (so
that sending never waits), the pulse sends heartbeats and detects silence. When the connection ends, every
waiting greenlet gets the error at once.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Final

import gevent
from gevent.event import AsyncResult, Event
from steam.protobufs.steammessages_base_pb2 import CMsgProtoBufHeader
from steam.protobufs.steammessages_clientserver_login_pb2 import CMsgClientHeartBeat
from structlog.typing import FilteringBoundLogger

from actors.errors import SteamUnreachable
from actors.steam.protocol.emsg import (
    CLIENT_HEARTBEAT,
    SERVICE_METHOD_CALL,
    SERVICE_METHOD_CALL_NON_AUTHED,
    SERVICE_METHOD_RESPONSE,
)
from actors.steam.protocol.envelope import Message, build, parse
from actors.steam.protocol.wire import ParseError
from actors.steam.steam_time import SteamTime
from actors.steam.transport.base import Transport

# Heartbeats in a row without any message after which the connection counts as dead. Counted instead of
# timed: after a busy moment of this process the replies have arrived but are not read yet.
MAX_UNANSWERED: Final = 2
# Heartbeats missed because this process was stopped: Steam may have ended the session and another
# instance may hold the account, so nothing more is sent.
MAX_SLEPT: Final = 2.5
READ_S: Final = 0.02  # for the reader to fetch what arrived while the hub was busy
# For the reader to fetch the last messages of a server that closed. Usually immediate, unless this
# process has been busy.
LAST_WORDS_S: Final = 5.0
KEEP_ALIVE_S: Final = 30.0
MAX_UNSENT: Final = 1000  # messages; a CM that does not read counts as gone
MAX_READS: Final = 64  # messages in a row, also inside a Multi, before other greenlets run
CLOSE_S: Final = 1.0
REALM_GLOBAL: Final = 1  # of service method calls
_KEEP_ALIVE: Final = b""  # in the send queue; no message is empty

Handler = Callable[[Message], None]


class Connection:
    """One connection to a CM. Used in the hub's thread only."""

    def __init__(self, *, clock: SteamTime, log: FilteringBoundLogger) -> None:
        self._transport: Transport | None = None
        self._clock = clock
        self._log = log
        self._handlers: dict[int, Handler] = {}
        self._expected: dict[Hashable, AsyncResult] = {}
        self._unsent: deque[bytes] = deque()
        self._has_unsent = Event()
        self._unanswered = 0
        self._in_a_row = 0  # messages since other greenlets ran
        self._longest_sleep_s = math.inf
        self._beat_at = self._heard_at = 0.0
        self._greenlets: list[Any] = []
        self.ended = Event()  # set with `death`
        # Why it cannot be used, if so.
        self.death: SteamUnreachable | None = SteamUnreachable("session", "the link is not open")
        self.end_at = math.inf  # clock seconds; from then on nothing is sent
        self.ending: SteamUnreachable | None = None  # the reason of an end that is under way
        self.steam_id = 0
        self.session_id = 0
        self.local_ip = ""
        self._jobs = itertools.count(1)  # never reused, so that a late answer matches no call
        self.on(SERVICE_METHOD_RESPONSE, self._on_response)

    def open(self, transport: Transport) -> None:
        """Start the reader and the writer; called once."""
        self._transport = transport
        self.local_ip = transport.local_ip
        self.death = None
        self._beat_at = self._heard_at = self._clock.now()
        reader = gevent.spawn(self._read, transport)
        self._greenlets = [reader, gevent.spawn(self._write, transport, reader)]

    # -- sending -------------------------------------------------------------------------------

    def header(self, **fields: Any) -> CMsgProtoBufHeader:
        """Return a header with the session and the given fields of CMsgProtoBufHeader."""
        header = CMsgProtoBufHeader(steamid=self.steam_id, client_sessionid=self.session_id)
        for name, value in fields.items():
            setattr(header, name, value)
        return header

    def send(self, emsg: int, body: Any = None, **header_fields: Any) -> None:
        """Queue one protobuf message; never waits."""
        content = b"" if body is None else body.SerializeToString()
        self.send_bytes(build(emsg, self.header(**header_fields), content))

    def send_bytes(self, message: bytes) -> None:
        """Queue one complete message; never waits. Does nothing on a dead connection."""
        if self.death is not None:
            return
        if len(self._unsent) >= MAX_UNSENT:
            self.die(SteamUnreachable("session", "the server does not read"))
            return
        self._unsent.append(message)
        self._has_unsent.set()

    # -- waiting for answers -------------------------------------------------------------------

    def wait(self, key: Hashable) -> Any:
        """Block this greenlet until `key` is resolved; return the value.

        `send` before it never waits, so that no answer can come too early.

        Raises:
            SteamUnreachable: the connection is dead; else the error of `refuse`.
        """
        if self.death is not None:
            raise self.death
        answer = self._expected[key] = AsyncResult()
        try:
            return answer.get()
        finally:
            self._expected.pop(key, None)

    def resolve(self, key: Hashable, value: object) -> None:
        """End the wait for `key`; does nothing when no greenlet waits."""
        if (answer := self._expected.pop(key, None)) is not None:
            answer.set(value)

    def refuse(self, key: Hashable, error: Exception) -> None:
        """Raise `error` in the wait for `key`; does nothing when no greenlet waits."""
        if (answer := self._expected.pop(key, None)) is not None:
            answer.set_exception(error)

    def call(self, method: str, request: Any) -> tuple[int, bytes]:
        """Call a service method and return (EResult, body); the caller sets the time limit.

        Raises:
            SteamUnreachable: the connection died.
        """
        job = next(self._jobs)
        emsg = SERVICE_METHOD_CALL if self.session_id else SERVICE_METHOD_CALL_NON_AUTHED
        self.send(emsg, request, jobid_source=job, target_job_name=method, realm=REALM_GLOBAL)
        answer: tuple[int, bytes] = self.wait(("service", job))
        return answer

    def _on_response(self, message: Message) -> None:
        self.resolve(("service", message.job_target), (message.eresult, message.body))

    def pause(self, seconds: float, until: Any = None) -> None:
        """Wait for `seconds`, or until the gevent event `until` is set.

        Raises:
            SteamUnreachable: the connection died.
        """
        events = [self.ended] if until is None else [self.ended, until]
        gevent.wait(events, timeout=seconds, count=1)
        if self.death is not None:
            raise self.death

    def on(self, emsg: int, handler: Handler) -> None:
        """Register the handler of one message type; it must not wait. Other types are skipped."""
        self._handlers[emsg] = handler

    # -- heartbeats and the end ------------------------------------------------------------------

    def start_pulse(self, heartbeat_s: float) -> None:
        """Start the heartbeats and the detection of silence."""
        self._beat_at = self._clock.now()
        self._longest_sleep_s = heartbeat_s * MAX_SLEPT
        self._greenlets.append(gevent.spawn(self._pulse, heartbeat_s))

    def probe(self) -> None:
        """Send a heartbeat that asks for a reply."""
        self.send(CLIENT_HEARTBEAT, CMsgClientHeartBeat(send_reply=True))

    def die_if_silent_since(self, instant: float) -> None:
        """End a connection that has received nothing since `instant` (clock seconds).

        Raises:
            SteamUnreachable: the connection is dead.
        """
        if self._heard_at < instant:
            gevent.sleep(READ_S)
        if self._heard_at < instant:
            self.die(SteamUnreachable("session", "silence, also after a probe"))
        if self.death is not None:
            raise self.death

    def die(self, why: SteamUnreachable) -> None:
        """End the connection and fail every waiting greenlet. The first reason counts."""
        if self.death is not None:
            return
        self.death = why = self.ending or why
        self.ended.set()
        expected, self._expected = self._expected, {}
        for answer in expected.values():
            answer.set_exception(why)
        self._has_unsent.set()

    def close(self) -> None:
        """Close the socket and end all greenlets; does not wait. Harmless when repeated."""
        self.die(SteamUnreachable("session", "closed by us"))
        gevent.killall(self._greenlets, block=False)
        if self._transport is not None:
            self._transport.close()

    def wait_closed(self) -> None:
        """Wait until the greenlets have ended after `close`."""
        gevent.joinall(self._greenlets, timeout=CLOSE_S)

    # -- greenlets -----------------------------------------------------------------------------

    def _read(self, transport: Transport) -> None:
        with self._ending_on_error():
            while self.death is None:
                data = transport.receive()
                if self._must_not_be_used():
                    return
                self._unanswered = 0
                self._heard_at = self._clock.now()
                self._yield_now_and_then()
                for message in parse(data):
                    self._handle(message)
                    self._yield_now_and_then()

    def _yield_now_and_then(self) -> None:
        """Let other greenlets run: receiving data that has already arrived does not switch."""
        self._in_a_row += 1
        if self._in_a_row >= MAX_READS:
            self._in_a_row = 0
            gevent.sleep(0)

    def _handle(self, message: Message) -> None:
        handler = self._handlers.get(message.emsg)
        if handler is None:
            return
        try:
            handler(message)
        except Exception as error:  # noqa: BLE001 - one bad message must not affect the others
            self._log.warning(
                "message_unreadable", emsg=message.emsg, error_type=type(error).__name__
            )

    def _write(self, transport: Transport, reader: Any) -> None:
        with self._ending_on_error():
            try:
                while self.death is None:
                    self._has_unsent.wait()
                    self._has_unsent.clear()
                    while self._unsent and not self._must_not_be_used():
                        if message := self._unsent.popleft():
                            transport.send(message)
                        else:
                            transport.keep_alive()
            except OSError:
                # A server sends ClientLoggedOff before it closes: let the reader find it.
                reader.join(timeout=LAST_WORDS_S)
                raise

    def _pulse(self, heartbeat_s: float) -> None:
        """Send heartbeats until the end; keep-alives also go through the send queue."""
        next_keep_alive = self._clock.now() + KEEP_ALIVE_S
        while not self._must_not_be_used():
            self._beat_at = now = self._clock.now()
            if self._unanswered >= MAX_UNANSWERED:
                silence_s = self._unanswered * heartbeat_s
                self.die(SteamUnreachable("session", f"silence for {silence_s:.0f} s"))
                return
            self._unanswered += 1
            self.probe()
            if now >= next_keep_alive:
                next_keep_alive = now + KEEP_ALIVE_S
                self.send_bytes(_KEEP_ALIVE)
            gevent.sleep(heartbeat_s)

    def _must_not_be_used(self) -> bool:
        """End the connection if another holder may have the account; checked before every message.

        That is the case when the lease is about to end, and when this process was stopped for so long
        that Steam may have ended the session.
        """
        now = self._clock.now()
        slept_s = now - self._beat_at
        if now >= self.end_at:
            self.die(SteamUnreachable("session", "the lease was not renewed in time"))
        elif slept_s > self._longest_sleep_s:
            self.die(SteamUnreachable("session", f"we were stopped for {slept_s:.0f} s"))
        return self.death is not None

    @contextlib.contextmanager
    def _ending_on_error(self) -> Iterator[None]:
        """Let any error in a greenlet end this connection only."""
        try:
            yield
        except OSError as error:
            self.die(SteamUnreachable("session", f"the connection broke: {error}"))
        except ParseError as error:
            self.die(SteamUnreachable("session", f"the server sent garbage: {error}"))
        except Exception as error:  # noqa: BLE001 - not logged: its text may hold message contents
            kind = type(error).__name__
            self._log.error("connection_crashed", error_type=kind)
            self.die(SteamUnreachable("session", f"we could not go on: {kind}"))
