"""Client of the running service: its address and key, requests, errors.

aiohttp is imported with the first request, so that `--help` is fast.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Final, Self
from urllib.parse import urlsplit

import orjson
import typer

from supervisor.app.load_settings import load
from supervisor.cli.terminal import ExitCode, fail
from supervisor.config.errors import ConfigError, without_password
from supervisor.config.model import LOOPBACK

CONNECT_S: Final = 5.0

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

_CODES: Final[Mapping[int | str, ExitCode]] = {
    "blocked": ExitCode.NOT_FOUND,  # more precise than its status
    **dict.fromkeys((400, 401, 403), ExitCode.MISUSED),
    404: ExitCode.NOT_FOUND,
    **dict.fromkeys((429, 502, 503, 504), ExitCode.RETRY_LATER),
}


class ApiUnreachable(Exception):
    """The service does not answer at this address, or not in time."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(f"no answer from {without_password(url)}: {reason}")


class ApiRefused(Exception):
    """The service answered with an error: status, error word, message, seconds to wait."""

    def __init__(self, status: int, word: str, reason: str, retry_after: float | None) -> None:
        self.status = status
        self.word = word
        self.reason = reason
        self.retry_after = retry_after
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Service:
    """The address of the service, and the key or token for it."""

    url: str
    token: str | None = field(default=None, repr=False)


class ApiClient:
    """Sends requests to one service; an async context manager. It ignores proxies of the environment."""

    def __init__(self, service: Service, *, timeout_s: float) -> None:
        """`timeout_s`: the limit for each request as a whole."""
        self._service = service
        self._timeout_s = timeout_s

    async def __aenter__(self) -> Self:
        import aiohttp  # noqa: PLC0415 - heavy, and only for a request

        from actors.replays.download import AGENT  # noqa: PLC0415 - imports aiohttp

        headers = {"User-Agent": AGENT}
        if self._service.token is not None:
            headers["Authorization"] = f"Bearer {self._service.token}"
        timeout = aiohttp.ClientTimeout(total=self._timeout_s, sock_connect=CONNECT_S)
        self._http = aiohttp.ClientSession(headers=headers, timeout=timeout)
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._http.close()

    async def get(self, path: str, **query: Any) -> Any:
        """GET; return the answer's JSON.

        Raises:
            ApiUnreachable, ApiRefused.
        """
        return await self.call("GET", path, query=query)

    async def call(
        self, method: str, path: str, *, body: Any = None, query: Mapping[str, Any] | None = None
    ) -> Any:
        """Send one request; return and raise as `get`."""
        import aiohttp  # noqa: PLC0415 - heavy, and only for a request

        from actors.replays.download import why  # noqa: PLC0415 - imports aiohttp

        data = None if body is None else orjson.dumps(body)
        try:
            async with self._http.request(
                method,
                self._service.url + path,
                data=data,
                params=query,
                headers={"Content-Type": "application/json"} if data else None,
            ) as answer:
                return _read(answer.status, await answer.read())
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            raise ApiUnreachable(self._service.url, why(error)) from error


async def get_json(service: Service, path: str, *, timeout_s: float, **query: Any) -> Any:
    """Send one GET request; return and raise as `ApiClient.get`."""
    async with ApiClient(service, timeout_s=timeout_s) as api:
        return await api.get(path, **query)


def _read(status: int, body: bytes) -> Any:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = None
    if status < HTTPStatus.BAD_REQUEST and answer is not None:
        return answer
    if isinstance(answer, dict) and "error" in answer:
        message = str(answer.get("message") or answer["error"])
        raise ApiRefused(status, str(answer["error"]), message, answer.get("retry_after"))
    raise ApiRefused(status, "no-botapi", f"HTTP {status}: this is not a BotAPI", None)


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
            error.reason,
            as_json=as_json,
            word=error.word,
            retry_after=error.retry_after,
        ) from None


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
    return (
        (os.environ.get("BOTAPI_API_KEY") or None)
        if file is None
        else read_secret(file, "--key-file")
    )


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
