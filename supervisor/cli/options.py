"""Options, exit codes and API errors that all commands share.

Light on purpose: `api_client.py`, which speaks HTTP, takes long to import.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import typer

from supervisor.app.settings import load
from supervisor.cli.terminal import say
from supervisor.config.errors import ConfigError, without_password
from supervisor.config.model import LOOPBACK


class ApiUnreachable(Exception):
    """The service does not answer at the address, or not in time."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(f"no answer from {without_password(url)}: {reason}")


class ApiRefused(Exception):
    """The service answered with an error: status, word for programs, sentence, seconds to wait."""

    def __init__(self, status: int, word: str, message: str, retry_after: float | None) -> None:
        self.status = status
        self.word = word
        self.message = message
        self.retry_after = retry_after
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Service:
    """Where the service is, and the key or token to show there."""

    url: str
    token: str | None = field(default=None, repr=False)


class Exit(IntEnum):
    """How the process ends."""

    OK = 0
    FAILED = 1
    MISUSED = 2
    NOT_FOUND = 3  # and never will be: no such match, or it has no replay
    RETRY_LATER = 4
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
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="BOTAPI_URL",
        metavar="URL",
        help="Where the service is; without it, on the host and port of the settings.",
        show_default=False,
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        envvar="BOTAPI_API_KEY_FILE",
        metavar="FILE",
        help="File with the API key, where the service wants one. [or env var: BOTAPI_API_KEY]",
        show_default=False,
    ),
]
Timeout = Annotated[
    float,
    typer.Option("--timeout", metavar="S", min=1, help="Seconds to wait for the service's answer."),
]
TIMEOUT_S: Final = 60.0

_KEY: Final = "BOTAPI_API_KEY"
_CODES: Final[Mapping[int | str, Exit]] = {
    "blocked": Exit.NOT_FOUND,  # the word says more than its status
    400: Exit.MISUSED,
    401: Exit.MISUSED,
    403: Exit.MISUSED,
    404: Exit.NOT_FOUND,
    429: Exit.RETRY_LATER,
    502: Exit.RETRY_LATER,
    503: Exit.RETRY_LATER,
    504: Exit.RETRY_LATER,
}


def service_at(url: str | None, key_file: Path | None, config: Path | None) -> Service:
    """Return where the service is and what opens it.

    Raises:
        ConfigError: the address, the file or the settings cannot be used.
    """
    return Service(_address(url, config), _key(key_file))


@contextlib.contextmanager
def refusals(*, as_json: bool) -> Iterator[None]:
    """Let what the service refuses in the block be one line on stderr, and an exit code."""
    try:
        yield
    except ApiUnreachable as error:
        raise fail(Exit.FAILED, str(error), as_json=as_json, word="unreachable") from None
    except ApiRefused as error:
        raise fail(
            _CODES.get(error.word) or _CODES.get(error.status, Exit.FAILED),
            error.message,
            as_json=as_json,
            word=error.word,
            retry_after=error.retry_after,
        ) from None


def fail(
    code: Exit,
    sentence: str,
    *,
    as_json: bool = False,
    word: str = "failed",
    retry_after: float | None = None,
) -> typer.Exit:
    """Say what went wrong, to programs on stdout as the API does; return what to raise."""
    hint = "" if retry_after is None else f" (try again in {retry_after:.0f} s)"
    say(f"botapi: {sentence}{hint}", err=True)
    if as_json:
        refusal = {"error": word, "message": sentence, "retry_after": retry_after}
        typer.echo(json.dumps(refusal))
    return typer.Exit(code)


def _address(url: str | None, config: Path | None) -> str:
    if url is None:
        http = load(config).settings.http
        host = LOOPBACK.get(http.host, http.host)
        return f"http://[{host}]:{http.port}" if ":" in host else f"http://{host}:{http.port}"
    full = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(full)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError("--url", f'must be an http:// or https:// URL, not "{url}"')
    return full.rstrip("/")


def _key(file: Path | None) -> str | None:
    """Return the key; the file wins over the variable."""
    if file is None:
        return os.environ.get(_KEY) or None
    try:
        return file.read_text("utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise ConfigError("--key-file", f"{file} cannot be read: {reason}") from None
