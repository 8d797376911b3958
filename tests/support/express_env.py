"""Match routes over a memory, with all that stands before them, on connections without sockets."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final, NamedTuple

import structlog
from aiohttp import web

from actors.actor import Address
from actors.http.auth.admission import Admission
from actors.http.auth.api_keys import KeyRing
from actors.http.auth.client_address import Networks
from actors.http.connection import Capacity, Connection
from actors.http.express import Express
from actors.http.openapi.operation import add_routes, shortcuts
from actors.http.outcome import Outcome
from actors.http.pipeline import Pipeline
from actors.http.routes.match_fetcher import MatchFetcher
from actors.http.routes.matches import MatchRoutes
from actors.http.server import bare_app
from actors.matches.cache import MatchCache
from actors.matches.match import Known, MatchAnswer, ReplayFacts
from actors.router.messages import RouterMessage
from support.fake_clock import FakeClock, settle
from support.router_counts import RouterCounts

PEER: Final = "198.51.100.7"


def known_match(match_id: int, clock: FakeClock, *, ttl_s: float = 600.0) -> MatchAnswer:
    """Return an answer that says which match it is about in each of its forms."""
    json = f'{{"id":{match_id}}}'.encode()
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    return MatchAnswer(
        match_id=match_id,
        json=json,
        gzip=packer.compress(json) + packer.flush(),
        protobuf=f"protobuf of {match_id}".encode(),
        etag=f"tag-of-{match_id}",
        replay=ReplayFacts("REPLAY_AVAILABLE", 153, 1, "http://replay153.valve.net/1.dem.bz2"),
        stored_at=clock.wall(),
        fresh_until=clock.wall() + ttl_s,
    )


class Answer(NamedTuple):
    """One answer as it went over the wire; the names of its headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class FakeWire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": (PEER, 5555)})
        self.written = b""
        self._is_closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        self._is_closing = True

    def abort(self) -> None:
        self.close()


class Talk:
    """One connection."""

    def __init__(self, connection: Connection, wire: FakeWire) -> None:
        self.connection = connection
        self.wire = wire

    async def send(self, data: bytes) -> list[Answer]:
        """Let `data` arrive in one piece; return what is answered by the time all has settled."""
        self.connection.data_received(data)
        await settle()
        answers = list(_parsed(self.wire.written))
        self.wire.written = b""
        return answers

    async def ask(self, data: bytes) -> Answer:
        """Send a request that has one answer."""
        (answer,) = await self.send(data)
        return answer


class Counter:
    """Everything but sockets."""

    def __init__(
        self,
        clock: FakeClock,
        *,
        keys: KeyRing | None = None,
        per_minute: float = 0,
        proxies: Networks = (),
    ) -> None:
        self.clock = clock
        self.memory = MatchCache(100)
        self.tally = RouterCounts()
        self.errors: list[str] = []  # of matches; "" for data
        self.outcomes: list[Outcome] = []
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self.taken: list[bytes] = []  # heads that went the short way
        self.admission = Admission(
            keys,
            per_minute=per_minute,
            proxies=proxies,
            is_operator=lambda _: False,
            clock=clock,
        )
        asker = MatchFetcher(
            Address[RouterMessage]("router"),
            self.memory,
            deadline_s=15.0,
            tally=self.tally,
            count=self.errors.append,
            clock=clock,
        )
        self.express = Express(
            self.admission,
            asker,
            clock=clock,
            record=self._record,
            count=self.outcomes.append,
            log=structlog.get_logger(),
        )
        self._routes = MatchRoutes(asker, wall=clock.wall)

    def knows(self, *known: Known) -> None:
        """Put into memory."""
        for one in known:
            self.memory.put(one)

    @contextlib.asynccontextmanager
    async def talk(self, *, is_express: bool = True) -> AsyncIterator[Talk]:
        """Yield a connection; without `is_express` everything goes the long way."""
        log = structlog.wrap_logger(structlog.ReturnLogger(), processors=[])
        app = bare_app(self.admission)
        app.router.add_route("POST", "/echo", _echo)
        list(add_routes(app, self._routes))
        edge = Pipeline(
            self.admission,
            clock=self.clock,
            log=log,
            record=self._record,
            count=self.outcomes.append,
        )
        runner = web.AppRunner(app)
        await runner.setup()
        server = runner.server
        assert server is not None
        answering: Any = edge.around(server.request_handler, shortcuts(self._routes))
        server.request_handler = answering
        loop = asyncio.get_running_loop()
        ready = self._ready if is_express else None
        connection = Connection(server, Capacity(10), loop=loop, log=log, ready=ready)
        wire = FakeWire()
        connection.connection_made(wire)
        try:
            yield Talk(connection, wire)
        finally:
            connection.connection_lost(None)
            await runner.cleanup()

    def _ready(self, data: bytes, peer: str) -> Any:
        answer = self.express(data, peer)
        if answer is not None:
            self.taken.append(data)
        return answer

    def _record(self, level: str, facts: dict[str, Any]) -> None:
        self.lines.append((level, facts))


async def _echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


def _parsed(data: bytes) -> Iterator[Answer]:
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(": ")
            assert name.lower() not in headers, f"{name} stands there twice"
            headers[name.lower()] = value
        status = int(first.split()[1])
        size = 0 if status == 304 else int(headers["content-length"])
        yield Answer(status, headers, data[:size])
        data = data[size:]
