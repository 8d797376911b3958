"""The `botapi` command: run, version, healthcheck, config, and the groups of commands.

terminal.py has the exit codes. The command that needs a heavy module imports it, so that `--help`,
completion and `config check` are fast and touch neither Steam nor Redis.
"""

from __future__ import annotations

import functools
import http.client
import importlib
import json
import platform
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from http import HTTPStatus
from itertools import groupby
from typing import Annotated, Any, Final, NoReturn

import typer
from typer.core import TyperGroup

from sandbox.cli import simulate
from supervisor import __version__
from supervisor.app.load_settings import load
from supervisor.cli.match import match
from supervisor.cli.replay import replay
from supervisor.cli.status import status
from supervisor.cli.terminal import (
    AsJson,
    ConfigFile,
    ExitCode,
    escape_what_the_terminal_lacks,
    say,
)
from supervisor.config.errors import ConfigError
from supervisor.config.load import Loaded
from supervisor.config.model import LOOPBACK

TIMEOUT_S: Final = 3.0  # below the 5 s that the Dockerfile's HEALTHCHECK allows


def is_healthy(host: str, port: int, *, timeout_s: float = TIMEOUT_S) -> bool:
    """Return whether ``GET /healthz`` answers 200; loopback stands for "all interfaces"."""
    # urllib would send this through a proxy that the environment names.
    connection = http.client.HTTPConnection(LOOPBACK.get(host, host), port, timeout=timeout_s)
    with closing(connection), suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/healthz")
        return connection.getresponse().status == HTTPStatus.OK
    return False


def later(module: str, name: str = "app") -> type[TyperGroup]:
    """Return a group with the commands of the application `name` in `module`, imported on first use."""

    @functools.cache
    def loaded() -> TyperGroup:
        return typer.main.get_group(getattr(importlib.import_module(module), name))

    class Later(TyperGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            return loaded().list_commands(ctx)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            return loaded().get_command(ctx, cmd_name)

    return Later


app = typer.Typer(
    name="botapi",
    help="Dota 2 match details over HTTP, from a self-healing fleet of Steam accounts.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # its tracebacks show local variables, and some are secrets
    rich_markup_mode=None,
)
config_app = typer.Typer(help="Check or show the settings.", no_args_is_help=True)
# Group, module, name of its application, help.
GROUPS: Final = (
    ("accounts", "supervisor.cli.accounts", "app", "Manage the Steam accounts."),
    ("bots", "supervisor.cli.fleet", "bots", "Restart, park and unpark bots."),
    ("fleet", "supervisor.cli.fleet", "fleet", "Scale, drain or resume the fleet."),
    ("keys", "supervisor.cli.keys", "app", "Manage the API keys."),
)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit; the console script `botapi`."""
    escape_what_the_terminal_lacks()
    try:
        app(args=argv)
    except ConfigError as exc:
        say(f"botapi: {exc}", err=True)
        sys.exit(ExitCode.MISUSED)
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
    sys.exit(ExitCode.OK)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer passes it by position
    if wanted:
        typer.echo(f"botapi {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass


@app.command()
def run(
    config: ConfigFile = None,
    *,
    sandbox: Annotated[
        bool,
        typer.Option(
            "--sandbox", help="Start and use a simulated Steam network with demo accounts."
        ),
    ] = False,
) -> None:
    """Run the service until SIGTERM or Ctrl-C."""
    raise typer.Exit(_serve(load(config, sandbox=sandbox)))


@app.command()
def version(*, as_json: AsJson = False) -> None:
    """Print the version."""
    if as_json:
        typer.echo(json.dumps({"version": __version__, "python": platform.python_version()}))
    else:
        typer.echo(f"botapi {__version__}")


@config_app.command("check")
def check(config: ConfigFile = None, *, as_json: AsJson = False) -> None:
    """Check whether the settings are valid."""
    try:
        loaded = load(config)
    except ConfigError as error:
        if as_json:
            found = {"ok": False, "source": error.source, "key": error.key, "error": error.problem}
            typer.echo(json.dumps(found))
        raise
    if as_json:
        unread = {"unread": loaded.unread} if loaded.unread else {}
        found = {"ok": True, "file": loaded.file and str(loaded.file), **unread}
        typer.echo(json.dumps(found))
    else:
        say(f"{loaded.file or 'defaults (there is no config.toml here)'}: ok")
        for note in loaded.notes():
            say(f"botapi: {note}", err=True)


@config_app.command("show")
def show(config: ConfigFile = None, *, as_json: AsJson = False) -> None:
    """Print the settings in effect and the source of each; secrets are hidden."""
    loaded = load(config)
    say(settings_as_json(loaded) if as_json else settings_as_toml(loaded))


def settings_as_toml(loaded: Loaded) -> str:
    """Return the settings as TOML that config.toml accepts, apart from hidden passwords."""
    blocks = []
    for section, rows in groupby(loaded.rows(), key=lambda row: row[0]):
        # A JSON string is a TOML basic string; numbers and lists of strings are the same in both.
        lines = [
            (f"{key} = {json.dumps(value, ensure_ascii=False)}", source)
            for _, key, value, source in rows
        ]
        width = max(len(text) for text, _ in lines)
        blocks.append(
            "\n".join([f"[{section}]", *(f"{text:<{width}}  # {source}" for text, source in lines)])
        )
    return "\n\n".join(blocks)


def settings_as_json(loaded: Loaded) -> str:
    """Return ``{section: {key: {"value": ..., "source": ...}}}``."""
    sections: dict[str, dict[str, object]] = {}
    for section, key, value, source in loaded.rows():
        sections.setdefault(section, {})[key] = {"value": value, "source": source}
    return json.dumps(sections, indent=2, ensure_ascii=False)


@app.command(hidden=True)
def healthcheck(config: ConfigFile = None) -> None:
    """Ask the running service's /healthz; for the container engine."""
    http = load(config).settings.http
    raise typer.Exit(ExitCode.OK if is_healthy(http.host, http.port) else ExitCode.FAILED)


app.command()(match)
app.command()(replay)
app.command()(status)
for group, module, application, purpose in GROUPS:
    lazy = typer.Typer(cls=later(module, application), help=purpose, no_args_is_help=True)
    app.add_typer(lazy, name=group)
app.add_typer(config_app, name="config")
app.command("sandbox")(simulate)


def _serve(loaded: Loaded) -> int:
    import structlog  # noqa: PLC0415 - heavy, and only to run the service

    from supervisor.app.run import serve  # noqa: PLC0415 - as above
    from supervisor.logs import setup as logs  # noqa: PLC0415 - as above

    logs.configure(loaded.settings.log)
    try:
        return serve(loaded)
    except ConfigError as error:
        logs.say(f"botapi: {error}")  # stderr itself may be a full pipe
        return ExitCode.MISUSED
    except Exception:  # noqa: BLE001 - the process boundary: logged with secrets hidden
        structlog.get_logger().exception("service_crashed")
        return ExitCode.FAILED
    finally:
        logs.close()
