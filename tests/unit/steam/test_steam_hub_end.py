"""The end of the hub's thread ends everything that runs in it."""

from __future__ import annotations

import asyncio

import gevent
import pytest
import structlog
from gevent import socket
from structlog.testing import capture_logs

from actors.steam.hub import Hub
from supervisor.clock import SystemClock

pytestmark = pytest.mark.usefixtures("no_leaks")


async def test_a_hub_ends_at_once_though_greenlets_wait_for_sockets_and_timers() -> None:
    """Links that were not closed, after an error."""
    hub = Hub(clock=SystemClock(), log=structlog.get_logger())
    await hub.start()
    watch = asyncio.create_task(hub.run())

    def leave_behind() -> None:
        near, far = socket.socketpair()
        gevent.spawn(lambda: (near.recv(1), far))
        gevent.spawn(gevent.sleep, 60)

    await hub.bridge.call(leave_behind)
    await hub.bridge.call(gevent.sleep, 0.001)
    with capture_logs() as logs:
        hub.stop()
        await watch
    assert logs == []
