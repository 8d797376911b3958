"""CM list: fetched from Steam's web API, cached, and shared by all bots.

Today's clients call GetCMListForConnect; GetCMList is the older call that still works. A CM is picked at
random among the least loaded ones, so that a fleet does not land on one; a failed CM is avoided for two
minutes. Both follow node-steam-user, with its numbers.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import socket
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any, Final

import aiohttp
import orjson
from structlog.typing import FilteringBoundLogger

from actors.clock import Clock
from actors.errors import SteamUnreachable
from actors.steam.port import Server, TransportKind
from actors.steam.steam_time import SteamTime

REALM: Final = "steamglobal"
FRESH_S: Final = 300.0
BAD_MARK_S: Final = 120.0
RETRY_S: Final = 1.0  # after a failure without any list; callers share the failure until then
BEST: Final = 5
ANSWER_S: Final = 10.0
MAX_COUNT: Final = 100
LAST_PORT: Final = 65535
MAX_ADDRESSES: Final = 4  # per name
USER_AGENT: Final = "Valve/Steam HTTP Client 1.0"
NO_LIST: Final = (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError)


class CmDirectory:
    """List of CMs. One per process."""

    def __init__(
        self,
        base_url: str,
        transport: TransportKind,
        *,
        clock: Clock,
        rng: random.Random,
        log: FilteringBoundLogger,
        time: SteamTime | None = None,
    ) -> None:
        """`base_url`: e.g. ``https://api.steampowered.com``; `time` learns from the answers."""
        self._base_url = base_url.rstrip("/")
        self._transport = transport
        self._clock = clock
        self._rng = rng
        self._log = log.bind(actor="directory")
        self._time = time
        self._endpoints: list[str] = []  # best first
        self._fetched_at: float | None = None
        self._failure: tuple[float, str] | None = None  # when, why
        self._bad_until: dict[str, float] = {}
        self._refresh = asyncio.Lock()

    async def pick(self) -> Server:
        """Return a CM to try next.

        Raises:
            SteamUnreachable: with phase ``"directory"``; no list, or an unresolvable name.
        """
        await self._refresh_if_old()
        now = self._clock.now()
        good = [one for one in self._endpoints if self._bad_until.get(one, 0.0) <= now]
        if not good:  # all are marked: clear the marks instead of waiting
            self._bad_until.clear()
            good = self._endpoints
        if not good:
            raise SteamUnreachable("directory", "the directory lists no server for this transport")
        endpoint = self._rng.choice(good[:BEST])
        try:
            return await self._resolve(endpoint)
        except SteamUnreachable:
            self._mark(endpoint)
            raise

    def mark_bad(self, server: Server) -> None:
        """Avoid `server` for two minutes, unless all are marked."""
        self._mark(server.endpoint)

    def _mark(self, endpoint: str) -> None:
        self._bad_until[endpoint] = self._clock.now() + BAD_MARK_S

    async def _refresh_if_old(self) -> None:
        """Fetch the list, once for all callers; keep the old list when that fails."""
        async with self._refresh:
            now = self._clock.now()
            if self._fetched_at is not None and now - self._fetched_at < FRESH_S:
                return
            if self._failure is not None and now - self._failure[0] < RETRY_S:
                raise SteamUnreachable("directory", self._failure[1])
            try:
                self._endpoints = await self._fetch()
            except SteamUnreachable as error:
                if not self._endpoints:
                    self._failure = (self._clock.now(), error.reason)
                    raise
                self._log.warning("directory_stale", reason=error.reason)
            self._fetched_at = self._clock.now()

    async def _fetch(self) -> list[str]:
        old_query = {"cellid": "0", "maxcount": str(MAX_COUNT)}
        query = {**old_query, "cmtype": self._transport.value, "realm": REALM}
        calls = (
            ("GetCMListForConnect", query, self._from_connect_list),
            ("GetCMList", old_query, self._from_old_list),
        )
        reason = ""
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        headers = {"User-Agent": USER_AGENT}
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
            for method, parameters, read in calls:
                try:
                    if endpoints := read(await self._get(session, method, parameters)):
                        return endpoints
                    reason = f"{method}: an empty list"
                except NO_LIST as error:
                    reason = f"{method}: {type(error).__name__} {error}".strip()
        raise SteamUnreachable("directory", reason)

    async def _get(
        self, session: aiohttp.ClientSession, method: str, query: Mapping[str, str]
    ) -> Any:
        url = f"{self._base_url}/ISteamDirectory/{method}/v1/"
        async with session.get(url, params={**query, "format": "json"}) as answer:
            answer.raise_for_status()
            response = orjson.loads(await answer.read())["response"]
            if self._time is not None:
                headers = answer.headers
                self._time.learn_from_directory(headers.get("Date"), headers.get("Age"))
            return response

    def _from_connect_list(self, response: Any) -> list[str]:
        if not response["success"]:
            raise ValueError(response.get("message") or "success is false")
        loads: dict[str, float] = {}
        for row in response["serverlist"]:
            if self._is_ours(row):
                load = row.get("wtd_load")
                loads[row["endpoint"]] = float(load) if isinstance(load, int | float) else 0.0
        return sorted(loads, key=loads.__getitem__)

    def _is_ours(self, row: object) -> bool:
        return (
            isinstance(row, dict)
            and row.get("type") == self._transport.value
            and row.get("realm", REALM) == REALM
            and _is_endpoint(row.get("endpoint"))
        )

    def _from_old_list(self, response: Any) -> list[str]:
        websocket = self._transport is TransportKind.WEBSOCKET
        rows = response["serverlist_websockets" if websocket else "serverlist"]
        return list(dict.fromkeys(filter(_is_endpoint, rows)))

    async def _resolve(self, endpoint: str) -> Server:
        """Resolve host:port; the hub does no DNS."""
        host, _, port = endpoint.rpartition(":")
        host = host.strip("[]")
        try:
            addresses = [str(ipaddress.ip_address(host))]
        except ValueError:
            addresses = await self._look_up(host)
        first, *others = addresses
        return Server(endpoint, host, first, int(port), self._transport, tuple(others))

    async def _look_up(self, host: str) -> list[str]:
        """Return the addresses of a name, address families alternating (RFC 8305, section 4)."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(ANSWER_S):
                found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError, UnicodeError) as error:
            reason = f"cannot resolve {host}: {error}"
            raise SteamUnreachable("directory", reason) from error
        # IPv4 first: IPv6 is broken in some networks. Behind DNS64 (IPv6 only) a name has both.
        families = (socket.AF_INET, socket.AF_INET6)
        of = [list(dict.fromkeys(str(one[4][0]) for one in found if one[0] == f)) for f in families]
        in_turn = [address for pair in zip_longest(*of) for address in pair if address is not None]
        if not in_turn:
            raise SteamUnreachable("directory", f"cannot resolve {host}: no address")
        return in_turn[:MAX_ADDRESSES]


def _is_endpoint(text: object) -> bool:
    """Whether `text` is host:port; anything else would fail every pick."""
    if not isinstance(text, str):
        return False
    host, _, port = text.rpartition(":")
    return bool(host) and port.isascii() and port.isdecimal() and 0 < int(port) <= LAST_PORT
