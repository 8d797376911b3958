"""Translates redis-py's errors into StoreUnavailable and StoreMisused."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Final

from redis.exceptions import RedisError, ResponseError

from actors.errors import StoreMisused, StoreUnavailable

# Error replies of a server that is not, or is no longer, the one to use (Redis's documentation:
# replication, cluster specification, `min-replicas-to-write`, ACL).
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
# The right server cannot serve now: memory or disk is full, or a script runs for too long.
UNABLE: Final = WRONG_SERVER | {"BUSY", "MISCONF", "OOM"}
# Redis 6.2 wraps the error of a command in a script; newer versions return it as it is.
_CODE_IN_SCRIPT: Final = re.compile(r"@user_script: ?\d+: -([A-Z]+) ")
_PLACE_IN_SCRIPT: Final = re.compile(r" script: [^:]*on @user_script:\d+\.?$")


def is_wrong_server(answer: object) -> bool:
    """Return whether an answer is an error reply that tells the client to use another server."""
    return isinstance(answer, RedisError) and _code(answer) in WRONG_SERVER


def why_unable(error: RedisError) -> str | None:
    """Return in Redis's words why it cannot serve; None when the error says something else."""
    if _code(error) not in UNABLE:
        return None
    return _with_code(error, _PLACE_IN_SCRIPT.sub("", str(error)).rstrip("."))


@contextlib.contextmanager
def translated(operation: str) -> Iterator[None]:
    """Turn redis-py's errors into the service's own.

    Raises:
        StoreMisused: Redis refused the command, e.g. a key holds another type.
        StoreUnavailable: Redis did not answer or cannot serve; a later try may succeed.
    """
    try:
        yield
    except ResponseError as error:
        # Without its cause: the text, which a traceback would show, may repeat a whole command.
        if (reason := why_unable(error)) is not None:
            raise StoreUnavailable(operation, reason) from None
        raise StoreMisused(operation, _with_code(error, str(error))) from None
    except RedisError as error:
        raise StoreUnavailable(operation, why_unable(error)) from error
    except OSError as error:
        raise StoreUnavailable(operation) from error


def _code(error: RedisError) -> str:
    """Return the first word of an error reply, also of one inside a script."""
    if error.status_code not in (None, "ERR"):
        return str(error.status_code)
    inner = _CODE_IN_SCRIPT.search(str(error))
    return inner[1] if inner else str(error).partition(" ")[0]


def _with_code(error: RedisError, text: str) -> str:
    """Return the text of an error reply with its first word, which redis-py removes from some."""
    code = error.status_code
    return f"{code} {text}" if code not in (None, "ERR") and str(code) not in text else text
