"""Terminal: options, exit codes, errors, tables and texts that all commands share."""

from __future__ import annotations

import codecs
import io
import json
import sys
from collections.abc import Container, Iterable
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from supervisor.logs.redaction import printable, printable_lines

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        envvar="BOTAPI_CONFIG",
        metavar="FILE",
        help="Settings file; default: ./config.toml, or the default settings if there is none.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class ExitCode(IntEnum):
    """Exit codes of the process."""

    OK = 0
    FAILED = 1
    MISUSED = 2
    NOT_FOUND = 3  # permanently: no such match, or it has no replay
    RETRY_LATER = 4
    INTERRUPTED = 130  # 128 + SIGINT, the convention of shells


def fail(
    code: ExitCode,
    sentence: str,
    *,
    as_json: bool = False,
    word: str = "failed",
    retry_after: float | None = None,
) -> typer.Exit:
    """Print an error on stderr, and as JSON on stdout if `as_json`; return the exception to raise."""
    hint = "" if retry_after is None else f" (try again in {retry_after:.0f} s)"
    say(f"botapi: {sentence}{hint}", err=True)
    if as_json:
        refusal = {"error": word, "message": sentence, "retry_after": retry_after}
        typer.echo(json.dumps(refusal))
    return typer.Exit(code)


_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "min"))
_ESCAPES: Final = "botapi-escapes"
_KB: Final = 1000
_SIZES: Final = ("bytes", "kB", "MB", "GB")


def cell(text: object, style: str = "") -> Text:
    """Return `text` for a table or a line, without markup and control characters."""
    return Text(printable(text), style=style)


def table(
    heads: Iterable[str], rows: Iterable[Iterable[object]], *, to_the_right: Container[str]
) -> Table:
    """Return a table; `to_the_right`: the headings of the columns of numbers."""
    made = Table(box=None, pad_edge=False)
    for head in heads:
        made.add_column(head, justify="right" if head in to_the_right else "left")
    for row in rows:
        made.add_row(*map(cell, row))
    return made


def show(what: RenderableType, *, pipe_width: int) -> None:
    """Print on stdout. `pipe_width`: columns in a pipe, so that a row is one line for grep."""
    Console(highlight=False, width=None if sys.stdout.isatty() else pipe_width).print(what)


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print text on stdout, or on stderr; `nl`: end the line."""
    typer.echo(printable_lines(text), err=err, nl=nl)


def say_json(value: Any) -> None:
    """Print a value as one line of JSON on stdout."""
    typer.echo(json_line(value))


def json_line(value: Any) -> str:
    """Return a value as JSON, with unprintable characters escaped."""
    text = json.dumps(value, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)


def escape_what_the_terminal_lacks() -> None:
    """Write characters that the encoding of stdout or stderr lacks as JSON escapes."""
    codecs.register_error(_ESCAPES, _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ESCAPES)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    escapes = (f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
    return "".join(escapes), error.end


def span(seconds: float | None) -> str:
    """Return a duration in its largest unit: 45 s, 12 min, 5 h, 3 d; "" for None."""
    if seconds is None:
        return ""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def clock_time(instant: float, now: float) -> str:
    """Return an instant (UTC seconds) in local time, with the weekday if it is another day."""
    then, today = (datetime.fromtimestamp(one, UTC).astimezone() for one in (instant, now))
    return then.strftime("%H:%M" if then.date() == today.date() else "%a %H:%M")


def size_of(count: float) -> str:
    """Return a number of bytes with a unit: 900 bytes, 1.4 MB."""
    for unit in _SIZES[:-1]:
        if count < _KB:
            return f"{count:.0f} bytes" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= _KB
    return f"{count:.1f} {_SIZES[-1]}"
