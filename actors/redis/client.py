"""Connection to Redis, scripts by hash, error translation.

The ground on which accounts/ and matches/ stand. redis-py's errors become our own here, and nowhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from importlib import resources
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import parse_qs, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis, SSLConnection
from redis.asyncio.connection import URL_QUERY_ARGUMENT_PARSERS
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.maint_notifications import MaintNotificationsConfig

from actors.errors import StoreMisused, StoreUnavailable
from actors.redis.shared_connection import ANSWER_S, CONNECT_S, Line

Execute = Callable[..., Awaitable[Any]]  # redis-py's execute_command has no types of its own
HEALTH_CHECK_S: Final = 15.0
CONNECTIONS: Final = 8  # for what is no script
# Options of a URL that are texts; redis-py turns the others into what it needs.
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
# redis-py puts the command in front of what Redis answered, and a password is a part of one.
_COMMAND: Final = re.compile(r"^Command # \d+ \(.*\) of pipeline caused error: ", re.DOTALL)

# Error replies of a server that is not, or is no longer, the one to ask (Redis's documentation:
# replication, cluster specification, `min-replicas-to-write`, ACL). The connection is closed, so that
# the next command resolves the name and connects again.
WRONG_SERVER: Final = frozenset(
    {
        "ASK",
        "CLUSTERDOWN",
        "LOADING",
        "MASTERDOWN",
        "MOVED",
        "NOAUTH",
        "NOREPLICAS",
        "READONLY",
        "TRYAGAIN",
        "UNBLOCKED",
        "WRONGPASS",
    }
)
# With those of the right server that cannot serve now: memory or disk is full, or a script runs long.
UNABLE: Final = WRONG_SERVER | {"BUSY", "MISCONF", "OOM"}
# Redis 6.2 wraps what a command of a script was answered; newer versions return it as it is.
_CODE_IN_SCRIPT: Final = re.compile(r"@user_script: ?\d+: -([A-Z]+) ")
_PLACE_IN_SCRIPT: Final = re.compile(r" script: [^:]*on @user_script:\d+\.?$")


class Condition(NamedTuple):
    """That a key of Redis holds a value: what one part stored there lets another one act."""

    key: str
    value: str


class CallObserver(Protocol):
    """Is told how Redis does. `script`: the name of a script, or of a command that is none."""

    def answered(self, script: str, seconds: float) -> None:
        """Redis answered a script; so long its caller waited."""

    def refused(self, script: str) -> None:
        """Redis answered with an error that is about this script."""

    def unable(self, script: str, reason: str) -> None:
        """Redis answered that it cannot serve: a replica, loading, or out of memory, for example."""

    def failed(self, script: str, reason: str) -> None:
        """Redis did not answer."""


class RedisClient(Redis):
    """redis-py's, with a line for scripts, and who watches it."""

    watched_by: CallObserver | None = None
    line: Line

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: FBT001 - redis-py's
        """Close everything."""
        await self.line.aclose()
        await super().aclose(close_connection_pool)


def connect(
    url: str,
    *,
    raw: bool = False,
    watch: CallObserver | None = None,
    on_lost: Callable[[], None] | None = None,
) -> RedisClient:
    """Return a client for a redis://, rediss:// or unix:// URL; connects when first used.

    Nothing is retried by the client: whether a script may run twice is for its caller to know.
    With `raw`, what Redis answers is bytes, not text. `on_lost` is called when the connection of scripts
    broke, also where no script waits for an answer.
    """
    pool = _pool(url, raw=raw)
    pool.connection_class = _leaving_wrong_servers(pool.connection_class, pool)
    client = RedisClient(connection_pool=pool)
    client.auto_close_connection_pool = True  # as of one that made its pool itself
    client.watched_by = watch
    without_limits = pool.connection_kwargs | {"socket_timeout": None}  # the line has its own
    client.line = Line(lambda: pool.connection_class(**without_limits), on_lost=on_lost)
    return client


def _pool(url: str, *, raw: bool) -> Any:
    return BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=ANSWER_S,
        socket_connect_timeout=CONNECT_S,
        socket_timeout=ANSWER_S,
        health_check_interval=HEALTH_CHECK_S,
        decode_responses=not raw,
        encoding_errors="surrogateescape",  # of what others wrote; it goes back as it came
        retry=Retry(NoBackoff(), 0),
        # While they are on, a connection that Redis has closed meanwhile is used once more, in vain.
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )


