"""An aiohttp server that returns bytes from memory and does nothing else: what is possible at most.

    python -m bench.bare_server FILE [--log LOG] [--delay-ms MS]

Returns FILE, which is gzipped JSON, to every GET of `PATH`; prints its port when it listens. With a log
it writes aiohttp's own line for each request there; with a delay it answers after so many milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from aiohttp import web

PATH: Final = "/match-details"  # a fixed one, which aiohttp finds quickest


class BareServer(NamedTuple):
    """One that runs."""

    url: str
    pid: int


@contextlib.contextmanager
def bare_server(body: bytes, *, logs: bool = False, delay_ms: float = 0) -> Iterator[BareServer]:
    """Run one, a process of its own, that has `body` in memory."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "body"
        file.write_bytes(body)
        log = ["--log", str(file.with_name("log"))] if logs else []
        arguments = [str(file), *log, "--delay-ms", str(delay_ms)]
        command = [sys.executable, "-m", "bench.bare_server", *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None  # noqa: S101 - for the type checker
            try:
                port = int(process.stdout.readline())
                yield BareServer(f"http://127.0.0.1:{port}", process.pid)
            finally:
                process.terminate()


async def serve(body: bytes, log: logging.Logger | None, delay_s: float) -> None:
    """Serve until the process is ended."""

    async def handler(_request: web.Request) -> web.Response:
        if delay_s:
            await asyncio.sleep(delay_s)
        return web.Response(
            body=body, content_type="application/json", headers={"Content-Encoding": "gzip"}
        )

    app = web.Application()
    app.router.add_get(PATH, handler)
    runner = web.AppRunner(app, access_log=log)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


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
    options = parser.parse_args()
    log = None if options.log is None else access_log(options.log)
    asyncio.run(serve(options.file.read_bytes(), log, options.delay_ms / 1000))


if __name__ == "__main__":
    main()
