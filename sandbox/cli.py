"""Command line of the sandbox; `botapi sandbox` is the same command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from sandbox.options import Options

_BAD_INPUT: Final = 2


def _number(metavar: str, text: str, name: str | None = None, most: float | None = None) -> Any:
    """Return an option that takes a number of at least 0."""
    names = () if name is None else (name,)
    return typer.Option(*names, min=0, max=most, metavar=metavar, help=text)


def simulate(
    *,
    accounts: Annotated[Path, typer.Option(metavar="FILE", help="JSON list of accounts.")],
    port: Annotated[
        int, _number("P", "Port of directory and control API; 0: any free one.", most=65_535)
    ] = 0,
    matches: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Serve the match answers in *.json.")
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep keys, revocations and the journal here."),
    ] = None,
    websocket_cms: Annotated[int, _number("N", "Connection managers over WebSocket.")] = 2,
    tcp_cms: Annotated[int, _number("N", "Connection managers over TCP.")] = 2,
    gc_delay_ms: Annotated[float, _number("MS", "Delay of every match answer.", "--gc-delay")] = 0,
    welcome_delay_ms: Annotated[
        float, _number("MS", "Time between the GC's hello and welcome.", "--welcome-delay")
    ] = 0,
    heartbeat_s: Annotated[
        float, _number("S", "Interval; three missed heartbeats end a session.", "--heartbeat")
    ] = 9,
    quota_account: Annotated[int, _number("N", "Match requests per 24 h and account.")] = 100,
    quota_ip: Annotated[int, _number("N", "Match requests per 24 h and IP address.")] = 500,
    quota_cards: Annotated[int, _number("N", "Profile cards per 24 h and account.")] = 10_000,
    replay_mb: Annotated[float, _number("MB", "Average size of a replay.", most=200)] = 1.5,
    seed: Annotated[int, _number("N", "Seed of matches and random choices.")] = 0,
    scenario: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML file with actions over time.")
    ] = None,
    clock_offset_s: Annotated[
        float,
        typer.Option("--clock-offset", metavar="S", help="Seconds that Steam's clock is ahead."),
    ] = 0,
    stock_clients: Annotated[
        bool,
        typer.Option(
            help="Send unknown messages only after the log-on answer, which steam 1.4.4 would lose."
        ),
    ] = True,
    logon_limits: Annotated[
        bool, typer.Option(help="Refuse too many log-ons of an IP address or account (84, 87).")
    ] = True,
    early_hellos: Annotated[
        bool, typer.Option(help="Ignore some GC hellos right after games-played.")
    ] = True,
    exit_with_parent: Annotated[
        bool, typer.Option("--exit-with-parent", help="Stop when the parent process ends.")
    ] = False,
) -> None:
    """Run the simulated Steam network on loopback."""
    options = Options(**locals())  # the parameters are its fields
    import asyncio  # noqa: PLC0415 - `--help` and completion need none of this
    import logging  # noqa: PLC0415 - as above
    import sys  # noqa: PLC0415 - as above

    from sandbox.server import run  # noqa: PLC0415 - as above

    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    try:
        asyncio.run(run(options))
    except (OSError, ValueError) as error:
        typer.echo(f"sandbox: {error}", err=True)
        raise typer.Exit(_BAD_INPUT) from None


def main() -> None:
    """Run the command and exit: 0 after a clean stop, 2 for bad input."""
    app = typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.command()(simulate)
    app(prog_name="sandbox")
