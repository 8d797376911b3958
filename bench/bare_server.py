"""An aiohttp server that returns bytes from memory and does nothing else: what is possible at most.

    python -m bench.bare_server FILE [--log LOG] [--delay-ms MS] [--work REDIS_URL]

Returns FILE, which is gzipped JSON, to every GET of `PATH`; prints its port when it listens. With a log
it writes aiohttp's own line for each request there; with a delay it answers after so many milliseconds.
With work it does what no design can leave out and nothing else: one script in Redis before the delay, and
after it FILE, a GC's answer now, becomes JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import structlog
from aiohttp import web

from actors.matches.match import answer_of
from actors.matches.protobuf.decoder import MatchDecoder
from actors.matches.store import MatchStore
from actors.redis.client import connect

PATH: Final = "/match-details"  # a fixed one, which aiohttp finds quickest


class BareServer(NamedTuple):
    """One that runs."""

    url: str
    pid: int


@contextlib.contextmanager
def bare_server(
    body: bytes, *, logs: bool = False, delay_ms: float = 0, work_with: str | None = None
) -> Iterator[BareServer]:
    """Run one, a process of its own, that has `body` in memory; `work_with`: the URL of a Redis."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "body"
        file.write_bytes(body)
        log = ["--log", str(file.with_name("log"))] if logs else []
        work = [] if work_with is None else ["--work", work_with]
        arguments = [str(file), *log, *work, "--delay-ms", str(delay_ms)]
        command = [sys.executable, "-m", "bench.bare_server", *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None  # noqa: S101 - for the type checker
            try:
                port = int(process.stdout.readline())
                yield BareServer(f"http://127.0.0.1:{port}", process.pid)
            finally:
                process.terminate()


Handler = Callable[[web.Request], Awaitable[web.Response]]


def from_memory(body: bytes, delay_s: float) -> Handler:
    """Return a handler that answers with `body`."""

    async def handler(_request: web.Request) -> web.Response:
        if delay_s:
            await asyncio.sleep(delay_s)
        return _packed(body)

    return handler


def working(body: bytes, delay_s: float, redis_url: str) -> Handler:
    """Return a handler that answers with what it makes of `body` each time."""
    decoder = MatchDecoder()
    store = MatchStore(connect(redis_url, raw=True), prefix="bare", log=structlog.get_logger())

    async def handler(request: web.Request) -> web.Response:
        match_id = int(request.query["match_id"])
        await store.lookup(store.claim(match_id))
        await asyncio.sleep(delay_s)
        answer = answer_of(match_id, body, decoder.decode(body), now=time.time(), ttl_s=60)
        return _packed(answer.gzip)

    return handler


async def serve(handler: Handler, log: logging.Logger | None) -> None:
    """Serve until the process is ended."""
    app = web.Application()
    app.router.add_get(PATH, handler)
    runner = web.AppRunner(app, access_log=log)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


def _packed(body: bytes) -> web.Response:
    return web.Response(
        body=body, content_type="application/json", headers={"Content-Encoding": "gzip"}
    )


def access_log(file: Path) -> logging.Logger:
    """Return aiohttp's logger, writing to `file`."""
    logging.basicConfig(filename=file, level=logging.INFO)
    return logging.getLogger("aiohttp.access")


def main() -> None:
    """Serve a file."""
    parser = argparse.ArgumentParser(prog="python -m bench.bare_server")
    parser.add_argument("file", type=Path)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--delay-ms", type=float, default=0)
    parser.add_argument("--work", metavar="REDIS_URL")
    options = parser.parse_args()
    log = None if options.log is None else access_log(options.log)
    body, delay_s = options.file.read_bytes(), options.delay_ms / 1000
    url: str | None = options.work
    handler = working(body, delay_s, url) if url else from_memory(body, delay_s)
    asyncio.run(serve(handler, log))


if __name__ == "__main__":
    main()
