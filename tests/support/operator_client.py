"""Client of the admin API and of the event stream."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Self

import aiohttp

TOKEN = "an admin token of some length"


def with_token(folder: Path) -> dict[str, dict[str, Any]]:
    """Return settings with an admin token."""
    file = folder / "token"
    file.write_text(TOKEN + "\n")
    return {"http": {"admin_token_file": str(file)}}


async def ask(
    url: str,
    method: str,
    path: str,
    body: Any = None,
    *,
    token: str | None = TOKEN,
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, Any]]:
    """Send one request; a str is sent unchanged, any other body as JSON."""
    sent = dict(headers or {})
    if token is not None:
        sent["Authorization"] = f"Bearer {token}"
    text = body if isinstance(body, str) or body is None else json.dumps(body)
    data = None if text is None else text.encode(errors="surrogateescape")
    async with (
        aiohttp.ClientSession(headers=sent) as client,
        client.request(method, url + path, data=data) as answer,
    ):
        return answer.status, await answer.json()


class Stream:
    """`/events`, read one event at a time, and the state that they add up to."""

    def __init__(self, url: str, *, token: str | None = TOKEN, last: str | None = None) -> None:
        self._url = url
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        if last is not None:
            self._headers["Last-Event-ID"] = last
        self.last_id = last
        self.bots: dict[str, dict[str, Any]] = {}
        self.accounts: dict[str, dict[str, Any]] = {}
        self.parts: dict[str, Any] = {}

    async def __aenter__(self) -> Self:
        self._client = aiohttp.ClientSession(headers=self._headers, read_bufsize=1 << 22)
        self._answer = await self._client.get(self._url + "/events")
        self.status = self._answer.status
        self._events = self._read()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._events.aclose()
        self._answer.close()
        await self._client.close()

    async def next(self) -> tuple[str, dict[str, Any]]:
        """Return the next event's name and data, and apply it to the state."""
        name, data = await anext(self._events)
        for table, rows, key in (
            ("bots", self.bots, "bot_id"),
            ("accounts", self.accounts, "account"),
        ):
            if name == "snapshot":
                rows.clear()
            rows.update({row[key]: row for row in data.get(table, ())})
            for gone in data.get(f"gone_{table}", ()):
                rows.pop(gone)
        self.parts.update(data)
        return name, data

    async def _read(self) -> AsyncGenerator[tuple[str, dict[str, Any]]]:
        name, data = "", ""
        async for raw in self._answer.content:
            line = raw.decode().rstrip("\n")
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                data = value
            elif field == "id":
                self.last_id = value
            elif not line and data:
                yield name, json.loads(data)
                name, data = "", ""
