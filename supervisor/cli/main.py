"""The `botapi` command: run, version, healthcheck, and the groups of commands.

Exit codes: 0 a clean stop or a good answer, 1 a failure at work, 2 a mistake in the arguments or
the settings; the others are in cli_options.py. Everything heavy is imported by the command that needs
it, so that `--help`, completion and `config check` answer at once and touch neither Steam nor Redis.
"""

from __future__ import annotations

import functools
import http.client
import json
import platform
import sys
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Final, NoReturn

import typer
from typer.core import TyperGroup

from sandbox.cli import simulate
from supervisor import __version__
from supervisor.app.settings import load
from supervisor.cli.match import match
from supervisor.cli.options import AsJson, ConfigFile, Exit
from supervisor.cli.replay import replay
from supervisor.cli.status import status
from supervisor.cli.terminal import escape_what_the_terminal_lacks, say
from supervisor.config.errors import ConfigError
from supervisor.config.load import Loaded
from supervisor.config.model import LOOPBACK

TIMEOUT_S: Final = 3.0  # below the 5 s that the Dockerfile's HEALTHCHECK allows


def is_healthy(host: str, port: int, *, timeout_s: float = TIMEOUT_S) -> bool:
    """Return whether ``GET /healthz`` answers 200; an address for all interfaces means loopback."""
    # http.client, because urllib would send this through a proxy named in the environment.
    connection = http.client.HTTPConnection(LOOPBACK.get(host, host), port, timeout=timeout_s)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def later(commands: Callable[[], typer.Typer]) -> type[TyperGroup]:
    """Return a group whose commands are those of the application that `commands` imports."""

    @functools.cache
    def loaded() -> TyperGroup:
        return typer.main.get_group(commands())

    class Later(TyperGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            return loaded().list_commands(ctx)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            return loaded().get_command(ctx, cmd_name)

    return Later


def _accounts() -> typer.Typer:
    from supervisor.cli.accounts import app as commands  # noqa: PLC0415 - imported when it is used

    return commands


def _keys() -> typer.Typer:
    from supervisor.cli.keys import app as commands  # noqa: PLC0415 - as above

    return commands


def _bots() -> typer.Typer:
    from supervisor.cli.fleet import bots as commands  # noqa: PLC0415 - as above

    return commands


def _fleet() -> typer.Typer:
    from supervisor.cli.fleet import fleet as commands  # noqa: PLC0415 - as above

    return commands


app = typer.Typer(
    name="botapi",
    help="Dota 2 match details over HTTP, from a self-healing fleet of Steam accounts.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # its tracebacks show local variables, and some are secrets
    rich_markup_mode=None,
)
config_app = typer.Typer(help="Check or show the settings.", no_args_is_help=True)
accounts_app = typer.Typer(
    cls=later(_accounts),
    help="Add accounts and look after them.",
    no_args_is_help=True,
)
bots_app = typer.Typer(
    cls=later(_bots), help="Restart, park and unpark bots.", no_args_is_help=True
)
fleet_app = typer.Typer(
    cls=later(_fleet),
    help="Have more or fewer bots, or none for a while.",
    no_args_is_help=True,
)
keys_app = typer.Typer(
    cls=later(_keys),
    help="Make API keys and look after them.",
    no_args_is_help=True,
)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit; the console script `botapi`."""
    escape_what_the_terminal_lacks()
    try:
        app(args=argv)
    except ConfigError as exc:
        say(f"botapi: {exc}", err=True)
        sys.exit(Exit.MISUSED)
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)
    sys.exit(Exit.OK)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - the shape typer calls it in
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
            "--sandbox", help="Use a simulated Steam network with demo accounts, started for this."
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
    """Say whether the settings can be used."""
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
    """Print the settings in effect and where each comes from; secrets are hidden."""
    from supervisor.cli.config import as_json as to_json  # noqa: PLC0415 - as above
    from supervisor.cli.config import as_toml  # noqa: PLC0415 - as above

    loaded = load(config)
    say(to_json(loaded) if as_json else as_toml(loaded))


@app.command(hidden=True)
def healthcheck(config: ConfigFile = None) -> None:
    """Ask the running service's /healthz; for the container engine."""
    from supervisor.cli.main import is_healthy  # noqa: PLC0415 - as above

    http = load(config).settings.http
    raise typer.Exit(Exit.OK if is_healthy(http.host, http.port) else Exit.FAILED)


app.command()(match)
app.command()(replay)
app.command()(status)
app.add_typer(accounts_app, name="accounts")
app.add_typer(bots_app, name="bots")
app.add_typer(fleet_app, name="fleet")
app.add_typer(keys_app, name="keys")
app.add_typer(config_app, name="config")
app.command("sandbox")(simulate)


def _serve(loaded: Loaded) -> int:
    import structlog  # noqa: PLC0415 - as above

    from supervisor.app.run import serve  # noqa: PLC0415 - as above
    from supervisor.logs import setup as logs  # noqa: PLC0415 - as above

    logs.configure(loaded.settings.log)
    try:
        return serve(loaded)
    except ConfigError as error:
        logs.say(f"botapi: {error}")  # not on stderr itself, which may be a pipe that is full
        return Exit.MISUSED
    except Exception:  # noqa: BLE001 - the process boundary: logged with secrets hidden
        structlog.get_logger().exception("service_crashed")
        return Exit.FAILED
    finally:
        logs.close()
