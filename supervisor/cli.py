"""The `botapi` command: reads arguments and settings, starts what was asked for, names the outcome.

Exit codes: 0 a clean stop or a good answer, 1 a failure at work, 2 a mistake in the arguments or
the settings. Everything heavy is imported by the command that needs it, so that `--help` and
`config check` answer at once and touch neither Steam nor Redis.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from supervisor import __version__
from supervisor.settings import ConfigError, Loaded, load


class Exit(IntEnum):
    """How the process ends."""

    OK = 0
    FAILED = 1
    MISUSED = 2
    INTERRUPTED = 130  # 128 + SIGINT, as shells have it


ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        envvar="BOTAPI_CONFIG",
        metavar="FILE",
        help="Settings to read; without it ./config.toml, or the defaults if there is none.",
        show_default=False,
    ),
]

app = typer.Typer(
    name="botapi",
    help="Dota 2 match details over HTTP, from a self-healing fleet of Steam accounts.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # its tracebacks show local variables, and some are secrets
    rich_markup_mode=None,
)
config_app = typer.Typer(help="Check or show the settings.", no_args_is_help=True)
app.add_typer(config_app, name="config")


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit; the console script `botapi`."""
    try:
        app(args=argv)
    except ConfigError as exc:
        typer.echo(f"botapi: {exc}", err=True)
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


@app.command(
    add_help_option=False,  # its own --help says more
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def sandbox(context: typer.Context) -> None:
    """Run the simulated Steam network alone."""
    from sandbox.cli import main as sandbox_main  # noqa: PLC0415 - see the module docstring

    raise typer.Exit(sandbox_main(context.args) or Exit.OK)


@app.command(
    add_help_option=False,  # its own --help says more
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def accounts(context: typer.Context) -> None:
    """Add accounts and look after them: add, import, list, login, release, reset, remove."""
    from supervisor.cli_accounts import app as accounts_app  # noqa: PLC0415 - as above

    accounts_app(args=context.args, prog_name="botapi accounts", standalone_mode=True)


@config_app.command("check")
def check(config: ConfigFile = None) -> None:
    """Say whether the settings can be used."""
    loaded = load(config)
    typer.echo(f"{loaded.file or 'defaults (there is no config.toml here)'}: ok")


@config_app.command("show")
def show(
    config: ConfigFile = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Print the settings in effect and where each comes from; secrets are hidden."""
    from supervisor.settings_show import as_json as to_json  # noqa: PLC0415 - as above
    from supervisor.settings_show import as_toml  # noqa: PLC0415 - as above

    loaded = load(config)
    typer.echo(to_json(loaded) if as_json else as_toml(loaded))


@app.command(hidden=True)
def healthcheck(config: ConfigFile = None) -> None:
    """Ask the running service's /healthz; for the container engine."""
    from supervisor.healthcheck import is_healthy  # noqa: PLC0415 - as above

    http = load(config).settings.http
    raise typer.Exit(Exit.OK if is_healthy(http.host, http.port) else Exit.FAILED)


def _serve(loaded: Loaded) -> int:
    import structlog  # noqa: PLC0415 - as above

    from supervisor import logs  # noqa: PLC0415 - as above
    from supervisor.service import serve  # noqa: PLC0415 - as above

    logs.configure(loaded.settings.log)
    try:
        return serve(loaded)
    except ConfigError:
        raise
    except Exception:  # noqa: BLE001 - the process boundary: logged with secrets hidden
        structlog.get_logger().exception("service_crashed")
        return Exit.FAILED
