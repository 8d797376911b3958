"""Which CMs there are: Steam's own list over HTTP, in asyncio, remembered and shared by all bots.

GetCMListForConnect is what today's clients ask, GetCMList the older way that still answers. Servers are
taken at random among the least loaded, so that a fleet does not land on one; one that failed is avoided
for two minutes (node-steam-user does the same with the same numbers).
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final

import aiohttp
import orjson
from structlog.typing import FilteringBoundLogger

from actors.clock import Clock
from actors.errors import SteamUnreachable
from actors.steam.port import Server, Transport

REALM: Final = "steamglobal"
FRESH_S: Final = 300.0
BAD_MARK_S: Final = 120.0
BEST: Final = 5
ANSWER_S: Final = 10.0
MAX_COUNT: Final = 100
USER_AGENT: Final = "Valve/Steam HTTP Client 1.0"


class CmDirectory:
    """See the module and `port.Directory`."""

    def __init__(
        self,
        base_url: str,
        transport: Transport,
        *,
        clock: Clock,
        rng: random.Random,
        log: FilteringBoundLogger,
    ) -> None:
        """`base_url`: e.g. ``https://api.steampowered.com``."""
        self._base_url = base_url.rstrip("/")
        self._transport = transport
        self._clock = clock
        self._rng = rng
        self._log = log.bind(actor="directory")
        self._endpoints: list[str] = []  # best first
        self._fetched_at: float | None = None
        self._bad_until: dict[str, float] = {}
        self._refresh = asyncio.Lock()

    async def pick(self) -> Server:
        """See `port.Directory`."""
        await self._refresh_if_old()
        now = self._clock.now()
        good = [one for one in self._endpoints if self._bad_until.get(one, 0.0) <= now]
        if not good:  # all are marked: forget the marks rather than wait
            self._bad_until.clear()
            good = self._endpoints
        if not good:
            raise SteamUnreachable("directory", "the directory lists no server for this transport")
        return await self._resolve(self._rng.choice(good[:BEST]))

    def mark_bad(self, server: Server) -> None:
        """See `port.Directory`."""
        self._bad_until[server.endpoint] = self._clock.now() + BAD_MARK_S

    async def _refresh_if_old(self) -> None:
        """Fetch the list at most once at a time, whoever asks; keep the old one when that fails."""
        async with self._refresh:
            age = None if self._fetched_at is None else self._clock.now() - self._fetched_at
            if age is not None and age < FRESH_S:
                return
            try:
                self._endpoints = await self._fetch()
            except SteamUnreachable as error:
                if not self._endpoints:
                    raise
                self._log.warning("directory_stale", reason=str(error))
            self._fetched_at = self._clock.now()

    async def _fetch(self) -> list[str]:
        query = {"cmtype": self._transport.value, "realm": REALM, "maxcount": str(MAX_COUNT)}
        readers: tuple[tuple[str, Mapping[str, str], Callable[[Any], list[str]]], ...] = (
            ("GetCMListForConnect", {"cellid": "0", **query}, self._from_connect_list),
            ("GetCMList", {"cellid": "0", "maxcount": str(MAX_COUNT)}, self._from_old_list),
        )
        reason = ""
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        headers = {"User-Agent": USER_AGENT}
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
            for method, parameters, read in readers:
                try:
                    if endpoints := read(await self._get(session, method, parameters)):
                        return endpoints
                    reason = f"{method}: an empty list"
                except (
                    aiohttp.ClientError,
                    TimeoutError,
                    ValueError,
                    KeyError,
                    TypeError,
                ) as error:
                    reason = f"{method}: {type(error).__name__} {error}".strip()
        raise SteamUnreachable("directory", reason)

    async def _get(
        self, session: aiohttp.ClientSession, method: str, query: Mapping[str, str]
    ) -> Any:
        url = f"{self._base_url}/ISteamDirectory/{method}/v1/"
        async with session.get(url, params={**query, "format": "json"}) as answer:
            answer.raise_for_status()
            return orjson.loads(await answer.read())["response"]

    def _from_connect_list(self, response: Any) -> list[str]:
        if not response["success"]:
            raise ValueError(response.get("message") or "success is false")
        rows = [
            row
            for row in response["serverlist"]
            if row["type"] == self._transport.value and row.get("realm", REALM) == REALM
        ]
        rows.sort(key=lambda row: float(row.get("wtd_load", 0.0)))
        return list(dict.fromkeys(str(row["endpoint"]) for row in rows))

    def _from_old_list(self, response: Any) -> list[str]:
        websocket = self._transport is Transport.WEBSOCKET
        rows = response["serverlist_websockets" if websocket else "serverlist"]
        return list(dict.fromkeys(str(row) for row in rows))

    async def _resolve(self, endpoint: str) -> Server:
        """Turn host:port into an address; names never reach the hub."""
        host, _, port = endpoint.rpartition(":")
        host = host.strip("[]")
        try:
            address = str(ipaddress.ip_address(host))
        except ValueError:
            address = await self._look_up(host)
        return Server(endpoint, host, address, int(port), self._transport)

    async def _look_up(self, host: str) -> str:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(ANSWER_S):
                found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError) as error:
            raise SteamUnreachable("directory", f"cannot resolve {host}: {error}") from error
        found.sort(key=lambda one: one[0] != socket.AF_INET)  # some networks have IPv6 in name only
        return str(found[0][4][0])
