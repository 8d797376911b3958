"""One Redis connection that all scripts share.

redis-py lends a connection to one command at a time and guards each of its steps, which costs several
times as much as the command itself; and a caller that is cancelled while it waits costs the connection.
Here an answer whose caller was cancelled is dropped, and a broken connection is noticed at once. redis-py
still connects, authenticates, packs commands and parses answers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

CONNECT_S: Final = 3.0
ANSWER_S: Final = 3.0
# A look at the time that comes this much too late means that the loop stood still. Answers that are here
# already are read first.
STALL_S: Final = 0.5


class _Waiting(NamedTuple):
    """A command that has gone out."""

    reply: asyncio.Future[Any]
    since: float  # on the loop's clock


class _Lane:
    """One connection from its first command to its end."""

    def __init__(
        self, connection: AbstractConnection, *, on_lost: Callable[[], None] | None
    ) -> None:
        writer = connection._writer  # noqa: SLF001 - redis-py's own way to send may wait, see `send`
        if writer is None:
            raise RedisConnectionError("Redis closed the connection at once")
        self.failure: Exception | None = None
        self._connection = connection
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Waiting] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._on_lost = on_lost
        self._reading = asyncio.create_task(self._read(), name="redis-line")

    def send(self, args: tuple[Any, ...]) -> asyncio.Future[Any]:
        """Return a future of the answer.

        Does not wait, not even for room: so commands go out in the order of the queue, a cancelled
        caller does not end the connection, and the time limit bounds what Redis has not read.

        Raises:
            RedisError: the connection has failed already.
        """
        if self.failure is not None:
            raise _again(self.failure)
        if self._writer.is_closing():  # and the reader is about to hear it
            raise RedisConnectionError("the connection is closing")
        command = self._connection.pack_command(*args)
        waiting = _Waiting(self._loop.create_future(), self._loop.time())
        self._waiting.append(waiting)
        if self._timer is None:
            self._check_at(waiting.since + ANSWER_S)
        self._writer.write(b"".join(command))
        return waiting.reply

    async def close(self, why: Exception) -> None:
        """End the connection."""
        self._on_lost = None
        self._fail(why)
        self._reading.cancel()
        await asyncio.wait({self._reading})
        with contextlib.suppress(RedisError, OSError):
            await self._connection.disconnect(nowait=True)

    async def _read(self) -> None:
        try:
            while True:
                try:
                    answer = await self._connection.read_response()
                except ResponseError as error:
                    self._settle(None, error)
                    if self._connection.should_reconnect():  # type: ignore[no-untyped-call]
                        self._fail(RedisConnectionError("Redis is not the server to ask any more"))
                        return
                else:
                    self._settle(answer, None)
        except (RedisError, OSError) as error:
            self._fail(error)
        except IndexError:
            self._fail(RedisConnectionError("Redis sent an answer without a command"))

    def _settle(self, answer: object, error: Exception | None) -> None:
        reply = self._waiting.popleft().reply
        if reply.done():  # cancelled
            return
        if error is None:
            reply.set_result(answer)
        else:
            reply.set_exception(error)

    def _fail(self, error: Exception) -> None:
        """Fail all waiting commands; whether Redis has run them is unknown."""
        on_lost, self._on_lost = self._on_lost, None
        self.failure = self.failure or error
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # What is not sent yet must not be sent later, and a close would wait for that.
        self._writer.transport.abort()
        while self._waiting:
            reply = self._waiting.popleft().reply
            if not reply.done():
                reply.set_exception(_again(error))
        if on_lost is not None:
            on_lost()

    def _check_at(self, instant: float) -> None:
        self._timer = self._loop.call_at(instant, self._check, instant)

    def _check(self, meant_at: float) -> None:
        self._timer = None
        if not self._waiting:
            return
        now, late_at = self._loop.time(), self._waiting[0].since + ANSWER_S
        if now < late_at:
            self._check_at(late_at)
            return
        if now - meant_at > STALL_S:
            self._check_at(now + STALL_S)
            return
        self._fail(RedisTimeoutError(f"Redis did not answer within {ANSWER_S:g} s"))


class Line:
    """The shared connection. Connects at its first use, and again after it broke."""

    def __init__(
        self,
        make: Callable[[], AbstractConnection],
        *,
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        """`make`: returns a connection that is not connected, without time limits of its own.

        `on_lost`: called once when a connection broke.
        """
        self._on_lost = on_lost
        self._make = make
        self._lane: _Lane | None = None
        self._connecting: asyncio.Task[_Lane] | None = None

    async def execute(self, *args: Any) -> Any:
        """Return what Redis answers.

        Raises:
            redis.exceptions.ResponseError: it refused.
            redis.exceptions.RedisError, OSError: there is no answer; it may have been carried out.
        """
        lane = self._lane
        if lane is None or lane.failure is not None:
            lane = await self._connected()
        return await lane.send(args)

    async def aclose(self) -> None:
        """Close the connection and fail the commands that wait."""
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
            await asyncio.wait({connecting})
        if self._lane is not None:
            await self._lane.close(RedisConnectionError("the connection was closed"))

    async def _connected(self) -> _Lane:
        """Connect, once for all who want it; cancelling one of them does not stop it."""
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect(), name="redis-connect")
            self._connecting.add_done_callback(self._on_connected)
        connecting = self._connecting
        await asyncio.wait({connecting})
        if connecting.cancelled():
            raise RedisConnectionError("the connection was closed")
        if (error := connecting.exception()) is not None:
            raise _again(error) from error
        return connecting.result()

    async def _connect(self) -> _Lane:
        if self._lane is not None:
            await self._lane.close(RedisConnectionError("it had failed"))
        connection = self._make()
        try:
            async with asyncio.timeout(CONNECT_S):
                await connection.connect()  # type: ignore[no-untyped-call]
        except TimeoutError:
            raise RedisTimeoutError(f"no connection within {CONNECT_S:g} s") from None
        self._lane = _Lane(connection, on_lost=self._on_lost)
        return self._lane

    def _on_connected(self, connecting: asyncio.Task[_Lane]) -> None:
        if self._connecting is connecting:
            self._connecting = None
        if not connecting.cancelled():
            connecting.exception()  # retrieved, also when no caller waits


def _again(error: BaseException) -> BaseException:
    """Return the same error to be raised once more, somewhere else."""
    again = type(error)(*error.args)
    if isinstance(error, RedisError) and isinstance(again, RedisError):
        again.status_code = error.status_code
    return again
