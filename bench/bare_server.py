"""An aiohttp server that returns bytes from memory and does nothing else: what is possible at most.

    python -m bench.bare_server FILE [LOG]

Returns FILE, which is gzipped JSON, to every GET /; prints its port when it listens. With LOG it writes
aiohttp's own line for each request there.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

from aiohttp import web


async def serve(body: bytes, log: logging.Logger | None) -> None:
    """Serve until the process is ended."""

    async def handler(_request: web.Request) -> web.Response:
        return web.Response(
            body=body, content_type="application/json", headers={"Content-Encoding": "gzip"}
        )

    app = web.Application()
    app.router.add_get("/", handler)
    runner = web.AppRunner(app, access_log=log)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


def access_log(file: str) -> logging.Logger:
    """Return aiohttp's logger, writing to `file`."""
    logging.basicConfig(filename=file, level=logging.INFO)
    return logging.getLogger("aiohttp.access")


if __name__ == "__main__":
    log = access_log(sys.argv[2]) if len(sys.argv) > 2 else None
    asyncio.run(serve(Path(sys.argv[1]).read_bytes(), log))
