"""`botapi match`: what the service says about one match."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from supervisor.api import Service
from supervisor.cli_options import (
    TIMEOUT_S,
    AsJson,
    ConfigFile,
    KeyFile,
    Timeout,
    Url,
    refusals,
    service_at,
)
from supervisor.terminal import say_json

MatchId = Annotated[int, typer.Argument(metavar="ID", help="The match's id.", show_default=False)]


def match(
    match_id: MatchId,
    *,
    url: Url = None,
    key_file: KeyFile = None,
    config: ConfigFile = None,
    timeout: Timeout = TIMEOUT_S,
    as_json: AsJson = False,
) -> None:
    """Ask the running service about a match.

    Exit codes: 3 there is no such match, 4 ask again later.
    """
    service = service_at(url, key_file, config)
    with refusals(as_json=as_json):
        answer = asyncio.run(ask(service, match_id, timeout))
    if as_json:
        say_json(answer)
        return
    from supervisor.match_table import show  # noqa: PLC0415 - see cli.py

    show(answer)


async def ask(service: Service, match_id: int, timeout_s: float) -> dict[str, Any]:
    """Return the service's answer about a match; raise as `ApiClient.get`."""
    from supervisor.api_client import ApiClient  # noqa: PLC0415 - see cli.py

    async with ApiClient(service, timeout_s=timeout_s) as api:
        answer: dict[str, Any] = await api.get("/match-details", match_id=match_id)
        return answer
