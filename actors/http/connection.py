"""Limits and timeouts of a client connection.

aiohttp limits a line, a header, the number of headers and the time of an idle connection. The subclass of
its connection class adds limits on the time and size of a head, on the time in which a client must read a
response, and on the number of connections; it answers clients that have shut down their sending half, and
sends errors in the API's own form. pipeline.py limits bodies.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Coroutine, Mapping
from typing import Any, Final

from aiohttp import HttpVersion11, StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from structlog.typing import FilteringBoundLogger

from actors.http.auth.clients import Networks, group_of, is_loopback, is_within
from actors.http.errors import error_body, protocol_error
from actors.http.headers import ID_HEADER, SECURITY_HEADERS, new_request_id, request_id_of

HEAD_S: Final = 10.0  # from the first byte of a request to the end of its head
UNREAD_S: Final = 30.0  # for a client to read what is written
# Longer than proxies keep an idle connection (usually 60 s), so that the proxy closes it.
IDLE_S: Final = 75.0
LINGER_S: Final = 2.0  # for the rest of a discarded body; then the connection closes
FINAL_S: Final = 1.0  # for a client to read the final response of a connection
PROBE_S: Final = 0.2  # between checks whether a half-closed client is still connected
MAX_REFUSED: Final = 100  # connections with a final response at once; others close without
LOOPBACK_RESERVE: Final = 16  # connections
MAX_LINE: Final = 8190  # bytes of the request line, and of one header
MAX_HEADERS: Final = 64
# Bytes of an incomplete head. A connection holds at most this and one read (256 KiB).
MAX_HEAD: Final = 64 * 1024
TOO_MANY: Final = "too many connections; try again soon"
_MANY_HEADERS: Final = "Too many headers received"  # aiohttp's message; it has no own type

# May precede any response (RFC 9110, section 15.2); clients ignore it.
_INTERIM: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

AIOHTTP_LIMITS: Final[Mapping[str, Any]] = {
    "max_line_size": MAX_LINE,
    "max_field_size": MAX_LINE,
    "max_headers": MAX_HEADERS,
    "keepalive_timeout": IDLE_S,
    "lingering_time": LINGER_S,
    "auto_decompress": False,  # a decompressed body could exceed its limit
    "access_log": None,
}


class Capacity:
    """Counts and limits connections, in all and per address.

    One address has at most half of them, except loopback and trusted proxies, which serve many clients.
    The last tenth, 16 at most, is reserved for loopback, for health checks.
    """

    def __init__(self, most: int, proxies: Networks = ()) -> None:
        self.open = 0
        self.closing = 0  # connections with a final response
        self._by_address: Counter[str] = Counter()
        self.reconfigure(most, proxies)

    def reconfigure(self, most: int, proxies: Networks = ()) -> None:
        """Use these limits for later connections; open ones stay."""
        self.most = most
        self._proxies = proxies

    def take(self, peer: str) -> bool:
        """Count a connection from the address `peer`, or return False if there is no room for it."""
        is_local, group = is_loopback(peer), group_of(peer)
        reserve = 0 if is_local else min(LOOPBACK_RESERVE, self.most // 10)
        if self.open >= self.most - reserve:
            return False
        has_share = not is_local and not is_within(peer, self._proxies)
        if has_share and self._by_address[group] >= max(1, self.most // 2):
            return False
        self.open += 1
        self._by_address[group] += 1
        return True

    def release(self, peer: str) -> None:
        """Stop counting a connection that `take` counted."""
        self.open -= 1
        group = group_of(peer)
        self._by_address[group] -= 1
        if self._by_address[group] <= 0:
            del self._by_address[group]


class HttpConnection(web.RequestHandler):
    """aiohttp's handler of one connection, with limits on time, size and the number of connections."""

    __slots__ = (
        *("_capacity", "_head_bytes", "_head_timer", "_is_half_closed", "_is_probed", "_log"),
        *("_newest_body", "_peer", "_probe_timer", "_unread_timer", "_wire"),
    )

    def __init__(
        self,
        server: web.Server,
        capacity: Capacity,
        *,
        loop: asyncio.AbstractEventLoop,
        log: FilteringBoundLogger,
    ) -> None:
        super().__init__(server, loop=loop, **AIOHTTP_LIMITS)
        self._capacity = capacity
        self._log = log
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None
        self._newest_body: StreamReader | None = None  # of the last request received
        self._is_half_closed = False
        self._is_probed = False
        self._probe_timer: asyncio.TimerHandle | None = None

    # -- start and end ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept the connection, or send a 503."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self._peer = _address(transport)
        if not self._capacity.take(self._peer):
            is_silent = self._capacity.closing >= MAX_REFUSED
            response = None if is_silent else error_body(503, "busy", TOO_MANY, 1.0)
            _FinalResponse(response, transport, self._capacity, self._loop)
            return
        # Without a write buffer, a paused transport means an unread response.
        transport.set_write_buffer_limits(high=0)
        super().connection_made(transport)
        self._wire = transport
        self._head_timer = self._loop.call_later(HEAD_S, self._end_slow_head)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Release the connection's resources."""
        self._capacity.release(self._peer)
        self._stop_head_timer()
        self._stop_unread_timer()
        if self._probe_timer is not None:
            self._probe_timer.cancel()
        super().connection_lost(exc)

    # -- a half-closed connection ----------------------------------------------------------------

    def eof_received(self) -> bool | None:  # type: ignore[override] # as asyncio has it
        """Keep the connection while requests are unanswered: the client may still read."""
        is_cut = self._newest_body is not None and not self._newest_body.is_eof()
        if self._is_waiting or is_cut:
            return None  # asyncio closes the connection
        self._is_half_closed = True
        if not self._messages:
            self.close()
        if self._probe_timer is None:
            self._probe_timer = self._loop.call_later(PROBE_S, self._probe)
        return True

    def _probe(self) -> None:
        """Abort the connection, and with it the request, if the client has disconnected.

        A closed socket and a closed sending half look the same until something is sent: the peer's
        system answers it with a reset if the socket is closed. So an interim response is sent once.
        """
        if self._wire.is_closing():
            return
        sock: socket.socket = self._wire.get_extra_info("socket")
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._wire.abort()
            return
        request = self._current_request
        if (
            not self._is_probed
            and request is not None
            and request.version >= HttpVersion11
            and request.writer.output_size == 0  # nothing of the response is sent
        ):
            self._is_probed = True
            self._wire.write(_INTERIM)
        self._probe_timer = self._loop.call_later(PROBE_S, self._probe)

    # -- the head of a request -------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse; limit the time and size of a head that `data` does not complete."""
        super().data_received(data)
        if self._messages:
            self._newest_body = self._messages[-1][1]
        if self._waiter is None or self._waiter.done():  # `_is_waiting`, without a call
            if self._head_timer is not None:
                self._stop_head_timer()
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD:
            self._end(431)
        elif self._head_timer is None:
            self._head_timer = self._loop.call_later(HEAD_S, self._end_slow_head)

    @property
    def _is_waiting(self) -> bool:
        """Whether no request is being answered, nor complete and about to be."""
        return self._waiter is not None and not self._waiter.done()

    def _end_slow_head(self) -> None:
        self._head_timer = None
        if not self._is_waiting:
            return
        self._log.debug("head_too_slow", bytes=self._head_bytes)
        if self._head_bytes:
            self._end(408)
        else:
            self.force_close()

    def _stop_head_timer(self) -> None:
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _end(self, status: int) -> None:
        """Send an error without a request, and detach from the connection."""
        _FinalResponse(protocol_error(status), self._wire, self._capacity, self._loop)
        self.transport = None
        self.connection_lost(None)

    # -- unread responses ------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """Start the timer of an unread response."""
        super().pause_writing()
        self._unread_timer = self._loop.call_later(UNREAD_S, self._end_unread)

    def resume_writing(self) -> None:
        """Stop the timer: the client has read everything."""
        self._stop_unread_timer()
        super().resume_writing()

    def _end_unread(self) -> None:
        self._log.debug("answer_unread", bytes=self._wire.get_write_buffer_size())
        self._wire.abort()  # a close would wait for the client

    def _stop_unread_timer(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    # -- errors of aiohttp -----------------------------------------------------------------------

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes the request, which may contain a key
    ) -> web.StreamResponse:
        """Return the response to malformed HTTP or a failure after the application; then close."""
        request_id = request_id_of(request) or new_request_id()
        log = self._log.bind(request_id=request_id, address=request.remote)
        if isinstance(exc, HttpProcessingError):
            # A head that is too long (RFC 6585), or malformed.
            is_long = isinstance(exc, LineTooLong) or exc.message == _MANY_HEADERS
            status = 431 if is_long else 400
            log.info("request_malformed", status=status)
        else:
            log.error("request_crashed", status=status, exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the response is sent already")
        response = _complete(protocol_error(status), request_id)
        response.force_close()
        return response

    def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Coroutine[Any, Any, tuple[web.StreamResponse, bool]]:
        """Send a response; replace an error that aiohttp made before the application was called."""
        if isinstance(resp, web.HTTPError):
            resp = _complete(protocol_error(resp.status), request_id_of(request))
        if self._is_half_closed and not self._messages:
            resp.force_close()
        return super().finish_response(request, resp, start_time)


class _FinalResponse(asyncio.Protocol):
    """Takes a connection over to send a final response, and waits a moment for the client to read it.

    An immediate close with unread data of the client could lose the response to a reset.
    """

    def __init__(
        self,
        response: web.Response | None,
        transport: asyncio.Transport,
        capacity: Capacity,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """`response`: None to abort the connection."""
        self._capacity = capacity
        self._timer = loop.call_later(FINAL_S, transport.abort)
        capacity.closing += 1
        transport.set_protocol(self)
        if response is None:
            transport.abort()
        else:
            transport.write(_raw(response))
            transport.write_eof()

    def connection_lost(self, _exc: BaseException | None) -> None:
        """Stop counting the connection."""
        self._timer.cancel()
        self._capacity.closing -= 1


def _address(transport: asyncio.Transport) -> str:
    """Return the peer's address as aiohttp does; "" if the connection is closed."""
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, list | tuple) else str(peer or "")


def _complete(response: web.Response, request_id: str) -> web.Response:
    """Add the headers that the pipeline would have added."""
    response.headers.update(SECURITY_HEADERS)
    response.headers[ID_HEADER] = request_id or new_request_id()
    return response


def _raw(response: web.Response) -> bytes:
    """Return a response as bytes, for a connection without a request."""
    body = response.body
    assert isinstance(body, bytes)  # noqa: S101 - for the type checker
    response.headers.update({"Content-Length": str(len(body)), "Connection": "close"})
    lines = [f"{name}: {value}" for name, value in _complete(response, "").headers.items()]
    head = "\r\n".join([f"HTTP/1.1 {response.status} {response.reason}", *lines, "", ""])
    return head.encode() + body
