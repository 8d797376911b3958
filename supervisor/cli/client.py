"""HTTP client for the running service. It ignores proxies that the environment names."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import orjson

from actors.replays.download import AGENT, why
from supervisor.cli.options import ApiRefused, ApiUnreachable, Service

CONNECT_S: Final = 5.0


class ApiClient:
    """Sends requests to one service; an async context manager."""

    def __init__(self, service: Service, *, timeout_s: float) -> None:
        """`timeout_s`: the limit for each request as a whole."""
        self.url = service.url
        headers = {"User-Agent": AGENT}
        if service.token is not None:
            headers["Authorization"] = f"Bearer {service.token}"
        self._headers = headers
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_S)

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(headers=self._headers, timeout=self._timeout)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.close()

    async def get(self, path: str, **query: Any) -> Any:
        """GET; return the answer's JSON.

        Raises:
            ApiUnreachable, ApiRefused.
        """
        return await self.call("GET", path, query=query)

    async def post(self, path: str, body: Any = None) -> Any:
        """POST `body` as JSON; return and raise as `get`."""
        return await self.call("POST", path, body=body)

    async def call(
        self, method: str, path: str, *, body: Any = None, query: Mapping[str, Any] | None = None
    ) -> Any:
        """Send one request; return and raise as `get`."""
        data = None if body is None else orjson.dumps(body)
        try:
            async with self._http.request(
                method,
                self.url + path,
                data=data,
                params=query,
                headers={"Content-Type": "application/json"} if data else None,
            ) as answer:
                return _read(answer.status, await answer.read())
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            raise ApiUnreachable(self.url, why(error)) from error


def _read(status: int, body: bytes) -> Any:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = None
    if status < HTTPStatus.BAD_REQUEST and answer is not None:
        return answer
    if isinstance(answer, dict) and "error" in answer:
        message = str(answer.get("message") or answer["error"])
        raise ApiRefused(status, str(answer["error"]), message, answer.get("retry_after"))
    raise ApiRefused(status, "no-botapi", f"HTTP {status}: this is not a BotAPI", None)