def bad_url(url: str) -> str | None:
    """Say what keeps `connect` from using a URL, if anything does; nothing is connected.

    No value of the URL is repeated.
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
    """Make a client and a connection; say what redis-py or ssl cannot use."""
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


def _leaving_wrong_servers(kind: Any, pool: Any) -> Any:
    """Return a connection class that is used no more, as the idle ones, after a reply of WRONG_SERVER.

    The pool closes it when it is returned, and the line at once.
    """

    class Leaving(kind):  # type: ignore[misc]
        async def read_response(self, *args: Any, **options: Any) -> Any:
            try:
                return await super().read_response(*args, **options)
            except RedisError as error:
                if _code(error) in WRONG_SERVER:
                    self.mark_for_reconnect()  # once all answers of this command are read
                    await pool.disconnect(inuse_connections=False)
                raise

    return Leaving


def _code(error: RedisError) -> str:
    """Return the first word of an error reply, also of one inside a script."""
    if error.status_code not in (None, "ERR"):
        return str(error.status_code)
    text = _text(error)
    inner = _CODE_IN_SCRIPT.search(text)
    return inner[1] if inner else text.partition(" ")[0]


def _why_unable(error: RedisError) -> str | None:
    """Return in Redis's words why it cannot serve; None when the error does not say that."""
    code = _code(error)
    if code not in UNABLE:
        return None
    return _with_code(error, _PLACE_IN_SCRIPT.sub("", _text(error)).rstrip("."))


def _with_code(error: RedisError, text: str) -> str:
    """Return the text of an error reply with its first word, which redis-py takes from some."""
    code = error.status_code
    return f"{code} {text}" if code not in (None, "ERR") and str(code) not in text else text


def _text(error: RedisError) -> str:
    """Return what Redis answered, without the command that redis-py puts in front of it in a pipeline."""
    text = str(error)
    answer = _COMMAND.sub("", text)
    return text if answer == text else answer.strip("(),'\"")


@contextlib.contextmanager
def translated(operation: str) -> Iterator[None]:
    """Turn what redis-py raises into our own errors, and let no cancellation get lost.

    Raises:
        StoreMisused: Redis understood and refused, e.g. a key holds another type.
        StoreUnavailable: anything else; asking again later makes sense.
    """
    before = _times_cancelled()
    try:
        yield
    except ResponseError as error:
        # Without its cause: the text, which a traceback would show, may repeat a whole command.
        if (reason := _why_unable(error)) is not None:
            raise StoreUnavailable(operation, reason) from None
        raise StoreMisused(operation, _with_code(error, _text(error))) from None
    except RedisError as error:
        raise StoreUnavailable(operation, _why_unable(error)) from error
    except OSError as error:
        raise StoreUnavailable(operation) from error
    finally:
        # redis-py sends under asyncio.wait_for, which in Python 3.11 goes on as if nothing was when it
        # is cancelled in the moment in which what it waits for is done (python/cpython#86296).
        if _times_cancelled() > before:
            raise asyncio.CancelledError


@contextlib.contextmanager
def asking(redis: Redis, operation: str) -> Iterator[None]:
    """Turn errors into our own, and tell the client's watch what came of a script or command.

    Raises:
        StoreUnavailable, StoreMisused: see `translated`.
    """
    with translated(operation), _watched(redis, operation):
        yield


@contextlib.contextmanager
def _watched(redis: Redis, script: str) -> Iterator[None]:
    watch = redis.watched_by if isinstance(redis, RedisClient) else None
    if watch is None:
        yield
        return
    now = asyncio.get_running_loop().time
    begun = now()
    try:
        yield
    except (RedisError, OSError) as error:
        # A refused password is a ConnectionError of redis-py, but an answer of Redis.
        if isinstance(error, RedisError) and (reason := _why_unable(error)) is not None:
            watch.unable(script, reason)
        elif isinstance(error, ResponseError):
            watch.refused(script)
        else:
            watch.failed(script, str(error) or type(error).__name__)
        raise
    watch.answered(script, now() - begun)


def _times_cancelled() -> int:
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def _text_of(package: str, script: str) -> str:
    folder = resources.files(package) / "lua"
    prelude = (folder / "prelude.lua").read_text("utf-8")
    return prelude + (folder / f"{script}.lua").read_text("utf-8")


class Script:
    """One Lua script of a package's `lua/`, with the prelude there in front, called by its hash."""

    def __init__(self, package: str, name: str, *, then: tuple[str, str] | None = None) -> None:
        """`then`: another script, which goes on in the same call where this one does not return."""
        self.name: str = name
        self._text = _text_of(package, name)
        if then is not None:
            self.name = f"{name}_and_{then[1]}"
            self._text += _text_of(*then)
        self._sha = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    async def run(
        self, redis: Redis, keys: Sequence[str], args: Sequence[str | int | float | bytes]
    ) -> Any:
        """Run it on `redis` and return what the script returns.

        Raises:
            StoreUnavailable, StoreMisused: see `translated`.
        """
        execute: Execute = (
            redis.line.execute if isinstance(redis, RedisClient) else redis.execute_command
        )
        with asking(redis, self.name):
            try:
                return await execute("EVALSHA", self._sha, len(keys), *keys, *args)
            except NoScriptError:
                return await execute("EVAL", self._text, len(keys), *keys, *args)


async def ping(redis: Redis) -> None:
    """Raise StoreUnavailable unless Redis answers."""
    execute: Execute = redis.execute_command
    with asking(redis, "ping"):
        await execute("PING")
