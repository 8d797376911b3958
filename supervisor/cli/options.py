"""Options, exit codes and API errors that all commands share.

This module imports quickly; `client.py`, which speaks HTTP, does not.
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
    """The service does not answer at this address, or not in time."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(f"no answer from {without_password(url)}: {reason}")


class ApiRefused(Exception):
    """The service answered with an error: status, error word, message, seconds to wait."""

    def __init__(self, status: int, word: str, message: str, retry_after: float | None) -> None:
        self.status = status
        self.word = word
        self.message = message
        self.retry_after = retry_after
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Service:
    """The address of the service, and the key or token for it."""

    url: str
    token: str | None = field(default=None, repr=False)


class ExitCode(IntEnum):
    """Exit codes of the process."""

    OK = 0
    FAILED = 1
    MISUSED = 2
    NOT_FOUND = 3  # permanently: no such match, or it has no replay
    RETRY_LATER = 4
    INTERRUPTED = 130  # 128 + SIGINT, the convention of shells


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
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="BOTAPI_URL",
        metavar="URL",
        help="Address of the service; default: host and port of the settings.",
        show_default=False,
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        envvar="BOTAPI_API_KEY_FILE",
        metavar="FILE",
        help="File with the API key, if the service needs one. [or env var: BOTAPI_API_KEY]",
        show_default=False,
    ),
]
Timeout = Annotated[
    float,
    typer.Option("--timeout", metavar="S", min=1, help="Seconds to wait for the service's answer."),
]
TIMEOUT_S: Final = 60.0

_KEY: Final = "BOTAPI_API_KEY"
_CODES: Final[Mapping[int | str, ExitCode]] = {
    "blocked": ExitCode.NOT_FOUND,  # more precise than its status
    400: ExitCode.MISUSED,
    401: ExitCode.MISUSED,
    403: ExitCode.MISUSED,
    404: ExitCode.NOT_FOUND,
    429: ExitCode.RETRY_LATER,
    502: ExitCode.RETRY_LATER,
    503: ExitCode.RETRY_LATER,
    504: ExitCode.RETRY_LATER,
}


def service_at(url: str | None, key_file: Path | None, config: Path | None) -> Service:
    """Return the address of the service and the key for it.

    Raises:
        ConfigError: the address, the file or the settings cannot be used.
    """
    return Service(_address(url, config), _key(key_file))


@contextlib.contextmanager
def refusals(*, as_json: bool) -> Iterator[None]:
    """Turn the errors of the service in the block into one line on stderr and an exit code."""
    try:
        yield
    except ApiUnreachable as error:
        raise fail(ExitCode.FAILED, str(error), as_json=as_json, word="unreachable") from None
    except ApiRefused as error:
        raise fail(
            _CODES.get(error.word) or _CODES.get(error.status, ExitCode.FAILED),
            error.message,
            as_json=as_json,
            word=error.word,
            retry_after=error.retry_after,
        ) from None


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
    """Return the key; the file has precedence over the variable."""
    return (os.environ.get(_KEY) or None) if file is None else read_secret(file, "--key-file")


def read_secret(file: Path, option: str) -> str:
    """Return the content of the file that `option` names.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return file.read_text("utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise ConfigError(option, f"{file} cannot be read: {reason}") from None


def admin_token_file(config: Path | None) -> Path:
    """Return the file in which a service with these settings keeps its admin token."""
    return load(config).settings.token_file
