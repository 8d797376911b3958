"""`botapi bots` and `botapi fleet`: operates the bots of the running service.

Asks the admin API, with the admin token: from `--token-file`, or from where the settings say that the
service has it. The token is never an argument.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from supervisor.app.settings import load
from supervisor.cli.options import AsJson, ConfigFile, Service, Url, refusals, service_at
from supervisor.cli.terminal import say
from supervisor.config.errors import ConfigError

TIMEOUT_S: Final = 30.0
LOOK_AGAIN_S: Final = 0.2

bots = typer.Typer(
    help="Restart, park and unpark bots.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # its tracebacks show local variables, and some are secrets
    rich_markup_mode=None,
)
fleet = typer.Typer(
    help="Have more or fewer bots, or none for a while.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # as above
    rich_markup_mode=None,
)

BotName = Annotated[str, typer.Argument(metavar="BOT", help="As `botapi status` has it: bot-1.")]
Count = Annotated[int, typer.Argument(min=1, help="How many bots there shall be.")]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        envvar="BOTAPI_ADMIN_TOKEN_FILE",
        metavar="FILE",
        help="File with the admin token; without it, where the settings say that the service has it.",
        show_default=False,
    ),
]
Wait = Annotated[
    bool, typer.Option("--wait", help="Until every bot has finished what it had under way.")
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
    """Restart a bot: it finishes its requests, logs off, and starts again."""
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
    """Let a bot finish what it has, log off, and stay away."""
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
    """Let a parked bot work, or one that waits for its next try."""
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
    """Say what the fleet is meant to be."""
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
    """Have so many bots, until bots.count is edited in the settings or the service restarts."""
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
    """Let every bot finish, log off and give its account back."""
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
    """Return where the service is, and the admin token."""
    if token_file is None:
        settings = load(config).settings
        token_file = settings.http.admin_token_file or settings.own_token_file
    try:
        token = token_file.read_text("utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise ConfigError("--token-file", f"{token_file} cannot be read: {reason}") from None
    return replace(service_at(url, None, config), token=token)


def _order(
    service: Service, method: str, path: str, body: Any = None, *, as_json: bool, wait: bool = False
) -> None:
    with refusals(as_json=as_json):
        plan = asyncio.run(_ask(service, method, path, body, wait=wait))
    say(json.dumps(plan) if as_json else in_words(plan))


async def _ask(service: Service, method: str, path: str, body: Any, *, wait: bool) -> Any:
    from supervisor.cli.client import ApiClient  # noqa: PLC0415 - see cli.py

    async with ApiClient(service, timeout_s=TIMEOUT_S) as api:
        plan = await api.call(method, path, body=body)
        while wait and plan["leaving"]:
            await asyncio.sleep(LOOK_AGAIN_S)
            plan = await api.get("/admin/fleet")
    return plan


def in_words(plan: dict[str, Any]) -> str:
    """Say on one line what the fleet is meant to be."""
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
