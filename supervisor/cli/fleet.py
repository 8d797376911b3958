"""`botapi bots` and `botapi fleet`: requests to the admin API of the running service.

The admin token comes from `--token-file` or from the file that the settings name, never from an argument.
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable
from dataclasses import replace
from inspect import Signature, signature
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from supervisor.cli.client import (
    ApiClient,
    Service,
    Url,
    admin_token_file,
    read_secret,
    refusals,
    service_at,
)
from supervisor.cli.terminal import AsJson, ConfigFile, say

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


Request = tuple[str, str, Any]  # method, path, body


def _send(
    request: Request,
    *,
    wait: Wait = False,
    url: Url = None,
    token_file: TokenFile = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Send one request, and print the wanted state of the fleet that it returns."""
    service = _service(url, token_file, config)
    with refusals(as_json=as_json):
        plan = asyncio.run(_ask(service, request, wait=wait))
    say(json.dumps(plan) if as_json else in_words(plan))


def _command(
    group: typer.Typer, *, waits: bool = False
) -> Callable[[Callable[..., Request]], Callable[..., Request]]:
    """Return a decorator that adds a command, which sends the request that the function returns.

    The command has the arguments of the function and the options of `_send`; `waits`: also --wait.
    """

    def add(function: Callable[..., Request]) -> Callable[..., Request]:
        arguments = signature(function, eval_str=True).parameters
        _, wait, *options = signature(_send, eval_str=True).parameters.values()

        @functools.wraps(function)
        def command(**values: Any) -> None:
            request = function(**{name: values.pop(name) for name in arguments})
            _send(request, **values)

        both = [*arguments.values(), *([wait] if waits else []), *options]
        command.__signature__ = Signature(both)  # type: ignore[attr-defined]
        group.command()(command)
        return function

    return add


@_command(bots, waits=True)
def restart(name: BotName) -> Request:
    """Restart a bot after it has finished its requests and logged off."""
    return _bot(name, "restart")


@_command(bots, waits=True)
def park(name: BotName) -> Request:
    """Park a bot: it finishes its requests, logs off and stays off until it is unparked."""
    return _bot(name, "park")


@_command(bots)
def unpark(name: BotName) -> Request:
    """Start a parked bot, or one that waits for its next restart."""
    return _bot(name, "unpark")


@_command(fleet)
def show() -> Request:
    """Show the wanted state of the fleet."""
    return "GET", "/admin/fleet", None


@_command(fleet, waits=True)
def scale(count: Count) -> Request:
    """Set the number of bots until bots.count changes in the settings or the service restarts."""
    return "POST", "/admin/fleet/scale", {"count": count}


@_command(fleet, waits=True)
def drain() -> Request:
    """Drain the fleet: every bot finishes its requests, logs off and releases its account."""
    return "POST", "/admin/fleet/drain", None


@_command(fleet)
def resume() -> Request:
    """Resume all bots except those that an operator parked."""
    return "POST", "/admin/fleet/resume", None


def _bot(name: str, what: str) -> Request:
    return "POST", f"/admin/bots/{quote(name, safe='')}/{what}", None


def _service(url: str | None, token_file: Path | None, config: Path | None) -> Service:
    """Return the address of the service, with the admin token."""
    token = read_secret(token_file or admin_token_file(config), "--token-file")
    return replace(service_at(url, None, config), token=token)


async def _ask(service: Service, request: Request, *, wait: bool) -> Any:
    method, path, body = request
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
