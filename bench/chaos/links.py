"""Links of one service to Redis and Steam, each through a proxy of its own.

The service reads a relayed directory that has the proxies' ports in place of the CMs' ports. Host names
stay, because certificates contain them.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from bench.chaos.proxy import FaultProxy
from bench.sandbox_process import SandboxProcess


@dataclass
class Links:
    """The proxies of one service. `source`: its egress address."""

    source: str
    redis: FaultProxy
    steam: list[FaultProxy] = field(default_factory=list)
    directory_url: str = ""

    @property
    def redis_url(self) -> str:
        """The service's Redis URL."""
        return f"redis://127.0.0.1:{self.redis.port}/0"


@contextlib.asynccontextmanager
async def links(source: str, redis_port: int, sandbox: SandboxProcess) -> AsyncIterator[Links]:
    """Yield open links."""
    async with contextlib.AsyncExitStack() as stack:
        redis = await stack.enter_async_context(FaultProxy(("127.0.0.1", redis_port)))
        made = Links(source, redis)
        ports: dict[str, str] = {}
        for endpoint in (one for kind in sandbox.endpoints.values() for one in kind):
            host, port = endpoint.rsplit(":", 1)
            proxy = FaultProxy(("127.0.0.1", int(port)), source)
            made.steam.append(await stack.enter_async_context(proxy))
            ports[endpoint] = f"{host}:{proxy.port}"
        made.directory_url = await stack.enter_async_context(_directory(sandbox, ports))
        yield made


@contextlib.asynccontextmanager
async def _directory(sandbox: SandboxProcess, ports: dict[str, str]) -> AsyncIterator[str]:
    """Yield the URL of the relayed directory."""

    async def relay(request: web.Request) -> web.Response:
        url = sandbox.directory_url + request.path_qs
        async with aiohttp.ClientSession() as client, client.get(url) as answer:
            text = await answer.text()
        for theirs, ours in ports.items():
            text = text.replace(f'"{theirs}"', f'"{ours}"')
        return web.Response(text=text, status=answer.status, content_type="application/json")

    app = web.Application()
    app.router.add_get("/{path:.*}", relay)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
