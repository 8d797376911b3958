"""`botapi accounts`: adds, imports, lists, logs on, releases, resets and removes accounts.

The commands use the Redis of the settings; a private Valkey that is not running is started for the
command. Secrets are never arguments: the commands prompt for them or read them from stdin. No output
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
from rich.table import Table

from actors.accounts.admin import AccountAdmin, AccountRow
from actors.accounts.encryption import Encryption
from actors.accounts.formats import (
    bad_name,
    bad_shared_secret,
    canonical,
    same_account,
    shown,
    stored,
)
from actors.accounts.import_file import LARGEST, add_all, read_accounts
from actors.accounts.logon_limiter import LogonLimiter
from actors.accounts.store import AccountStore
from actors.errors import ServiceError, StoreUnavailable
from actors.redis.client import RedisClient, connect, ping
from actors.redis.embedded import OTHERS, EmbeddedValkey
from supervisor.app.load_settings import load
from supervisor.app.secrets import take_secret_key
from supervisor.app.stores import log_on_limits, quota_limits
from supervisor.cli.terminal import (
    AsJson,
    ConfigFile,
    ExitCode,
    fail,
    say,
    say_json,
    show,
    span,
    table,
)
from supervisor.config.errors import ConfigError
from supervisor.config.model import Settings


def table_of(rows: list[AccountRow]) -> Table:
    """Return one line per account."""
    heads = ("account", "state", "used", "left", "holder", "since", "cooldown", "last log-on")
    cells = (
        (
            row.account,
            row.state.value,
            row.used,
            row.left,
            row.holder or "",
            span(row.held_for_s),
            "; ".join(filter(None, (_cooldown(row), row.problem))),
            f"{span(row.last_logon_s)} ago" if row.last_logon_s is not None else "",
        )
        for row in rows
    )
    return table(heads, cells, to_the_right=("used", "left"))


def _cooldown(row: AccountRow) -> str | None:
    if row.cooldown_s is None:
        return row.cooldown_reason  # until an operator acts
    why = row.cooldown_reason or "no reason given"
    return f"{span(row.cooldown_s)}: {why}" if row.cooldown_s else None


T = TypeVar("T")


class OpenStores:
    """The stores that the commands work with."""

    def __init__(self, redis: RedisClient, settings: Settings, encryption: Encryption) -> None:
        quota = quota_limits(settings)
        prefix, lease_s = settings.redis.prefix, settings.bots.lease_seconds
        self.settings = settings
        self.store = AccountStore(
            redis, prefix=prefix, quota=quota, lease_s=lease_s, encryption=encryption
        )
        self.admin = AccountAdmin(redis, prefix=prefix, quota=quota)
        self.pacing = LogonLimiter(redis, prefix=prefix, limits=log_on_limits(settings))


def with_accounts(
    config: Path | None,
    work: Callable[[OpenStores], Awaitable[T]],
    *,
    as_json: bool = False,
    seals: bool = False,
) -> T:
    """Open the stores, do `work` and close them; an error of the service is one line and exit code 1.

    `seals`: `work` reads or writes secrets; then the key must open those that are stored.

    Raises:
        ConfigError: the settings or the key cannot be used.
    """
    loaded = load(config)
    settings = loaded.settings
    for note in loaded.notes():
        say(f"botapi: {note}", err=True)
    if settings.redis.is_embedded:
        os.umask(OTHERS)
    key = take_secret_key(os.environ, settings.own_key_file, may_make=seals)

    async def run() -> T:
        async with _redis(settings) as redis:
            session = OpenStores(redis, settings, key.encryption())
            if seals and (closed := await session.store.undecryptable_values()):
                raise key.opens_none_of(closed)
            return await work(session)

    try:
        return asyncio.run(run())
    except ServiceError as error:
        raise fail(ExitCode.FAILED, str(error), as_json=as_json, word="refused") from None


@contextlib.asynccontextmanager
async def _redis(settings: Settings) -> AsyncIterator[RedisClient]:
    """Yield the Redis of the settings; run the embedded Valkey if it is not running."""
    valkey = EmbeddedValkey(settings.redis.data_dir) if settings.redis.is_embedded else None
    url = settings.redis.url.get_secret_value() if valkey is None else valkey.url
    async with contextlib.aclosing(connect(url)) as redis:
        if valkey is None or await _answers(redis):
            yield redis
            return
        await valkey.start()
        running = asyncio.create_task(valkey.run())
        try:
            yield redis
        finally:
            valkey.stop()
            await running
            valkey.disclaim()


async def _answers(redis: RedisClient) -> bool:
    with contextlib.suppress(StoreUnavailable):
        await ping(redis)
        return True
    return False


SHOWN: Final = 20  # problems of an import that are printed

# main.py has the help of this group; it imports this module on first use.
app = typer.Typer(rich_markup_mode=None)

Name = Annotated[str, typer.Argument(help="Name of the account.")]
Force = Annotated[bool, typer.Option("--force", help="Even while the account is in use.")]


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

    Prompts for the secrets, or reads one line of stdin for each.
    """
    if problem := bad_name(name):
        raise ConfigError("name", problem)
    password = _secret("Password")
    shared_secret = _secret("Shared secret") if with_shared_secret else None
    if not password:
        raise ConfigError(
            "password", "it is missing; type it, or pass it as the first line of stdin"
        )
    if problem := bad_shared_secret(shared_secret):
        raise ConfigError("shared secret", problem)
    stored_as = with_accounts(
        config,
        lambda session: session.store.add(
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

    If an entry is wrong, no account is added and the wrong entries are listed. Files of one command are
    read together, for example maFiles and a list of the passwords of their accounts.
    """
    found = read_accounts((str(file) if len(files) > 1 else "", _read(file)) for file in files)
    good, bad = found.accounts, found.problems
    if good:
        stored_as = with_accounts(
            config, lambda session: add_all(session.store, good), as_json=as_json, seals=True
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
    raise typer.Exit(ExitCode.FAILED if bad else ExitCode.OK)


@app.command("list")
def list_(config: ConfigFile = None, *, as_json: AsJson = False) -> None:
    """Show the state, budget, holder, cooldown and last log-on of every account."""
    rows = with_accounts(config, lambda session: session.admin.overview(), as_json=as_json)
    if as_json:
        say_json([asdict(row) for row in rows])
    else:
        show(table_of(rows), pipe_width=250)


@app.command()
def login(name: Name, config: ConfigFile = None, *, as_json: AsJson = False) -> None:
    """Log an account on once and store its token.

    Asks for a Steam Guard code if Steam wants one.
    """
    from supervisor.cli.login import login as run  # noqa: PLC0415 - imports gevent

    logged_on = with_accounts(
        config,
        lambda session: run(session.settings, session.store, session.admin, session.pacing, name),
        as_json=as_json,
        seals=True,
    )
    if as_json:
        steam_id = str(logged_on.steam_id)  # too large for an exact number in many JSON parsers
        say_json({"account": name, "done": "logged on", "steam_id": steam_id})
    else:
        say(f"{name}: logged on as {logged_on.steam_id}; the token is stored")


@app.command()
def release(
    name: Name, config: ConfigFile = None, *, force: Force = False, as_json: AsJson = False
) -> None:
    """Release an account that a crashed client has left checked out."""
    with_accounts(config, lambda session: session.admin.release(name, force=force), as_json=as_json)
    _say(name, "free", as_json=as_json)


@app.command()
def reset(name: Name, config: ConfigFile = None, *, as_json: AsJson = False) -> None:
    """End the cooldown of an account and restore its budget."""
    with_accounts(config, lambda session: session.admin.reset(name), as_json=as_json)
    _say(name, "reset", as_json=as_json)


@app.command()
def remove(
    name: Name, config: ConfigFile = None, *, force: Force = False, as_json: AsJson = False
) -> None:
    """Delete an account and everything stored for it."""
    with_accounts(config, lambda session: session.admin.remove(name, force=force), as_json=as_json)
    _say(name, "removed", as_json=as_json)


def _say(name: str, done: str, *, as_json: bool) -> None:
    name = shown(stored(name))
    say(json.dumps({"account": name, "done": done}) if as_json else f"{name}: {done}")


def _secret(prompt: str) -> str:
    """Prompt without echo on a terminal; elsewhere read one line of stdin."""
    if sys.stdin.isatty():
        return getpass.getpass(f"{prompt}: ")
    return sys.stdin.readline().rstrip("\r\n")


def _read(file: Path) -> bytes:
    """Return the content of a file; of one that is too large, enough to tell."""
    try:
        if str(file) == "-":
            return sys.stdin.buffer.read(LARGEST + 1)
        with file.open("rb") as opened:
            return opened.read(LARGEST + 1)
    except OSError as error:
        raise ConfigError(str(file), f"cannot be read: {error.strerror}") from None
