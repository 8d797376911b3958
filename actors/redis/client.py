"""Redis client: connects to a URL, checks URLs, runs Lua scripts, translates errors, counts calls."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from importlib import resources
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis, SSLConnection
from redis.asyncio.connection import URL_QUERY_ARGUMENT_PARSERS
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.maint_notifications import MaintNotificationsConfig

from actors.errors import StoreMisused, StoreUnavailable
from actors.redis.batch import ANSWER_S, CONNECT_S, WRONG_SERVER, Batcher, code_of

CONNECTIONS: Final = 8
# Options of a URL whose values are texts; redis-py converts the others.
_TEXTS: Final = frozenset(
    {
        *("client_name", "password", "username", "ssl_ca_certs", "ssl_ca_data", "ssl_ca_path"),
        *("ssl_cert_reqs", "ssl_certfile", "ssl_ciphers", "ssl_keyfile", "ssl_password"),
    }
)
_LEAST: Final = {
    **dict.fromkeys(("socket_timeout", "socket_connect_timeout", "timeout"), 0.1),
    **dict.fromkeys(("db", "health_check_interval"), 0),
    **dict.fromkeys(("max_connections", "socket_read_size"), 1),
}
_DATABASE: Final = re.compile(r"/?|/[0-9]{1,9}")
# Error replies of a server that cannot serve: as above, or memory or disk is full, or a script runs on.
UNABLE: Final = WRONG_SERVER | {"BUSY", "MISCONF", "OOM"}
_PLACE_IN_SCRIPT: Final = re.compile(r" script: [^:]*on @user_script:\d+\.?$")


class CallObserver:
    """Observer of calls to Redis. `script`: the name of a script or of another operation."""

    def answered(self, script: str, seconds: float) -> None:
        """Redis answered; the caller waited this long."""

    def refused(self, script: str) -> None:
        """Redis answered with an error that is about this call."""

    def unable(self, script: str, reason: str) -> None:
        """Redis answered that it cannot serve, e.g. as a replica, while loading, or out of memory."""

    def failed(self, script: str, reason: str) -> None:
        """Redis did not answer."""


UNOBSERVED: Final = CallObserver()


class RedisClient(Redis):
    """redis-py's client whose commands run in batches and whose calls are observed.

    Pipelines, transactions and subscriptions of redis-py go to the connection pool directly.
    """

    def __init__(self, pool: ConnectionPool, observer: CallObserver = UNOBSERVED) -> None:
        super().__init__(connection_pool=pool)
        self.auto_close_connection_pool = True
        self.observer = observer
        self.batcher = Batcher(self)

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run one command in the next batch; errors are those of `Batcher.execute`."""
        return await self.batcher.execute(*args, **options)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: FBT001 - redis-py's
        """Fail the commands that wait, and close all connections."""
        await self.batcher.aclose()
        await super().aclose(close_connection_pool)


def connect(
    url: str,
    *,
    raw: bool = False,
    observer: CallObserver = UNOBSERVED,
    on_lost: Callable[[], None] | None = None,
) -> RedisClient:
    """Return a client for a redis://, rediss:// or unix:// URL; it connects when it is first used.

    The client never tries a command again: only its caller knows whether a script may run twice.
    With `raw`, answers are bytes, not text. `on_lost`: see `Batcher`.
    """
    client = RedisClient(_pool(url, raw=raw), observer)
    client.batcher.on_lost = on_lost
    return client


def _pool(url: str, *, raw: bool) -> Any:
    return BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=ANSWER_S,
        socket_connect_timeout=CONNECT_S,
        socket_timeout=None,  # a batch has a time limit of its own
        decode_responses=not raw,
        encoding_errors="surrogateescape",  # of what other clients wrote; it goes back unchanged
        retry=Retry(NoBackoff(), 0),
        # While they are on, a connection that Redis has closed meanwhile is used once more, in vain.
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )


def bad_url(url: str) -> str | None:
    """Return why `connect` cannot use a URL, without any value of it; None when it can.

    Nothing is connected.
    """
    parts = urlsplit(url)
    options = parse_qs(parts.query, keep_blank_values=True)
    if "@" in parts.query + parts.fragment:
        return "has an @ after ? or #: write the password percent-encoded"
    if parts.scheme != "unix" and not _DATABASE.fullmatch(parts.path):
        return "has to end with the number of a database, such as /0, or with nothing"
    for option, values in options.items():
        if option not in _TEXTS and option not in URL_QUERY_ARGUMENT_PARSERS:
            return f"has an option {option!r} that is not known"
        is_path_too = option == "db" and parts.scheme != "unix" and len(parts.path) > 1
        if len(values) > 1 or is_path_too or not values[0]:
            return f"has to have one value for {option!r}"
    return _unusable(url, options)


