"""The bridge between asyncio and gevent, with real threads."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import gevent
import pytest
import structlog
from structlog.testing import capture_logs
from structlog.typing import FilteringBoundLogger

from actors.errors import LocalProtocolError, SteamUnreachable
from actors.steam import hub as hub_module
from actors.steam.bridge import Bridge
from actors.steam.hub import Hub
from supervisor.clock import SystemClock

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture
async def hub(
    no_leaks: None, quiet_log: FilteringBoundLogger, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Hub]:
    del no_leaks  # checked after this fixture has ended
    monkeypatch.setattr(hub_module, "BEAT_S", 60.0)  # no beat may wake the loop
    hub = Hub(clock=SystemClock(), log=quiet_log)
    await hub.start()
    watch = asyncio.create_task(hub.run())
    yield hub
    hub.stop()
    await asyncio.wait({watch})


@pytest.fixture
def quiet_log() -> FilteringBoundLogger:
    log: FilteringBoundLogger = structlog.get_logger()
    return log


@pytest.fixture
def bridge(hub: Hub) -> Bridge:
    return hub.bridge


async def test_a_call_returns_what_the_greenlet_returned(bridge: Bridge) -> None:
    def work(left: int, right: int) -> tuple[int, int]:
        gevent.sleep(0.001)
        return left + right, threading.get_ident()

    result, thread = await bridge.call(work, 2, 3)
    assert result == 5
    assert thread != threading.get_ident()


async def test_a_call_raises_what_the_greenlet_raised(bridge: Bridge) -> None:
    def work() -> None:
        raise LookupError("nothing there")

    with pytest.raises(LookupError, match="nothing there"):
        await bridge.call(work)


async def test_calls_run_side_by_side(bridge: Bridge) -> None:
    meeting: Any = await bridge.call(gevent.event.Event)

    def first() -> str:
        meeting.wait()
        return "met"

    def second() -> None:
        meeting.set()

    waiting = asyncio.create_task(bridge.call(first))
    await bridge.call(second)
    assert await waiting == "met"


@pytest.mark.parametrize("error", [gevent.Timeout(1), gevent.GreenletExit(), SystemExit(3)])
async def test_what_is_no_exception_over_here_is_translated(
    bridge: Bridge, error: BaseException
) -> None:
    def work() -> None:
        raise error

    with pytest.raises(SteamUnreachable, match=type(error).__name__):
        await bridge.call(work)


async def test_a_gevent_timeout_inside_is_translated(bridge: Bridge) -> None:
    def work() -> None:
        with gevent.Timeout(0.01):
            gevent.sleep(60)

    with pytest.raises(SteamUnreachable, match="Timeout"):
        await bridge.call(work)


async def test_cancelling_a_call_kills_its_greenlet(bridge: Bridge) -> None:
    loop = asyncio.get_running_loop()
    started, ended = asyncio.Event(), asyncio.Event()

    def work() -> None:
        loop.call_soon_threadsafe(started.set)
        try:
            gevent.sleep(60)
        finally:
            loop.call_soon_threadsafe(ended.set)

    task = asyncio.create_task(bridge.call(work))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5):
        await ended.wait()


async def test_posts_arrive_in_order(bridge: Bridge) -> None:
    arrived: list[int] = []

    def work(first: int) -> None:
        for number in range(first, first + 1000):
            bridge.post(arrived.append, number)
            if number % 100 == 0:
                gevent.sleep(0)

    await bridge.call(work, 0)
    await bridge.call(work, 1000)
    assert arrived == list(range(2000))


async def test_posts_of_many_greenlets_keep_each_ones_order(bridge: Bridge) -> None:
    arrived: list[tuple[int, int]] = []

    def work(greenlet: int) -> None:
        for number in range(50):
            bridge.post(arrived.append, (greenlet, number))
            gevent.sleep(0)

    await asyncio.gather(*(bridge.call(work, greenlet) for greenlet in range(20)))
    assert len(arrived) == 1000
    for greenlet in range(20):
        assert [number for one, number in arrived if one == greenlet] == list(range(50))


async def test_what_is_posted_during_a_delivery_arrives_too(bridge: Bridge) -> None:
    """The loop is awake already and is not woken again."""
    arrived: list[str] = []
    delivering, posted = threading.Event(), threading.Event()

    def slow() -> None:
        delivering.set()
        assert posted.wait(5)
        arrived.append("slow")

    def work() -> None:
        bridge.post(slow)
        assert delivering.wait(5)  # blocks the hub on purpose while the other thread runs
        bridge.post(arrived.append, "second")
        posted.set()

    await bridge.call(work)
    assert arrived == ["slow", "second"]


async def test_a_listener_that_fails_costs_only_itself(bridge: Bridge) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: complaints.append(about))
    arrived: list[str] = []

    def failing() -> None:
        raise LookupError("a listener")

    def work() -> None:
        bridge.post(arrived.append, "before")
        bridge.post(failing)
        bridge.post(arrived.append, "after")

    async with asyncio.timeout(5):
        await bridge.call(work)
        await bridge.call(work)
    assert arrived == ["before", "after"] * 2
    assert [type(one["exception"]) for one in complaints] == [LookupError] * 2


async def test_submitted_functions_run_in_the_hub_in_order(bridge: Bridge) -> None:
    ran: list[tuple[int, int]] = []
    for number in range(500):
        bridge.submit(lambda number: ran.append((number, threading.get_ident())), number)
    await bridge.call(gevent.sleep, 0)
    assert [number for number, _ in ran] == list(range(500))
    assert threading.get_ident() not in {thread for _, thread in ran}


async def test_doors_refuse_the_wrong_thread(bridge: Bridge) -> None:
    def call_from_the_hub() -> None:
        with pytest.raises(LocalProtocolError, match="wrong thread"):
            bridge.call(print).send(None)

    await bridge.call(call_from_the_hub)
    with pytest.raises(LocalProtocolError, match="wrong thread"):
        bridge.post(print)
    with pytest.raises(LocalProtocolError, match="wrong thread"):
        await asyncio.to_thread(bridge.post, print)


async def test_a_bridge_without_a_hub_is_unreachable() -> None:
    bridge = Bridge(asyncio.get_running_loop())
    with pytest.raises(SteamUnreachable):
        await bridge.call(print)
    with pytest.raises(LocalProtocolError, match="wrong thread"):
        bridge.post(print)


# -- asking the loop -----------------------------------------------------------------------------


def ask(bridge: Bridge, fn: Callable[..., Any], *args: object) -> object:
    with bridge.ask_loop(fn, *args) as answer:
        return answer.get()


async def test_a_greenlet_gets_the_answer_of_a_coroutine(bridge: Bridge) -> None:
    async def answer(question: str) -> str:
        await asyncio.sleep(0)
        assert threading.current_thread() is threading.main_thread()
        return question.upper()

    assert await bridge.call(ask, bridge, answer, "code") == "CODE"


async def test_a_greenlet_gets_the_error_of_a_coroutine(bridge: Bridge) -> None:
    async def answer() -> str:
        raise LookupError("no code")

    with pytest.raises(LookupError, match="no code"):
        await bridge.call(ask, bridge, answer)


async def test_a_greenlet_gets_the_error_of_what_is_no_coroutine(bridge: Bridge) -> None:
    def answer() -> Any:
        raise LookupError("before it began")

    async with asyncio.timeout(5):
        with pytest.raises(LookupError):
            await bridge.call(ask, bridge, answer)


async def test_a_question_dies_with_the_greenlet_that_asks(bridge: Bridge) -> None:
    asked, ended = asyncio.Event(), asyncio.Event()

    async def answer() -> str:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return "never"

    task = asyncio.create_task(bridge.call(ask, bridge, answer))
    await asked.wait()
    task.cancel()
    async with asyncio.timeout(5):
        await ended.wait()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_hub_goes_on_while_a_greenlet_asks(bridge: Bridge) -> None:
    release = asyncio.Event()

    async def answer() -> str:
        await release.wait()
        return "late"

    asking = asyncio.create_task(bridge.call(ask, bridge, answer))
    assert await bridge.call(lambda: "meanwhile") == "meanwhile"
    release.set()
    assert await asking == "late"


# -- the end -------------------------------------------------------------------------------------


async def test_a_hub_that_ends_fails_what_is_under_way(hub: Hub) -> None:
    bridge = hub.bridge
    under_way = [asyncio.create_task(bridge.call(gevent.sleep, 60)) for _ in range(3)]
    await bridge.call(gevent.sleep, 0)
    hub.stop()
    async with asyncio.timeout(5):
        outcomes = await asyncio.gather(*under_way, return_exceptions=True)
    assert [type(one) for one in outcomes] == [SteamUnreachable] * 3


async def test_a_call_cancelled_after_the_hub_ended_is_cancelled(hub: Hub) -> None:
    task = asyncio.create_task(hub.bridge.call(gevent.sleep, 60))
    await hub.bridge.call(gevent.sleep, 0)
    task.cancel()
    hub.stop()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_calls_while_the_hub_ends_are_unreachable_and_nothing_worse(
    quiet_log: FilteringBoundLogger,
) -> None:
    """Two threads race for the hub's loop, which is freed memory afterwards."""
    for _ in range(20):
        hub = Hub(clock=SystemClock(), log=quiet_log)
        await hub.start()
        bridge = hub.bridge
        ended = asyncio.ensure_future(asyncio.to_thread(hub.stop))
        async with asyncio.timeout(5):
            while await _answers(bridge):
                pass
            await ended


async def test_nothing_is_printed_when_a_greenlet_crashes(
    hub: Hub, capfd: pytest.CaptureFixture[str]
) -> None:
    def crash() -> None:
        raise LookupError("a secret")

    with capture_logs() as logs:
        await hub.bridge.call(lambda: gevent.spawn(crash).join())
        hub.bridge.submit(crash)
        await hub.bridge.call(gevent.sleep, 0)
    assert capfd.readouterr() == ("", "")
    assert [one["error_type"] for one in logs] == ["LookupError"] * 2
    assert "secret" not in str(logs)


async def _answers(bridge: Bridge) -> bool:
    try:
        await bridge.call(time.monotonic)
    except SteamUnreachable:
        return False
    return True
