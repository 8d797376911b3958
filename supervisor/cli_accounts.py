"""`botapi accounts`: add, import, list, login, release, reset, remove.

With cli.py and tree.py a composition root. Talks to the Redis of the settings; with the private Valkey,
to the running service's, or to one started for the moment. No secret is ever an argument: passwords and
codes are prompted for, or come from stdin.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final, TypeVar

import orjson
import typer
from redis.asyncio import Redis
from rich.console import Console
from rich.table import Table

from actors.accounts.admin import AccountAdmin, AccountRow
from actors.accounts.embedded import EmbeddedValkey
from actors.accounts.importing import (
    BadEntry,
    NewAccount,
    bad_name,
    bad_shared_secret,
    parse_accounts,
)
from actors.accounts.pacing import LogOnPacing
from actors.accounts.redis_client import connect, ping
from actors.accounts.sealing import Sealer, parse_keys
from actors.accounts.store import Accounts
from actors.errors import ServiceError, StoreUnavailable
from supervisor.policies import log_on_limits, quota_limits
from supervisor.secret_key import take_secret_key
from supervisor.settings import ConfigError, Settings, load

T = TypeVar("T")

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
PIPE_WIDTH: Final = 250  # columns; a table in a pipe is for grep, and one line each

app = typer.Typer(
    help="Add accounts and look after them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # its tracebacks show local variables, and some are secrets
    rich_markup_mode=None,
)

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", envvar="BOTAPI_CONFIG", metavar="FILE", help="Settings to read."),
]
Name = Annotated[str, typer.Argument(help="The account's name.")]
Force = Annotated[bool, typer.Option("--force", help="Also when somebody is using it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


class Desk:
    """What the commands work with: the store and the operator's view of it."""

    def __init__(self, redis: Redis, settings: Settings, sealer: Sealer) -> None:
        quota = quota_limits(settings)
        prefix, lease_s = settings.redis.prefix, settings.bots.lease_seconds
        self.settings = settings
        self.store = Accounts(redis, prefix=prefix, quota=quota, lease_s=lease_s, sealer=sealer)
        self.admin = AccountAdmin(redis, prefix=prefix, quota=quota)
        self.pacing = LogOnPacing(redis, prefix=prefix, limits=log_on_limits(settings))


@app.command()
def add(
    name: Name,
    config: ConfigFile = None,
    *,
    with_shared_secret: Annotated[
        bool, typer.Option("--with-shared-secret", help="Also ask for the TOTP shared secret.")
    ] = False,
) -> None:
    """Add an account, or change its password. Prompts; else one line each from stdin."""
    if problem := bad_name(name):
        raise ConfigError("name", problem)
    password = _secret("Password")
    shared_secret = _secret("Shared secret (base64)") if with_shared_secret else None
    if not password:
        raise ConfigError(
            "password", "it is missing; type it, or give it as the first line of stdin"
        )
    if problem := bad_shared_secret(shared_secret):
        raise ConfigError("shared secret", problem)
    _at_the_desk(config, lambda desk: desk.store.add(name, password, shared_secret))
    typer.echo(f"{name}: added")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="JSON, CSV or name:password lines; - for stdin.")],
    config: ConfigFile = None,
) -> None:
    """Add all accounts of a file; what is bad in it is reported and left out."""
    entries = list(parse_accounts(_read(file)))
    good = [entry for entry in entries if isinstance(entry, NewAccount)]
    bad = [entry for entry in entries if isinstance(entry, BadEntry)]

    async def add_all(desk: Desk) -> None:
        for one in good:
            await desk.store.add(one.name, one.password, one.shared_secret)

    _at_the_desk(config, add_all)
    for entry in bad:
        typer.echo(f"{entry.where}: {entry.problem}", err=True)
    typer.echo(f"{len(good)} imported, {len(bad)} refused")
    raise typer.Exit(EXIT_FAILED if bad else EXIT_OK)


@app.command("list")
def list_(config: ConfigFile = None, *, as_json: AsJson = False) -> None:
    """Show every account: its state, budget, holder, cooldown and last log-on."""
    rows = _at_the_desk(config, lambda desk: desk.admin.overview())
    if as_json:
        typer.echo(orjson.dumps([asdict(row) for row in rows]).decode())
    else:
        Console(width=None if sys.stdout.isatty() else PIPE_WIDTH).print(_table(rows))


