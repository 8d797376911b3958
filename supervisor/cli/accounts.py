"""`botapi accounts`: add, import, list, login, release, reset, remove.

It is the Redis of the settings; with the private Valkey the running service's, or one started meanwhile.

No secret is an argument: the commands prompt for passwords and codes, or read them from stdin. No output
contains a secret.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from actors.accounts.admin import AccountAdmin, AccountRow
from actors.accounts.desk import add_all
from actors.accounts.encryption import Encryption
from actors.accounts.import_file import LARGEST, read_accounts
from actors.accounts.logon_limiter import LogonLimiter
from actors.accounts.names import bad_name, same_account, shown, stored
from actors.accounts.shared_secrets import bad_shared_secret, canonical
from actors.accounts.store import AccountStore
from actors.errors import ServiceError, StoreUnavailable
from actors.redis.client import RedisClient, connect, ping
from actors.redis.embedded import EmbeddedValkey
from supervisor.app.policies import log_on_limits, quota_limits
from supervisor.app.private_files import only_ours_from_now_on
from supervisor.app.secrets import take_secret_key
from supervisor.app.settings import load
from supervisor.cli.options import AsJson, ConfigFile, Exit, fail
from supervisor.cli.terminal import cell, say, say_json, span
from supervisor.config.errors import ConfigError
from supervisor.config.model import Settings


def table_of(rows: list[AccountRow]) -> Table:
    """Return one line per account."""
    table = Table(box=None, pad_edge=False)
    for head in ("account", "state", "used", "left", "holder", "since", "cooldown", "last log-on"):
        table.add_column(head, justify="right" if head in {"used", "left"} else "left")
    for row in rows:
        why = row.cooldown_reason or "no reason given"
        rests = [f"{span(row.cooldown_s)}: {why}"] if row.cooldown_s else []
        if row.cooldown_s is None and row.cooldown_reason:  # for as long as no person acts
            rests = [row.cooldown_reason]
        cells = (
            row.account,
            row.state.value,
            row.used,
            row.left,
            row.holder or "",
            span(row.held_for_s),
            "; ".join([*rests, row.problem] if row.problem else rests),
            f"{span(row.last_logon_s)} ago" if row.last_logon_s is not None else "",
        )
        table.add_row(*map(cell, cells))
    return table


T = TypeVar("T")


class Desk:
    """What the commands work with: the store and the operator's view of it."""

    def __init__(self, redis: RedisClient, settings: Settings, sealer: Encryption) -> None:
        quota = quota_limits(settings)
        prefix, lease_s = settings.redis.prefix, settings.bots.lease_seconds
        self.settings = settings
        self.store = AccountStore(
            redis, prefix=prefix, quota=quota, lease_s=lease_s, encryption=sealer
        )
        self.admin = AccountAdmin(redis, prefix=prefix, quota=quota)
        self.pacing = LogonLimiter(redis, prefix=prefix, limits=log_on_limits(settings))


def at_the_desk(
    config: Path | None,
    work: Callable[[Desk], Awaitable[T]],
    *,
    as_json: bool = False,
    seals: bool = False,
) -> T:
    """Open the store, do `work`, close it; what goes wrong is one line and exit code 1.

    Args:
        config: the settings' file.
        work: what to do.
        as_json: say what goes wrong to programs.
        seals: whether `work` reads or writes secrets, which a key that opens none of them must not.

    Raises:
        ConfigError: the settings or the key cannot be used.
    """
    loaded = load(config)
    settings = loaded.settings
    for note in loaded.notes():
        say(f"botapi: {note}", err=True)
    if settings.redis.is_embedded:
        only_ours_from_now_on()
    key = take_secret_key(os.environ, settings.own_key_file, may_make=seals)
    sealer = key.sealer()

    async def run() -> T:
        async with _redis(settings) as redis:
            desk = Desk(redis, settings, sealer)
            if seals and (closed := await desk.store.undecryptable_values()):
                raise key.opens_none_of(closed)
            return await work(desk)

    try:
        return asyncio.run(run())
    except ServiceError as error:
        raise fail(Exit.FAILED, str(error), as_json=as_json, word="refused") from None


@contextlib.asynccontextmanager
async def _redis(settings: Settings) -> AsyncIterator[RedisClient]:
    """Yield the Redis of the settings; it starts the embedded Valkey if that is not running."""
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


SHOWN: Final = 20  # problems of an import
PIPE_WIDTH: Final = 250  # columns; a table in a pipe is for grep, and one line each

# Its help stands in cli.py, which imports this file as late as it can.
app = typer.Typer(rich_markup_mode=None)

Name = Annotated[str, typer.Argument(help="The account's name.")]
Force = Annotated[bool, typer.Option("--force", help="Also while the account is in use.")]


