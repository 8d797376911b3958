"""`botapi status`: how the fleet is, once or live."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any, Final

import typer

from supervisor.api import Service
from supervisor.cli_options import (
    AsJson,
    ConfigFile,
    KeyFile,
    Url,
    refusals,
    service_at,
)

TIMEOUT_S: Final = 10.0


def status(
    *,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Stay, and look once a second; q ends it.")
    ] = False,
    url: Url = None,
    key_file: KeyFile = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show how the fleet is.

    With --watch --json, one line of JSON a second.
    """
    service = service_at(url, key_file, config)
    with refusals(as_json=as_json):
        if watch:
            from supervisor.status_watch import watch as look_on  # noqa: PLC0415 - see cli.py

            look_on(service, as_json=as_json)
            return
        answer = asyncio.run(_ask(service))
    if as_json:
        typer.echo(json.dumps(answer, ensure_ascii=False))
        return
    from supervisor.status_view import show  # noqa: PLC0415 - see cli.py

    show(answer)


async def _ask(service: Service) -> Any:
    from supervisor.api_client import ApiClient  # noqa: PLC0415 - see cli.py

    async with ApiClient(service, timeout_s=TIMEOUT_S) as api:
        return await api.get("/status")