@app.command()
def login(name: Name, config: ConfigFile = None) -> None:
    """Log an account on once, asking for a Steam Guard code if need be, and keep its token."""
    from supervisor.cli_login import login as run  # noqa: PLC0415 - gevent, for this command alone

    logged_on = _at_the_desk(
        config, lambda desk: run(desk.settings, desk.store, desk.admin, desk.pacing, name)
    )
    typer.echo(f"{name}: logged on as {logged_on.steam_id}; the token is stored")


@app.command()
def release(name: Name, config: ConfigFile = None, *, force: Force = False) -> None:
    """Free an account that a crashed client left checked out."""
    _at_the_desk(config, lambda desk: desk.admin.release(name, force=force))
    typer.echo(f"{name}: free")


@app.command()
def reset(name: Name, config: ConfigFile = None) -> None:
    """End an account's cooldown and give it its full budget."""
    _at_the_desk(config, lambda desk: desk.admin.reset(name))
    typer.echo(f"{name}: reset")


@app.command()
def remove(name: Name, config: ConfigFile = None, *, force: Force = False) -> None:
    """Forget an account and everything that is stored for it."""
    _at_the_desk(config, lambda desk: desk.admin.remove(name, force=force))
    typer.echo(f"{name}: removed")


def _at_the_desk(config: Path | None, work: Callable[[Desk], Awaitable[T]]) -> T:
    """Open the store, do `work`, close it; what goes wrong is one line and exit code 1."""
    settings = load(config).settings
    key = take_secret_key(os.environ)
    try:
        sealer = Sealer(parse_keys(key.text))
    except ValueError as error:
        raise key.refused(str(error)) from None

    async def run() -> T:
        async with _redis(settings) as redis:
            return await work(Desk(redis, settings, sealer))

    try:
        return asyncio.run(run())
    except ServiceError as error:
        typer.echo(f"botapi: {error}", err=True)
        raise typer.Exit(EXIT_FAILED) from None


@contextlib.asynccontextmanager
async def _redis(settings: Settings) -> AsyncIterator[Redis]:
    """Yield the Redis of the settings; a private Valkey that nobody runs is run meanwhile."""
    if not settings.redis.is_embedded:
        async with contextlib.aclosing(connect(settings.redis.url.get_secret_value())) as redis:
            yield redis
        return
    valkey = EmbeddedValkey(settings.redis.data_dir)
    async with contextlib.aclosing(connect(valkey.url)) as redis:
        try:
            await ping(redis)
        except StoreUnavailable:
            async with _running(valkey):
                yield redis
        else:
            yield redis


@contextlib.asynccontextmanager
async def _running(valkey: EmbeddedValkey) -> AsyncIterator[None]:
    await valkey.start()
    running = asyncio.create_task(valkey.run())
    try:
        yield
    finally:
        valkey.stop()
        await running
        valkey.disclaim()


def _secret(prompt: str) -> str:
    """Ask without echo on a terminal; elsewhere read one line."""
    if sys.stdin.isatty():
        return getpass.getpass(f"{prompt}: ")
    return sys.stdin.readline().rstrip("\r\n")


def _read(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
    except OSError as error:
        raise ConfigError(str(file), f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(str(file), "is not UTF-8 text") from None


def _table(rows: list[AccountRow]) -> Table:
    table = Table(box=None, pad_edge=False)
    for head in ("account", "state", "used", "left", "holder", "since", "cooldown", "last log-on"):
        table.add_column(head, justify="right" if head in {"used", "left"} else "left")
    for row in rows:
        cooldown = f"{_span(row.cooldown_s)}: {row.cooldown_reason or 'no reason given'}"
        table.add_row(
            row.account,
            row.state.value,
            str(row.used),
            str(row.left),
            row.holder or "",
            _span(row.held_for_s),
            cooldown if row.cooldown_s else "",
            f"{_span(row.last_logon_s)} ago" if row.last_logon_s is not None else "",
        )
    return table


def _span(seconds: float | None) -> str:
    """Return a length of time in its largest unit: 45 s, 12 min, 5 h, 3 d."""
    if seconds is None:
        return ""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
