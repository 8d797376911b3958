"""`botapi bots` and `botapi fleet`: requests to the admin API of the running service.

The admin token comes from `--token-file` or from the file that the settings name, never from an argument.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from supervisor.cli.options import (
    AsJson,
    ConfigFile,
    Service,
    Url,
    admin_token_file,
    read_secret,
    refusals,
    service_at,
)
from supervisor.cli.terminal import say

TIMEOUT_S: Final = 30.0
POLL_S: Final = 0.2

# main.py has the help of both groups; it imports this module on first use.
bots = typer.Typer(rich_markup_mode=None)
fleet = typer.Typer(rich_markup_mode=None)

BotName = Annotated[
    str, typer.Argument(metavar="BOT", help="Bot id as in `botapi status`, for example bot-1.")
]
Count = Annotated[int, typer.Argument(min=1, help="Number of bots.")]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        envvar="BOTAPI_ADMIN_TOKEN_FILE",
        metavar="FILE",
        help="File with the admin token; default: the file that the settings name.",
        show_default=False,
    ),
]
Wait = Annotated[
    bool, typer.Option("--wait", help="Wait until every bot has finished its requests.")
]


@bots.command()
def restart(
    name: BotName,
    *,
    wait: Wait = False,
    url: Url = None,
    token_file: TokenFile = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Restart a bot after it has finished its requests and logged off."""
    service = _service(url, token_file, config)
    _order(service, "POST", _bot(name, "restart"), wait=wait, as_json=as_json)


@bots.command()
def park(
    name: BotName,
    *,
    wait: Wait = False,
    url: Url = None,
    token_file: TokenFile = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Park a bot: it finishes its requests, logs off and stays off until it is unparked."""
    service = _service(url, token_file, config)
    _order(service, "POST", _bot(name, "park"), wait=wait, as_json=as_json)


@bots.command()
def unpark(
    name: BotName,
    *,
    url: Url = None,
    token_file: TokenFile = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Start a parked bot, or one that waits for its next restart."""
    service = _service(url, token_file, config)
    _order(service, "POST", _bot(name, "unpark"), as_json=as_json)


@fleet.command()
def show(
    *,
    url: Url = None,
    token_file: TokenFile = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show the wanted state of the fleet."""
    _order(_service(url, token_file, config), "GET", "/admin/fleet", as_json=as_json)


@fleet.command()
def scale(
    count: Count,
    *,
    wait: Wait = False,
    url: Url = None,
    token_file: TokenFile = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Set the number of bots until bots.count changes in the settings or the service restarts."""
    service = _service(url, token_file, config)
    body = {"count": count}
    _order(service, "POST", "/admin/fleet/scale", body, wait=wait, as_json=as_json)


@fleet.command()
def drain(
    *,
    wait: Wait = False,
    url: Url = None,
    token_file: TokenFile = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Drain the fleet: every bot finishes its requests, logs off and releases its account."""
    service = _service(url, token_file, config)
    _order(service, "POST", "/admin/fleet/drain", wait=wait, as_json=as_json)


@fleet.command()
def resume(
    *,
    url: Url = None,
    token_file: TokenFile = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Resume all bots except those that an operator parked."""
    service = _service(url, token_file, config)
    _order(service, "POST", "/admin/fleet/resume", as_json=as_json)


def _bot(name: str, what: str) -> str:
    return f"/admin/bots/{quote(name, safe='')}/{what}"


def _service(url: str | None, token_file: Path | None, config: Path | None) -> Service:
    """Return the address of the service, with the admin token."""
    token = read_secret(token_file or admin_token_file(config), "--token-file")
    return replace(service_at(url, None, config), token=token)


def _order(
    service: Service, method: str, path: str, body: Any = None, *, as_json: bool, wait: bool = False
) -> None:
    with refusals(as_json=as_json):
        plan = asyncio.run(_ask(service, method, path, body, wait=wait))
    say(json.dumps(plan) if as_json else in_words(plan))


async def _ask(service: Service, method: str, path: str, body: Any, *, wait: bool) -> Any:
    from supervisor.cli.client import ApiClient  # noqa: PLC0415 - see main.py

    async with ApiClient(service, timeout_s=TIMEOUT_S) as api:
        plan = await api.call(method, path, body=body)
        while wait and plan["leaving"]:
            await asyncio.sleep(POLL_S)
            plan = await api.get("/admin/fleet")
    return plan


def in_words(plan: dict[str, Any]) -> str:
    """Return one line about the wanted state of the fleet."""
    count, configured = plan["count"], plan["configured"]
    facts = [f"{count} bot{'' if count == 1 else 's'}"]
    if count != configured:
        facts.append(f"{configured} by the settings")
    if plan["drained"]:
        facts.append("drained")
    for what, names in (("parked", plan["parked"]), ("still finishing", plan["leaving"])):
        if names:
            facts.append(f"{what}: {' '.join(names)}")
    return ", ".join(facts)
