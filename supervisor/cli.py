"""The `botapi` command: reads arguments and settings, starts what was asked for, names the outcome.

Exit codes: 0 a clean stop or a good answer, 1 a failure at work, 2 a mistake in the arguments or
the settings; the others are in cli_options.py. Everything heavy is imported by the command that needs
it, so that `--help`, completion and `config check` answer at once and touch neither Steam nor Redis.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from sandbox.cli import simulate
from supervisor import __version__
from supervisor.cli_later import later
from supervisor.cli_match import match
from supervisor.cli_options import AsJson, ConfigFile, Exit
from supervisor.cli_replay import replay
from supervisor.cli_status import status
from supervisor.settings import ConfigError, Loaded, load
from supervisor.terminal import escape_what_the_terminal_lacks, say


def _accounts() -> typer.Typer:
    from supervisor.cli_accounts import app as commands  # noqa: PLC0415 - imported when it is used

    return commands


def _keys() -> typer.Typer:
    from supervisor.cli_keys import app as commands  # noqa: PLC0415 - as above

    return commands


def _bots() -> typer.Typer:
    from supervisor.cli_fleet import bots as commands  # noqa: PLC0415 - as above

    return commands


def _fleet() -> typer.Typer:
    from supervisor.cli_fleet import fleet as commands  # noqa: PLC0415 - as above

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
    from supervisor.settings_show import as_json as to_json  # noqa: PLC0415 - as above
    from supervisor.settings_show import as_toml  # noqa: PLC0415 - as above

    loaded = load(config)
    say(to_json(loaded) if as_json else as_toml(loaded))


@app.command(hidden=True)
def healthcheck(config: ConfigFile = None) -> None:
    """Ask the running service's /healthz; for the container engine."""
    from supervisor.healthcheck import is_healthy  # noqa: PLC0415 - as above

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

    from supervisor import logs  # noqa: PLC0415 - as above
    from supervisor.service import serve  # noqa: PLC0415 - as above

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
