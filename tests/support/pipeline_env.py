"""The HTTP pipeline with the match routes over a memory, on connections without sockets."""

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
from actors.http.auth.clients import Networks
from actors.http.connection import Capacity, HttpConnection
from actors.http.metrics import HttpMetrics, MatchMetrics
from actors.http.pipeline import Pipeline
from actors.http.routes.cached_matches import CachedMatches
from actors.http.routes.match_fetcher import MatchFetcher
from actors.http.routes.matches import MatchRoutes
from actors.http.server import make_app
from actors.matches.cache import MatchCache
from actors.matches.match import Known, MatchAnswer, ReplayFacts, Source
from actors.metrics import Instruments
from actors.router.messages import RouterMessage
from support.fake_clock import FakeClock, settle
from support.router_counts import RouterCounts

PEER: Final = "198.51.100.7"


def known_match(match_id: int, clock: FakeClock, *, ttl_s: float = 600.0) -> MatchAnswer:
    """Return a match whose representations all contain its ID."""
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
    """One parsed response; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class FakeWire(asyncio.Transport):
    """A transport that keeps what is written."""

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

    def __init__(self, connection: HttpConnection, wire: FakeWire) -> None:
        self.connection = connection
        self.wire = wire

    async def send(self, data: bytes) -> list[Answer]:
        """Let `data` arrive in one piece; return the responses once all tasks wait."""
        self.connection.data_received(data)
        await settle()
        answers = list(_parsed(self.wire.written))
        self.wire.written = b""
        return answers

    async def ask(self, data: bytes) -> Answer:
        """Send a request that has one response."""
        (answer,) = await self.send(data)
        return answer


class PipelineEnv:
    """Admission, pipeline and match routes."""

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
        self.router_metrics = RouterCounts()
        self.errors: list[str] = []  # of matches; "" for data
        self.outcomes: list[tuple[object, ...]] = []  # of requests
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self.admission = Admission(
            keys,
            per_minute=per_minute,
            proxies=proxies,
            operators=None,
            clock=clock,
        )
        fetcher = MatchFetcher(
            Address[RouterMessage]("router"),
            self.memory,
            deadline_s=15.0,
            router_metrics=self.router_metrics,
            metrics=_MatchMetrics(self.errors),
            clock=clock,
        )
        self.routed: list[str] = []  # targets that the application was asked for
        self.cached = CachedMatches(self.admission, fetcher, clock=clock)
        self._routes = MatchRoutes(fetcher, clock=clock)

    def knows(self, *known: Known) -> None:
        """Put matches into memory."""
        for one in known:
            self.memory.put(one)

    @contextlib.asynccontextmanager
    async def talk(self, *, from_memory: bool = True) -> AsyncIterator[Talk]:
        """Yield a connection; without `from_memory` the application answers every request."""
        log = structlog.wrap_logger(structlog.ReturnLogger(), processors=[])
        app = make_app((self._routes,), self.admission, version="test")
        app.router.add_route("POST", "/echo", _echo)
        pipeline = Pipeline(
            self.admission,
            self.cached if from_memory else None,
            clock=self.clock,
            log=log,
            record=self.record,
            metrics=_HttpMetrics(self.outcomes, self.clock),
        )
        runner = web.AppRunner(app)
        await runner.setup()
        server = runner.server
        assert server is not None
        application: Any = server.request_handler

        async def routed(request: web.Request) -> web.StreamResponse:
            self.routed.append(request.raw_path)
            response: web.StreamResponse = await application(request)
            return response

        handler: Any = pipeline.wrap(routed)
        server.request_handler = handler
        loop = asyncio.get_running_loop()
        connection = HttpConnection(server, Capacity(10), loop=loop, log=log)
        wire = FakeWire()
        connection.connection_made(wire)
        try:
            yield Talk(connection, wire)
        finally:
            connection.connection_lost(None)
            await runner.cleanup()

    def record(self, level: str, fields: dict[str, Any]) -> None:
        """Keep a log line."""
        self.lines.append((level, fields))


class _MatchMetrics(MatchMetrics):
    """Also keeps the error words."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__(Instruments())
        self._errors = errors

    def answered(self, error: str = "") -> None:
        super().answered(error)
        self._errors.append(error)


class _HttpMetrics(HttpMetrics):
    """Also keeps what it observes."""

    def __init__(self, outcomes: list[tuple[object, ...]], clock: FakeClock) -> None:
        super().__init__(Instruments(), clock)
        self._outcomes = outcomes

    def observe(
        self,
        route: str | None,
        status: int,
        took_s: float,
        error: str | None = None,
        source: Source | None = None,
    ) -> None:
        super().observe(route, status, took_s, error, source)
        self._outcomes.append((route, status, took_s, error, source))


async def _echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


def _parsed(data: bytes) -> Iterator[Answer]:
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(": ")
            assert name.lower() not in headers, f"{name} occurs twice"
            headers[name.lower()] = value
        status = int(first.split()[1])
        size = 0 if status in {100, 304} else int(headers["content-length"])
        yield Answer(status, headers, data[:size])
        data = data[size:]
