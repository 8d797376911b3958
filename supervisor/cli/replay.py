"""`botapi replay`: its arguments. `replay_fetch.py`, which imports slowly, does the work."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from supervisor.cli.match import MatchId
from supervisor.cli.options import (
    TIMEOUT_S,
    AsJson,
    ConfigFile,
    KeyFile,
    Timeout,
    Url,
    refusals,
    service_at,
)

Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="File or directory to write to, - for stdout; default: the server's name, here.",
        show_default=False,
    ),
]
Mirror = Annotated[
    str | None,
    typer.Option(
        "--mirror",
        envvar="BOTAPI_REPLAY_MIRROR",
        metavar="URL",
        help="Server with the same files; default: the one that the service names, or Valve's.",
        show_default=False,
    ),
]


def replay(
    match_id: MatchId,
    *,
    output: Output = None,
    extract: Annotated[
        bool, typer.Option("--extract", help="Write the uncompressed .dem.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    mirror: Mirror = None,
    retries: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Consecutive retries without a new byte."),
    ] = 4,
    url: Url = None,
    key_file: KeyFile = None,
    config: ConfigFile = None,
    timeout: Timeout = TIMEOUT_S,
    as_json: AsJson = False,
) -> None:
    """Download and verify the replay of a match.

    Valve's servers compress replays with zstd (older ones with bzip2) and name all of them .dem.bz2. The
    same command continues an interrupted download.

    Exit codes: 3 no such match or no replay (any more), 4 try again later, 130 Ctrl-C.
    """
    service = service_at(url, key_file, config)
    from supervisor.cli.replay_fetch import Order, fetch  # noqa: PLC0415 - see main.py

    order = Order(
        match_id=match_id,
        service=service,
        output=output,
        extract=extract,
        force=force,
        mirror=mirror,
        retries=retries,
        timeout_s=timeout,
        as_json=as_json,
    )
    with refusals(as_json=as_json):
        asyncio.run(fetch(order))
