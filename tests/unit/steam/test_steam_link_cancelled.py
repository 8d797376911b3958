"""A cancelled call of a link leaves no connection, which Steam would keep alive."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import AsyncIterator

import pytest
import structlog
from support.scripted_transport import ScriptedTransport

from actors.steam import link as module
from actors.steam.hub import Hub
from actors.steam.link import SteamLink, SteamNetwork
from actors.steam.port import LinkEvent, Server, TransportKind
from actors.steam.steam_time import SteamTime
from actors.steam.transport.base import Trust
from supervisor.clock import SystemClock

pytestmark = pytest.mark.usefixtures("no_leaks")
TRUST = Trust(None, None)


@pytest.fixture
async def hub(no_leaks: None) -> AsyncIterator[Hub]:
    del no_leaks  # checked after this fixture has ended
    hub = Hub(clock=SystemClock(), log=structlog.get_logger())
    await hub.start()
    watch = asyncio.create_task(hub.run())
    yield hub
    hub.stop()
    await watch


@pytest.fixture
def transports(monkeypatch: pytest.MonkeyPatch) -> list[ScriptedTransport]:
    made: list[ScriptedTransport] = []

    def make(*_: object) -> ScriptedTransport:
        made.append(ScriptedTransport())
        return made[-1]

    monkeypatch.setattr(module, "WebSocketTransport", make)
    return made


def new_link(hub: Hub, trust: Trust = TRUST) -> tuple[SteamLink, list[LinkEvent]]:
    events: list[LinkEvent] = []
    network = SteamNetwork(
        hub,
        trust,
        clock=SteamTime(SystemClock()),
        rng=random.Random(1),
        log=structlog.get_logger(),
    )
    return SteamLink(network, events.append), events


def server_at(port: int, transport: TransportKind) -> Server:
    return Server(f"127.0.0.1:{port}", "127.0.0.1", "127.0.0.1", port, transport)


async def test_a_close_that_is_cancelled_closes_all_the_same(
    hub: Hub, transports: list[ScriptedTransport]
) -> None:
    """The supervisor cancels a bot that stops too slowly, while it closes its link."""
    link, _ = new_link(hub)
    await link.open(server_at(1, TransportKind.WEBSOCKET), timeout_s=5)
    busy = threading.Event()  # blocks the hub, so that the cancellation precedes the close

    def hold_up() -> None:
        busy.wait(5)

    hub.bridge.submit(hold_up)
    closing = asyncio.create_task(link.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    busy.set()
    connection = link._hub.connection
    await hub.bridge.call(connection.wait_closed)
    assert transports[0].is_closed
    assert all(one.dead for one in connection._greenlets)


async def test_after_close_nothing_of_a_link_runs(
    hub: Hub, transports: list[ScriptedTransport]
) -> None:
    link, events = new_link(hub)
    await link.open(server_at(1, TransportKind.WEBSOCKET), timeout_s=5)
    await link.close()
    connection = link._hub.connection
    assert all(one.dead for one in connection._greenlets)
    assert transports[0].is_closed
    await link.close()
    assert events == []  # a close by the bot is no event


@pytest.mark.parametrize("transport", TransportKind)
async def test_an_open_that_is_cancelled_leaves_no_socket(
    hub: Hub, transport: TransportKind
) -> None:
    """The server accepts and sends nothing: no handshake continues."""
    accepted: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    silent = await asyncio.start_server(lambda *peer: accepted.put_nowait(peer), "127.0.0.1", 0)
    trust = Trust.load(None, None)
    async with silent:
        link, _ = new_link(hub, trust)
        server = server_at(silent.sockets[0].getsockname()[1], transport)
        opening = asyncio.create_task(link.open(server, timeout_s=30))
        reader, writer = await accepted.get()
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        async with asyncio.timeout(5):
            while await reader.read(1000):  # the beginning of TLS, then the end
                pass
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