@app.command()
def add(
    name: Name,
    config: ConfigFile = None,
    *,
    with_shared_secret: Annotated[
        bool, typer.Option("--with-shared-secret", help="Also ask for the TOTP shared secret.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Add an account, or change its password.

    Prompts; else one line each from stdin.
    """
    if problem := bad_name(name):
        raise ConfigError("name", problem)
    password = _secret("Password")
    shared_secret = _secret("Shared secret") if with_shared_secret else None
    if not password:
        raise ConfigError(
            "password", "it is missing; type it, or give it as the first line of stdin"
        )
    if problem := bad_shared_secret(shared_secret):
        raise ConfigError("shared secret", problem)
    stored_as = at_the_desk(
        config,
        lambda desk: desk.store.add(
            name.strip(), password, shared_secret and canonical(shared_secret)
        ),
        as_json=as_json,
        seals=True,
    )
    if stored_as != name.strip():
        say(same_account(name.strip(), stored_as), err=True)
    _say(stored_as, "added", as_json=as_json)


@app.command("import")
def import_(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="name:password lines, CSV, JSON, maFiles or ASF bot files; - for stdin.",
            show_default=False,
        ),
    ],
    config: ConfigFile = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Add all accounts of some files.

    All of them or, with the reasons, none. Files that are named together are read together: maFiles and a
    list of their accounts' passwords.
    """
    found = read_accounts((str(file) if len(files) > 1 else "", _read(file)) for file in files)
    good, bad = found.accounts, found.problems
    if good:
        stored_as = at_the_desk(
            config, lambda desk: add_all(desk.store, good), as_json=as_json, seals=True
        )
        for one, name in zip(good, stored_as, strict=True):
            if name != one.name:
                say(same_account(one.name, name), err=True)
    for entry in bad[:SHOWN]:
        say(f"{entry.where}: {entry.problem}", err=True)
    if len(bad) > SHOWN:
        say(f"and {len(bad) - SHOWN} more", err=True)
    if as_json:
        refused = [{"where": entry.where, "problem": entry.problem} for entry in bad]
        say_json({"imported": len(good), "refused": refused})
    else:
        say(f"{len(good)} imported, {len(bad)} refused")
    raise typer.Exit(Exit.FAILED if bad else Exit.OK)


@app.command("list")
def list_(config: ConfigFile = None, *, as_json: AsJson = False) -> None:
    """Show every account.

    Its state, budget, holder, cooldown and last log-on.
    """
    rows = at_the_desk(config, lambda desk: desk.admin.overview(), as_json=as_json)
    if as_json:
        say_json([asdict(row) for row in rows])
    else:
        Console(width=None if sys.stdout.isatty() else PIPE_WIDTH).print(table_of(rows))


@app.command()
def login(name: Name, config: ConfigFile = None, *, as_json: AsJson = False) -> None:
    """Log an account on once, and keep its token.

    Asks for a Steam Guard code if need be.
    """
    from supervisor.cli.login import login as run  # noqa: PLC0415 - gevent, for this command alone

    logged_on = at_the_desk(
        config,
        lambda desk: run(desk.settings, desk.store, desk.admin, desk.pacing, name),
        as_json=as_json,
        seals=True,
    )
    if as_json:
        steam_id = str(logged_on.steam_id)  # beyond what JSON's readers take for an exact number
        say_json({"account": name, "done": "logged on", "steam_id": steam_id})
    else:
        say(f"{name}: logged on as {logged_on.steam_id}; the token is stored")


@app.command()
def release(
    name: Name, config: ConfigFile = None, *, force: Force = False, as_json: AsJson = False
) -> None:
    """Free an account that is checked out.

    For those that a crashed client has left so.
    """
    at_the_desk(config, lambda desk: desk.admin.release(name, force=force), as_json=as_json)
    _say(name, "free", as_json=as_json)


@app.command()
def reset(name: Name, config: ConfigFile = None, *, as_json: AsJson = False) -> None:
    """End an account's cooldown, give it its budget."""
    at_the_desk(config, lambda desk: desk.admin.reset(name), as_json=as_json)
    _say(name, "reset", as_json=as_json)


@app.command()
def remove(
    name: Name, config: ConfigFile = None, *, force: Force = False, as_json: AsJson = False
) -> None:
    """Forget an account and all that is stored for it."""
    at_the_desk(config, lambda desk: desk.admin.remove(name, force=force), as_json=as_json)
    _say(name, "removed", as_json=as_json)


def _say(name: str, done: str, *, as_json: bool) -> None:
    name = shown(stored(name))
    say(json.dumps({"account": name, "done": done}) if as_json else f"{name}: {done}")


def _secret(prompt: str) -> str:
    """Ask without echo on a terminal; elsewhere read one line."""
    if sys.stdin.isatty():
        return getpass.getpass(f"{prompt}: ")
    return sys.stdin.readline().rstrip("\r\n")


def _read(file: Path) -> bytes:
    """Return what is in a file; of one that is too large, enough to see that."""
    try:
        if str(file) == "-":
            return sys.stdin.buffer.read(LARGEST + 1)
        with file.open("rb") as opened:
            return opened.read(LARGEST + 1)
    except OSError as error:
        raise ConfigError(str(file), f"cannot be read: {error.strerror}") from None