def _unusable(url: str, options: Iterable[str]) -> str | None:
    """Make a pool and a connection; return what redis-py or ssl cannot use."""
    try:
        pool = _pool(url, raw=False)
        connection = pool.make_connection()
        numbers = vars(pool) | pool.connection_kwargs
        out_of_range = [
            name
            for name in options
            if name in _LEAST and not _LEAST[name] <= numbers[name] < math.inf
        ]
        if out_of_range:
            return f"has an option {out_of_range[0]!r} that is out of range"
        if isinstance(connection, SSLConnection):
            connection.ssl_context.get()
    except (TypeError, ValueError, RedisError) as error:
        # "Invalid value for 'timeout' in connection URL.", "... unexpected keyword argument 'x'"
        named = [name for name in options if repr(name) in str(error)]
        return f"has an option {named[0]!r} that cannot be used" if named else "cannot be used"
    except OSError as error:  # of ssl, too
        return f"has TLS options that cannot be used: {error.strerror or type(error).__name__}"
    return None


@contextlib.contextmanager
def redis_call(redis: Redis, operation: str) -> Iterator[None]:
    """Report the outcome to the client's observer, and turn redis-py's errors into the service's own.

    Raises:
        StoreMisused: Redis refused the command, e.g. a key holds another type.
        StoreUnavailable: Redis did not answer or cannot serve; a later try may succeed.
    """
    observer = redis.observer if isinstance(redis, RedisClient) else UNOBSERVED
    now = asyncio.get_running_loop().time
    started = now()
    try:
        yield
    except (RedisError, OSError) as error:
        # No cause of an answer: its text, which a traceback would show, may repeat a whole command.
        if isinstance(error, RedisError) and code_of(error) in UNABLE:
            # A refused password is a ConnectionError of redis-py, but an answer of Redis.
            reason = _with_code(error, _PLACE_IN_SCRIPT.sub("", str(error)).rstrip("."))
            observer.unable(operation, reason)
            raise StoreUnavailable(operation, reason) from None
        if isinstance(error, ResponseError):
            observer.refused(operation)
            raise StoreMisused(operation, _with_code(error, str(error))) from None
        observer.failed(operation, str(error) or type(error).__name__)
        raise StoreUnavailable(operation) from error
    observer.answered(operation, now() - started)


def _with_code(error: RedisError, text: str) -> str:
    """Return the text of an error reply with its first word, which redis-py removes from some."""
    code = error.status_code
    return f"{code} {text}" if code not in (None, "ERR") and str(code) not in text else text


class Script:
    """One Lua script of a package's `lua/`, with that folder's prelude in front, called by its hash."""

    def __init__(
        self, redis: Redis, package: str, name: str, *, then: tuple[str, str] | None = None
    ) -> None:
        """`then`: package and name of a script that goes on where this one does not return."""
        self._redis = redis
        self._name = name
        self._text = _text_of(package, name)
        if then is not None:
            self._name = f"{name}_and_{then[1]}"
            self._text += _text_of(*then)
        self._sha = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, keys: Sequence[str], args: Sequence[str | int | float | bytes] = ()) -> Any:
        """Run the script and return its result; where Redis does not know it yet, send its text.

        Raises:
            StoreUnavailable, StoreMisused: see `redis_call`.
        """
        execute: Callable[..., Awaitable[Any]] = self._redis.execute_command
        with redis_call(self._redis, self._name):
            try:
                return await execute("EVALSHA", self._sha, len(keys), *keys, *args)
            except NoScriptError:
                return await execute("EVAL", self._text, len(keys), *keys, *args)


def _text_of(package: str, script: str) -> str:
    folder = resources.files(package) / "lua"
    return "".join((folder / f"{name}.lua").read_text("utf-8") for name in ("prelude", script))


def load_scripts(redis: Redis, package: str) -> dict[str, Script]:
    """Return all Lua scripts of a package's `lua/`, by the names of their files."""
    files = (resources.files(package) / "lua").iterdir()
    names = {file.name.removesuffix(".lua") for file in files} - {"prelude"}
    return {name: Script(redis, package, name) for name in names}


async def ping(redis: Redis) -> None:
    """Raise StoreUnavailable unless Redis answers."""
    execute: Callable[..., Awaitable[Any]] = redis.execute_command
    with redis_call(redis, "ping"):
        await execute("PING")
