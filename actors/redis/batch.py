"""Sends commands to Redis in batches, through redis-py's pipelines.

redis-py spends about 0.1 ms of CPU on a single command or on a pipeline, several times as much as Redis
needs for a script. The commands of a batch share that cost.
"""

from __future__ import annotations

import asyncio
import copy
import math
import re
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final, NamedTuple

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

CONNECT_S: Final = 3.0
ANSWER_S: Final = 3.0
# A wait that ends this much too late means that the event loop stood still. Answers may have arrived
# meanwhile that it has not read yet.
STALL_S: Final = 0.5
CLOSED: Final = "the connection was closed"
# Error replies of a server that is not, or is no longer, the one to use (Redis's documentation:
# replication, cluster specification, `min-replicas-to-write`, ACL).
WRONG_SERVER: Final = frozenset(
    {
        *("ASK", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MOVED", "NOAUTH", "NOREPLICAS"),
        *("READONLY", "TRYAGAIN", "UNBLOCKED", "WRONGPASS"),
    }
)
# Redis 6.2 wraps the error of a command in a script; newer versions return it as it is.
_CODE_IN_SCRIPT: Final = re.compile(r"@user_script: ?\d+: -([A-Z]+) ")


class _Command(NamedTuple):
    args: tuple[Any, ...]
    options: dict[str, Any]  # of redis-py's `execute_command`
    answer: asyncio.Future[Any]


class Batcher:
    """Runs the commands of one client, one pipeline at a time, in the order in which they are issued.

    Commands that are issued in one iteration of the event loop, or while a batch is under way, form the
    next batch. A command that is cancelled before its batch starts is not sent; the answer of one that is
    cancelled later is dropped. When a batch fails, the commands that wait behind it fail as well.

    Attributes:
        on_lost: called once when a connection that worked has broken, also while no command runs. It
            costs one more connection, which is only read, and needs a client with a connection pool.
    """

    def __init__(self, client: Any) -> None:
        """`client`: a `redis.asyncio.Redis` (of a Sentinel, too) or `RedisCluster`."""
        self.on_lost: Callable[[], None] | None = None
        self._client = client
        self._encode = client.get_encoder().encode
        self._queue: list[_Command] = []
        self._worker: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._is_up = False

    def execute(self, *args: Any, **options: Any) -> asyncio.Future[Any]:
        """Return the future answer of Redis.

        Its errors:
            redis.exceptions.ResponseError: Redis refused the command.
            redis.exceptions.RedisError, OSError: there is no answer; Redis may have run the command.

        Raises:
            redis.exceptions.DataError, UnicodeError: an argument cannot be sent.
        """
        answer = asyncio.get_running_loop().create_future()
        # Encoded here: an argument that cannot be encoded must not fail the batch.
        encoded = (args[0], *map(self._encode, args[1:]))
        self._queue.append(_Command(encoded, options, answer))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work(), name="redis-batches")
        return answer

    async def aclose(self) -> None:
        """Stop, and fail the commands that have no answer yet. May be used again."""
        running = {task for task in (self._worker, self._watch) if task is not None}
        self._is_up, self._watch = False, None
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        if self._worker in running:  # cancelled before its first step
            self._end_work([], RedisConnectionError(CLOSED))

    async def _work(self) -> None:
        batch: list[_Command] = []
        failure: Exception = RedisConnectionError(CLOSED)
        try:
            while self._queue:
                batch, self._queue = self._queue, []
                if batch := [command for command in batch if not command.answer.done()]:
                    await self._run(batch)
        except (RedisError, OSError) as error:
            failure = error
            self._lose()
        finally:
            self._end_work(batch, failure)

    def _end_work(self, batch: list[_Command], failure: Exception) -> None:
        """Fail each command that has no answer, with an error of its own."""
        unanswered, self._queue = batch + self._queue, []
        self._worker = None
        for command in unanswered:
            own = copy.copy(failure)
            own.__cause__ = failure
            _settle(command, own)

    async def _run(self, batch: Iterable[_Command]) -> None:
        """Send the commands and hand out the answers."""
        if not self._is_up:
            ping = self._client.pipeline(transaction=False)
            ping.execute_command("PING")
            await _within(CONNECT_S, ping.execute(raise_on_error=False), "no connection to Redis")
        pipeline = self._client.pipeline(transaction=False)
        for command in batch:
            pipeline.execute_command(*command.args, **command.options)
        answers = await _within(
            ANSWER_S, pipeline.execute(raise_on_error=False), "Redis did not answer"
        )
        for command, answer in zip(batch, answers, strict=True):
            _settle(command, answer)
        if any(isinstance(one, RedisError) and code_of(one) in WRONG_SERVER for one in answers):
            await self._leave_server()
        else:
            self._is_up = True
            if self.on_lost is not None and self._watch is None:
                self._watch = asyncio.create_task(self._watch_connection(), name="redis-watch")

    async def _leave_server(self) -> None:
        """Close the connections: the next batch resolves the name and connects again."""
        self._lose()
        pool = getattr(self._client, "connection_pool", None)
        if pool is not None:  # a RedisCluster has none: it follows its nodes by itself
            await pool.disconnect(inuse_connections=False)

    def _lose(self) -> None:
        was_up, self._is_up = self._is_up, False
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if was_up and self.on_lost is not None:
            self.on_lost()

    async def _watch_connection(self) -> None:
        """Hold an idle connection until Redis closes it; the one of the batches is closed then, too."""
        connection = self._client.connection_pool.make_connection()
        try:
            await connection.connect()
        except (RedisError, OSError):  # e.g. too many connections; it is tried again after a loss
            return
        try:
            while True:
                await connection.read_response(timeout=math.inf)
        except (RedisError, OSError):
            self._watch = None
            self._lose()
        finally:
            await connection.disconnect(nowait=True)


async def _within(seconds: float, work: Coroutine[Any, Any, list[Any]], failure: str) -> list[Any]:
    """Return what `work` returns.

    Raises:
        RedisTimeoutError: it took longer than `seconds`; it is cancelled then.
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    deadline = loop.time() + seconds
    try:
        await asyncio.wait({task}, timeout=seconds)
        if loop.time() - deadline > STALL_S:
            await asyncio.wait({task}, timeout=STALL_S)
        if not task.done():
            raise RedisTimeoutError(f"{failure} within {seconds:g} s")
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


def code_of(error: RedisError) -> str:
    """Return the first word of an error reply, also of one inside a script."""
    if error.status_code not in (None, "ERR"):
        return str(error.status_code)
    inner = _CODE_IN_SCRIPT.search(str(error))
    return inner[1] if inner else str(error).partition(" ")[0]


def _settle(command: _Command, answer: object) -> None:
    """Set the answer or the error, unless the command was cancelled."""
    if command.answer.done():
        return
    if isinstance(answer, Exception):
        command.answer.set_exception(answer)
        command.answer.exception()  # retrieved, also when the caller is cancelled before it reads it
    else:
        command.answer.set_result(answer)
