"""`botapi keys`: adds, lists and removes API keys in the file that `http.api_keys_file` names.

A running service follows the file. `add` prints the key once, alone on stdout.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.table import Table

from actors.http.auth.api_keys import (
    MOST_BURST,
    MOST_PER_MINUTE,
    MOST_PRIORITY,
    NAME_RULE,
    ApiKey,
    digest_of,
    is_name,
    new_key,
    without_key,
)
from actors.http.auth.clients import Client, Rate
from supervisor.app.load_settings import load
from supervisor.app.web import SETTING, read_keys
from supervisor.cli.terminal import AsJson, ConfigFile, ExitCode, fail, say, show, table
from supervisor.config.errors import ConfigError

HEAD: Final = "# API keys: names and hashes, never a key. `botapi keys add NAME` appends a line.\n"

# main.py has the help of this group; it imports this module on first use.
app = typer.Typer(rich_markup_mode=None)

Name = Annotated[str, typer.Argument(help="Name of the key, as in the log.")]


@app.command()
def add(
    name: Name,
    config: ConfigFile = None,
    *,
    per_minute: Annotated[
        float | None,
        typer.Option(
            min=0.001, max=MOST_PER_MINUTE, help="Requests per minute; default: no limit."
        ),
    ] = None,
    burst: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST_BURST,
            help="Requests at once after a pause; default: those of a minute.",
        ),
    ] = None,
    priority: Annotated[
        int,
        typer.Option(
            min=-MOST_PRIORITY, max=MOST_PRIORITY, help="Higher priorities are served first."
        ),
    ] = 0,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="The key may request a known match again.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Create a key and print it; it is printed only once."""
    if not is_name(name):
        raise ConfigError("name", f"it must be {NAME_RULE}")
    if burst is not None and per_minute is None:
        raise ConfigError("--burst", "it needs --per-minute")
    file = _file(config)
    if file.exists() and any(key.client.name == name for key in read_keys(file)):
        sentence = f"there is already a key called {name}; remove it first"
        raise fail(ExitCode.FAILED, sentence, as_json=as_json, word="in-use")
    shown = new_key()
    rate = None if per_minute is None else Rate.of(per_minute, burst)
    key = ApiKey(Client(name, priority, refresh), digest_of(shown), rate)
    _append(file, key.line)
    if as_json:
        typer.echo(json.dumps({**_facts(key), "key": shown}))
    else:
        say(f"{name}: added to {file}; the key, which is printed only once:", err=True)
        say(shown)


@app.command("list")
def list_(config: ConfigFile = None, *, as_json: AsJson = False) -> None:
    """Show the name, rate, priority and rights of every key."""
    keys = read_keys(_file(config))
    if as_json:
        typer.echo(json.dumps([_facts(key) for key in keys]))
    else:
        show(_table(keys), pipe_width=250)


@app.command()
def remove(name: Name, config: ConfigFile = None, *, as_json: AsJson = False) -> None:
    """Remove a key; the service then refuses it."""
    file = _file(config)
    if all(key.client.name != name for key in read_keys(file)):
        sentence = f"there is no key called {name}"
        raise fail(ExitCode.NOT_FOUND, sentence, as_json=as_json, word="not-found")
    _replace(file, without_key(file.read_text("utf-8-sig"), name) or HEAD)
    say(json.dumps({"name": name, "done": "removed"}) if as_json else f"{name}: removed")


def _file(config: Path | None) -> Path:
    file = load(config).settings.http.api_keys_file
    if file is None:
        raise ConfigError(SETTING, "it is not set; name the file for the keys")
    return file


def _append(file: Path, line: str) -> None:
    """Append a line in one write, so that two processes can append at the same time."""
    try:
        text = file.read_text("utf-8-sig") if file.exists() else ""
        before = HEAD if not text else "" if text.endswith("\n") else "\n"
        with file.open("a", encoding="utf-8") as end:
            end.write(f"{before}{line}\n")
    except OSError as error:
        raise ConfigError(SETTING, f"{file} cannot be written: {error.strerror}") from None


def _replace(file: Path, text: str) -> None:
    """Replace the file atomically; a concurrent reader sees the old content or the new content."""
    target = file.resolve()  # a link stays a link
    try:
        descriptor, new = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            out.write(text)
        Path(new).chmod(stat.S_IMODE(target.stat().st_mode))
        Path(new).replace(target)
    except OSError as error:
        raise ConfigError(SETTING, f"{file} cannot be written: {error.strerror}") from None


def _facts(key: ApiKey) -> dict[str, object]:
    return {
        "name": key.client.name,
        "per_minute": key.rate and key.rate.per_minute,
        "burst": key.rate and key.rate.burst,
        "priority": key.client.priority,
        "refresh": key.client.may_refresh,
    }


def _table(keys: tuple[ApiKey, ...]) -> Table:
    numbers = ("per minute", "burst", "priority")
    rows = (
        (
            key.client.name,
            f"{key.rate.per_minute:g}" if key.rate else "",
            key.rate.burst if key.rate else "",
            key.client.priority,
            "refresh" if key.client.may_refresh else "",
        )
        for key in keys
    )
    return table(("name", *numbers, "rights"), rows, to_the_right=numbers)
