"""A link ends at its fence by itself, in the hub's thread, while the loop is blocked."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest
import structlog
from steam.protobufs.steammessages_clientserver_login_pb2 import CMsgClientLoggedOff
from support.scripted_transport import ScriptedTransport

from actors.steam import link as module
from actors.steam.hub import Hub
from actors.steam.link import SteamLink, SteamNetwork
from actors.steam.port import Dropped, LinkEvent, Server, TransportKind
from actors.steam.protocol.emsg import CLIENT_HELLO, CLIENT_LOG_OFF, CLIENT_LOGGED_OFF
from actors.steam.steam_time import SteamTime
from actors.steam.transport.base import Trust
from supervisor.clock import SystemClock

pytestmark = pytest.mark.usefixtures("no_leaks")

SERVER = Server("127.0.0.1:1", "127.0.0.1", "127.0.0.1", 1, TransportKind.WEBSOCKET)
LOOP_FIRST_S, FENCED_S = 0.05, 0.3
PATIENCE_S = 5.0
REASON = "the lease was not renewed in time"


@dataclass
class LoggedOn:
    """A link that is logged on, and its other end."""

    link: SteamLink
    server: ScriptedTransport
    events: list[LinkEvent] = field(default_factory=list)
    clock: SystemClock = field(default_factory=SystemClock)

    def sent(self) -> list[int]:
        return [one.emsg for one in self.server.received if one.emsg != CLIENT_HELLO]

    @property
    def guard(self) -> object:
        return self.link._hub._guard


@pytest.fixture
async def session(no_leaks: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LoggedOn]:
    del no_leaks  # checked after this fixture has ended
    monkeypatch.setattr(module, "LOOP_FIRST_S", LOOP_FIRST_S)
    monkeypatch.setattr(module, "FENCED_S", FENCED_S)
    made, events = list[ScriptedTransport](), list[LinkEvent]()

    def make(
        *_: object,
    ) -> ScriptedTransport:  # in the hub's thread, which owns its queue
        made.append(ScriptedTransport())
        return made[0]

    monkeypatch.setattr(module, "WebSocketTransport", make)
    clock, log = SystemClock(), structlog.get_logger()
    hub = Hub(clock=clock, log=log)
    await hub.start()
    watch = asyncio.create_task(hub.run())
    network = SteamNetwork(
        hub, Trust(None, None), clock=SteamTime(clock), rng=random.Random(1), log=log
    )
    link = SteamLink(network, events.append)
    await link.open(SERVER, timeout_s=PATIENCE_S)

    def log_on() -> None:
        link._hub.connection.session_id = 7

    await hub.bridge.call(log_on)
    yield LoggedOn(link, made[0], events)
    await link.close()
    hub.stop()
    await watch


def block_until(is_so: Callable[[], bool]) -> None:
    """Keep the event loop from running until `is_so`."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.001)


async def test_a_session_logs_off_by_itself_while_the_loop_is_blocked(session: LoggedOn) -> None:
    session.server.on_message = lambda one: (
        session.server.say(CLIENT_LOGGED_OFF, CMsgClientLoggedOff(eresult=1))
        if one.emsg == CLIENT_LOG_OFF
        else None
    )
    begun = session.clock.now()
    session.link.set_fence(begun + 0.1)
    block_until(lambda: session.server.is_closed)
    assert begun + 0.1 + LOOP_FIRST_S <= session.clock.now() < begun + 0.1 + FENCED_S
    assert session.sent() == [CLIENT_LOG_OFF]
    assert session.events == []  # the loop has not run
    await asyncio.sleep(0.01)
    assert session.events == [Dropped(REASON)]


async def test_a_steam_that_does_not_answer_is_left_in_time(session: LoggedOn) -> None:
    begun = session.clock.now()
    session.link.set_fence(begun)
    block_until(lambda: session.server.is_closed)
    assert session.clock.now() >= begun + FENCED_S
    assert session.sent() == [CLIENT_LOG_OFF]


async def test_a_fence_that_is_long_past_lets_nothing_out(session: LoggedOn) -> None:
    """As after a stop of the whole process."""
    session.link.set_fence(session.clock.now() - 100)
    block_until(lambda: session.server.is_closed)
    assert session.sent() == []
    await asyncio.sleep(0.01)
    assert session.events == [Dropped(REASON)]
    await session.link.log_off(timeout_s=PATIENCE_S)
    assert session.sent() == []


async def test_a_fence_that_is_moved_in_time_ends_nothing(session: LoggedOn) -> None:
    for _ in range(20):
        session.link.set_fence(session.clock.now() + 0.1)
        await asyncio.sleep(0.02)
    assert not session.server.is_closed
    assert (session.sent(), session.events) == ([], [])
    session.link.set_fence(session.clock.now() + 1000)
    await session.link.close()
    assert session.events == []


async def test_the_loops_own_log_off_goes_first_and_is_the_only_one(session: LoggedOn) -> None:
    begun = session.clock.now()
    session.link.set_fence(begun)
    await session.link.log_off(timeout_s=FENCED_S / 2)  # Steam does not answer
    assert session.clock.now() > begun + LOOP_FIRST_S
    assert not session.server.is_closed
    await session.link.close()
    assert session.sent() == [CLIENT_LOG_OFF]
    assert session.events == []


async def test_a_connection_that_died_before_is_closed_too(session: LoggedOn) -> None:
    session.link.set_fence(session.clock.now() + 0.1)
    session.link._bridge.submit(session.server.break_with, ConnectionResetError("reset"))
    block_until(lambda: session.server.is_closed)
    assert session.sent() == []
    await asyncio.sleep(0.01)
    (dropped,) = session.events
    assert isinstance(dropped, Dropped)
    assert "reset" in dropped.reason


async def test_a_link_that_is_closed_has_no_guard_and_gets_none(session: LoggedOn) -> None:
    session.link.set_fence(session.clock.now() + 1000)
    await session.link.close()
    session.link.set_fence(session.clock.now())
    await asyncio.sleep(2 * LOOP_FIRST_S)
    assert session.sent() == []
    assert getattr(session.guard, "dead", False)
