"""The hub's thread: runs while idle, ends on stop; a hang is detected."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import pytest
import structlog
from structlog.testing import capture_logs
from support.fake_clock import FakeClock

from actors.errors import LocalProtocolError, SteamUnreachable
from actors.steam import hub as hub_module
from actors.steam.hub import Hub, HubDied
from supervisor.clock import SystemClock

pytestmark = pytest.mark.usefixtures("no_leaks")


class CountingHub(Hub):
    """Counts its beats."""

    def __init__(self, clock: SystemClock | FakeClock) -> None:
        super().__init__(clock=clock, log=structlog.get_logger())
        self.beats = 0
        self._on_count: dict[int, asyncio.Event] = {}

    def _on_beat(self) -> None:
        super()._on_beat()
        self.beats += 1
        if event := self._on_count.get(self.beats):
            event.set()

    async def more_beats(self, count: int) -> None:
        event = self._on_count.setdefault(self.beats + count, asyncio.Event())
        async with asyncio.timeout(5):
            await event.wait()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beat 100 times a second; 0.2 s of silence is a hang."""
    monkeypatch.setattr(hub_module, "BEAT_S", 0.01)
    monkeypatch.setattr(hub_module, "SILENCE_S", 0.2)
    monkeypatch.setattr(hub_module, "JOIN_S", 0.05)


@pytest.fixture
async def hub(no_leaks: None, quick: None) -> AsyncIterator[CountingHub]:
    del no_leaks, quick  # in this order
    hub = CountingHub(SystemClock())
    await hub.start()
    yield hub
    hub.stop()


async def test_a_hub_without_work_stays_alive(hub: CountingHub) -> None:
    watch = asyncio.create_task(hub.run())
    await hub.more_beats(30)  # longer than the silence that would count as a hang
    assert not watch.done()
    assert await hub.bridge.call(lambda: "alive") == "alive"
    hub.stop()
    await watch


async def test_stop_ends_the_thread_and_the_watch(hub: CountingHub) -> None:
    watch = asyncio.create_task(hub.run())
    await hub.more_beats(1)
    hub.stop()
    assert not [one for one in threading.enumerate() if one.name == "steam-hub"]
    await watch
    hub.stop()
    with pytest.raises(SteamUnreachable):
        await hub.bridge.call(print)


async def test_cancelling_the_watch_ends_the_thread(hub: CountingHub) -> None:
    watch = asyncio.create_task(hub.run())
    await hub.more_beats(1)
    watch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watch
    assert not [one for one in threading.enumerate() if one.name == "steam-hub"]


async def test_a_hub_that_hangs_is_noticed(hub: CountingHub) -> None:
    release = threading.Event()
    hub.bridge.submit(_hold_up(release))
    stuck = asyncio.create_task(hub.bridge.call(print))
    threads = [one for one in threading.enumerate() if one.name == "steam-hub"]
    try:
        with capture_logs() as logs:
            async with asyncio.timeout(5):
                with pytest.raises(HubDied, match="has not moved"):
                    await hub.run()
                with pytest.raises(SteamUnreachable):
                    await stuck
    finally:
        release.set()
    assert [one["event"] for one in logs] == ["hub_stuck"]
    (thread,) = threads
    thread.join(5)


async def test_a_thread_that_ends_by_itself_is_a_dead_hub(hub: CountingHub) -> None:
    assert hub._stop_asked is not None
    hub.bridge.submit(hub._stop_asked.set)
    async with asyncio.timeout(5):
        with pytest.raises(HubDied, match="by itself"):
            await hub.run()


async def test_a_hub_that_was_not_started_has_no_bridge() -> None:
    hub = Hub(clock=SystemClock(), log=structlog.get_logger())
    hub.stop()
    with pytest.raises(LocalProtocolError, match="not started"):
        _ = hub.bridge
    with pytest.raises(LocalProtocolError, match="not started"):
        await hub.run()


@pytest.mark.usefixtures("quick")
async def test_time_that_passed_while_the_process_stood_still_is_no_silence(
    clock: FakeClock,
) -> None:
    """After SIGSTOP or a sleep of the machine the loop may run before the hub."""
    hub = CountingHub(clock)
    await hub.start()
    await hub.more_beats(1)
    await clock.advance(1000)
    with capture_logs() as logs:
        hub._check_beat()
        hub._check_beat()
    assert [(one["event"], one["duration_s"]) for one in logs] == [("loop_blocked", 1000.0)]
    hub.stop()


async def test_silence_adds_up_and_a_beat_ends_it(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "BEAT_S", 1.0)
    hub = CountingHub(clock)
    hub._checked_at = clock.now()
    for turn in range(2):
        for _ in range(10):
            await clock.advance(1)
            hub._check_beat()
        if turn == 0:
            hub._on_beat()
    await clock.advance(1)
    with pytest.raises(HubDied, match="11 s"):
        hub._check_beat()


def _hold_up(release: threading.Event) -> Callable[[], None]:
    def hold() -> None:
        release.wait(10)

    return hold
