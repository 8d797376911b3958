"""Limits and timeouts of a client connection.

aiohttp bounds a line, a header, their number and an idle connection. What is added here, on its own class
for connections: a time for the head of a request, a size for the whole of it, a time in which a client
must read what it is answered, a limit of connections, answers to clients that shut their sending half,
and errors in our form. The time for a body is kept
where bodies are read, in app.py.
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

from actors.http.auth.client_address import Networks, group_of, is_loopback, is_within
from actors.http.errors import error_body, protocol_error
from actors.http.headers import ID_HEADER, SECURITY_HEADERS, new_request_id, request_id_of

HEAD_S: Final = 10.0  # from a request's first byte to the end of its head
UNREAD_S: Final = 30.0  # in which a client must read what lies ready for it
# Longer than proxies keep a connection for reuse (60 s as a rule): the one that opened it closes it.
IDLE_S: Final = 75.0
LINGER_S: Final = 2.0  # for the rest of a body that is discarded; then the connection closes
FAREWELL_S: Final = 1.0  # to read why a connection ends, where there is no request to answer
GONE_S: Final = 0.2  # between two looks whether a client that sends no more is gone altogether
MOST_REFUSED: Final = (
    100  # told so at once that there are too many; the next are closed without a word
)
LOOPBACK_RESERVE: Final = 16  # connections
MAX_LINE: Final = 8190  # bytes of the request line, and of one header
MAX_HEADERS: Final = 64
# Bytes of a head that is not complete. More than one read holds is never parsed in one go, so what a
# connection can make us keep is this and one read (256 KiB).
MAX_HEAD: Final = 64 * 1024
TOO_MANY: Final = "too many connections; try again soon"
_MANY_HEADERS: Final = "Too many headers received"  # how aiohttp says it, without a type of its own

# May precede any answer (RFC 9110, section 15.2); clients that know nothing else skip this one.
_INTERIM: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

AIOHTTP_LIMITS: Final[Mapping[str, Any]] = {
    "max_line_size": MAX_LINE,
    "max_field_size": MAX_LINE,
    "max_headers": MAX_HEADERS,
    "keepalive_timeout": IDLE_S,
    "lingering_time": LINGER_S,
    "auto_decompress": False,  # a compressed body would be larger than its limit
    "access_log": None,
}


class Capacity:
    """How many connections there are and may be, of all addresses and of one.

    One address has at most half of them, except loopback and trusted proxies, which stand for many
    clients. The last tenth, 16 at most, is for loopback alone: health checks come from there.
    """

    def __init__(self, most: int, proxies: Networks = ()) -> None:
        self.open = 0
        self.leaving = 0  # told why they end
        self._by_address: Counter[str] = Counter()
        self.change(most, proxies)

    def change(self, most: int, proxies: Networks = ()) -> None:
        """Let there be `most` from now on; those that are open stay."""
        self.most = most
        self._proxies = proxies

    def take(self, peer: str) -> bool:
        """Count a connection from the address `peer`; return False where there is no room for it."""
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
        """Stop counting a connection that `take` has counted."""
        self.open -= 1
        group = group_of(peer)
        self._by_address[group] -= 1
        if self._by_address[group] <= 0:
            del self._by_address[group]


class Connection(web.RequestHandler):
    """aiohttp's handler of one connection, with limits on time, size and the number of connections."""

    __slots__ = (
        *(
            "_capacity",
            "_gone_timer",
            "_head_bytes",
            "_head_timer",
            "_is_half_closed",
            "_is_probed",
        ),
        *("_log", "_newest_body", "_peer", "_unread_timer", "_wire"),
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
        self._newest_body: StreamReader | None = None  # of the last request that came
        self._is_half_closed = False
        self._is_probed = False
        self._gone_timer: asyncio.TimerHandle | None = None

    # -- from its beginning to its end -----------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take it, or say that there are too many."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self._peer = _address(transport)
        if not self._capacity.take(self._peer):
            is_crowd = self._capacity.leaving >= MOST_REFUSED
            answer = None if is_crowd else error_body(503, "busy", TOO_MANY, 1.0)
            _Farewell(answer, transport, self._capacity, self._loop)
            return
        # Nothing stays in our memory unnoticed: paused means that there is something unread.
        transport.set_write_buffer_limits(high=0)
        super().connection_made(transport)
        self._wire = transport
        self._head_timer = self._loop.call_later(HEAD_S, self._end_slow_head)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget it."""
        self._capacity.release(self._peer)
        self._stop_head_timer()
        self._stop_unread_timer()
        if self._gone_timer is not None:
            self._gone_timer.cancel()
        super().connection_lost(exc)

    # -- a client that sends no more -------------------------------------------------------------

    def eof_received(self) -> bool | None:  # type: ignore[override] # as asyncio has it
        """Keep the connection for what is not answered yet: the client may have shut its half alone."""
        is_cut = self._newest_body is not None and not self._newest_body.is_eof()
        if self._is_waiting or is_cut:
            return None  # asyncio closes the connection
        self._is_half_closed = True
        if not self._messages:
            self.close()
        if self._gone_timer is None:
            self._gone_timer = self._loop.call_later(GONE_S, self._look_for_reset)
        return True

    def _look_for_reset(self) -> None:
        """Abort the connection if the client is gone altogether, and with it the request.

        A client that closed its socket ends the connection like one that shut its sending half. But
        its system answers with a reset whatever is sent, so something is sent, once.
        """
        if self._wire.is_closing():
            return
        sock: socket.socket = self._wire.get_extra_info("socket")
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._wire.abort()
            return
        request = self._current_request
        if not self._is_probed and request is not None and _takes_interim(request):
            self._is_probed = True
            self._wire.write(_INTERIM)
        self._gone_timer = self._loop.call_later(GONE_S, self._look_for_reset)

    # -- the head of a request -------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse; limit the time and size of a head that `data` does not complete."""
        super().data_received(data)
        if self._messages:
            self._newest_body = self._messages[-1][1]
        if not self._is_waiting:
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
        """Answer what never became a request, and let go of the connection."""
        _Farewell(protocol_error(status), self._wire, self._capacity, self._loop)
        self.transport = None
        self.connection_lost(None)

    # -- what the client does not read -----------------------------------------------------------

    def pause_writing(self) -> None:
        """Something is not read yet: give it its time."""
        super().pause_writing()
        self._unread_timer = self._loop.call_later(UNREAD_S, self._end_unread)

    def resume_writing(self) -> None:
        """Everything is read."""
        self._stop_unread_timer()
        super().resume_writing()

    def _end_unread(self) -> None:
        self._log.debug("answer_unread", bytes=self._wire.get_write_buffer_size())
        self._wire.abort()  # a close would wait until it is read

    def _stop_unread_timer(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    # -- errors that aiohttp itself makes --------------------------------------------------------

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes the request, and that may show a key
    ) -> web.StreamResponse:
        """Answer what is no HTTP, or failed after the application; the connection ends with it."""
        request_id = request_id_of(request) or new_request_id()
        log = self._log.bind(request_id=request_id, address=request.remote)
        if isinstance(exc, HttpProcessingError):
            status = _status_of(exc)
            log.info("request_malformed", status=status)
        else:
            log.error("request_crashed", status=status, exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the answer is sent already")
        answer = _complete(protocol_error(status), request_id)
        answer.force_close()  # whatever the status is
        return answer

    def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Coroutine[Any, Any, tuple[web.StreamResponse, bool]]:
        """Send an answer; one that aiohttp gave before the application was asked becomes ours."""
        if isinstance(resp, web.HTTPError):
            resp = _complete(protocol_error(resp.status), request_id_of(request))
        if self._is_half_closed and not self._messages:
            resp.force_close()
        return super().finish_response(request, resp, start_time)


class _Farewell(asyncio.Protocol):
    """Takes a connection over to send one last answer, and waits a moment for that to be read.

    Closed at once, with something of the client's unread, the answer could be lost to a reset.
    """

    def __init__(
        self,
        answer: web.Response | None,
        transport: asyncio.Transport,
        capacity: Capacity,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """`answer`: None to close it without a word."""
        self._capacity = capacity
        self._timer = loop.call_later(FAREWELL_S, transport.abort)
        capacity.leaving += 1
        transport.set_protocol(self)
        if answer is None:
            transport.abort()
        else:
            transport.write(_raw(answer))
            transport.write_eof()

    def connection_lost(self, _exc: BaseException | None) -> None:
        """Forget it."""
        self._timer.cancel()
        self._capacity.leaving -= 1


def _takes_interim(request: web.BaseRequest) -> bool:
    """Whether an interim response may be sent: none in HTTP/1.0, none behind a head."""
    return request.version >= HttpVersion11 and request.writer.output_size == 0


def _address(transport: asyncio.Transport) -> str:
    """Return the peer's address, as aiohttp has it; "" if the connection is closed."""
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, list | tuple) else str(peer or "")


def _status_of(exc: HttpProcessingError) -> int:
    """RFC 6585 has a status for heads that are too long; aiohttp answers all with 400."""
    return 431 if isinstance(exc, LineTooLong) or exc.message == _MANY_HEADERS else 400


def _complete(answer: web.Response, request_id: str) -> web.Response:
    """Add what the application would have added."""
    answer.headers.update(SECURITY_HEADERS)
    answer.headers[ID_HEADER] = request_id or new_request_id()
    return answer


def _raw(answer: web.Response) -> bytes:
    """Return an answer as bytes, for a connection that has no request to answer."""
    body = answer.body
    assert isinstance(body, bytes)  # noqa: S101 - for the type checker
    answer.headers.update({"Content-Length": str(len(body)), "Connection": "close"})
    lines = [f"{name}: {value}" for name, value in _complete(answer, "").headers.items()]
    head = "\r\n".join([f"HTTP/1.1 {answer.status} {answer.reason}", *lines, "", ""])
    return head.encode() + body
