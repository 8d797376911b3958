"""Bare aiohttp server that returns bytes from memory: the upper limit for the service.

    python -m bench.bare_server FILE [--log LOG] [--delay-ms MS] [--work REDIS_URL]

It returns FILE, gzipped JSON, to every GET of `PATH`, and prints its port when it listens. `--log` writes
aiohttp's access log to a file; `--delay-ms` delays the response. `--work` does the work that no design
can avoid: one Redis script before the delay, and after it the conversion of FILE, a response of the GC,
to JSON.
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
from actors.matches.store import Claim, MatchStore
from actors.redis.client import connect

PATH: Final = "/match-details"  # aiohttp resolves a fixed path fastest


class BareServer(NamedTuple):
    """A running server."""

    url: str
    pid: int


@contextlib.contextmanager
def bare_server(
    body: bytes, *, logs: bool = False, delay_ms: float = 0, work_with: str | None = None
) -> Iterator[BareServer]:
    """Run a server process with `body` in memory; `work_with` is a Redis URL."""
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
    """Return a handler that responds with `body`."""

    async def handler(_request: web.Request) -> web.Response:
        if delay_s:
            await asyncio.sleep(delay_s)
        return _packed(body)

    return handler


def working(body: bytes, delay_s: float, redis_url: str) -> Handler:
    """Return a handler that converts `body`, a response of the GC, for each request."""
    decoder = MatchDecoder()
    store = MatchStore(connect(redis_url, raw=True), prefix="bare", log=structlog.get_logger())

    async def handler(request: web.Request) -> web.Response:
        match_id = int(request.query["match_id"])
        await store.lookup(Claim(match_id))
        await asyncio.sleep(delay_s)
        answer = answer_of(match_id, body, decoder.decode(body), now=time.time(), ttl_s=60)
        return _packed(answer.gzip)

    return handler


async def serve(handler: Handler, log: logging.Logger | None) -> None:
    """Serve until the process ends."""
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
    """Return aiohttp's access logger, writing to `file`."""
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
