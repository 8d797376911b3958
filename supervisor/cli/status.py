"""`botapi status`: shows the fleet, once or live."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from supervisor.app.settings import load
from supervisor.cli.options import AsJson, ConfigFile, KeyFile, Service, Url, refusals, service_at
from supervisor.cli.terminal import say_json

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
    if url is None and service.token is None:  # another service must not see this token
        service = replace(service, token=_own_token(config))
    with refusals(as_json=as_json):
        if watch:
            from supervisor.cli.status_screen import watch as look_on  # noqa: PLC0415 - see cli.py

            look_on(service, as_json=as_json)
            return
        answer = asyncio.run(_ask(service))
    if as_json:
        say_json(answer)
        return
    from supervisor.cli.status_screen import show  # noqa: PLC0415 - see cli.py

    show(answer)


def _own_token(config: Path | None) -> str | None:
    """Return the admin token of the service on this machine, where we may read it."""
    settings = load(config).settings
    with contextlib.suppress(OSError, UnicodeDecodeError):
        file = settings.http.admin_token_file or settings.own_token_file
        return file.read_text("utf-8-sig").strip() or None
    return None


async def _ask(service: Service) -> Any:
    from supervisor.cli.client import ApiClient  # noqa: PLC0415 - see cli.py

    async with ApiClient(service, timeout_s=TIMEOUT_S) as api:
        return await api.get("/status")
