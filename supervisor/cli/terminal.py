"""Durations, sizes and safe text for a terminal."""

from __future__ import annotations

import codecs
import io
import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import typer

from supervisor.logs.redaction import printable, printable_lines

if TYPE_CHECKING:
    from rich.text import Text

_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "min"))
_ESCAPES: Final = "botapi-escapes"
_KB: Final = 1000
_SIZES: Final = ("bytes", "kB", "MB", "GB")


def cell(text: object, style: str = "") -> Text:
    """Return `text` for a table, without markup and control characters."""
    from rich.text import Text  # noqa: PLC0415 - see main.py

    return Text(printable(text), style=style)


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
