"""Hub: the thread with gevent's loop and the greenlets of all links.

The hub sends a beat every second from inside its loop. Missing beats mean that it hangs; it cannot be
replaced inside a process, so its failure ends the process.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Any, Final

import gevent
from gevent.event import Event
from gevent.exceptions import HubDestroyed
from structlog.typing import FilteringBoundLogger

from actors.clock import Clock
from actors.errors import LocalProtocolError, ServiceError, SteamUnreachable
from actors.metrics import Histogram
from actors.steam.bridge import Bridge

BEAT_S: Final = 1.0
SILENCE_S: Final = 10.0  # without a beat: a hang instead of a busy moment
BLOCKED_S: Final = 5.0  # between two checks: the event loop was blocked, which is logged
JOIN_S: Final = 5.0


class HubDied(ServiceError):
    """The hub's thread has ended or hangs."""


class Hub:
    """Runs the gevent thread. `bridge` is usable from `start` to the end of `run`."""

    def __init__(
        self, *, clock: Clock, log: FilteringBoundLogger, lag: Histogram | None = None
    ) -> None:
        """`lag`: of the seconds by which each beat is late."""
        self._clock = clock
        self._lag = lag
        self._beat_at: float | None = None
        self._log = log.bind(actor="hub")
        self._bridge: Bridge | None = None
        self._thread: threading.Thread | None = None
        self._stop_asked = Event()
        self._ended: asyncio.Future[None] | None = None
        self._silence_s = 0.0
        self._checked_at = 0.0
        self._stopping = False

    @property
    def late_s(self) -> float:
        """Seconds that a beat is overdue; 0 when none is."""
        if self._beat_at is None:
            return 0.0
        return max(0.0, self._clock.now() - self._beat_at - BEAT_S)

    @property
    def bridge(self) -> Bridge:
        """The bridge to the thread.

        Raises:
            LocalProtocolError: the hub was not started.
        """
        if self._bridge is None:
            raise LocalProtocolError("the hub was not started")
        return self._bridge

    async def start(self) -> None:
        """Start the thread and wait until its loop runs."""
        loop = asyncio.get_running_loop()
        bridge = self._bridge = Bridge(loop)
        ended = self._ended = loop.create_future()
        ready: asyncio.Future[None] = loop.create_future()
        self._thread = threading.Thread(
            target=self._main, args=(loop, bridge, ready, ended), name="steam-hub", daemon=True
        )
        self._thread.start()
        await ready
        self._checked_at = self._clock.now()

    async def run(self) -> None:
        """Check the beats until the hub is stopped.

        Raises:
            HubDied: the thread ended by itself, or its beats stopped.
        """
        if self._ended is None:
            raise LocalProtocolError("the hub was not started")
        try:
            while not self._ended.done():
                self._check_beat()
                await asyncio.wait({self._ended}, timeout=BEAT_S)
        finally:
            self._end_thread()
        if not self._stopping:
            raise HubDied("the hub's thread ended by itself")

    def stop(self) -> None:
        """End the thread. Harmless when repeated."""
        self._stopping = True
        self._end_thread()

    def _check_beat(self) -> None:
        """Measure the silence, without time in which the whole process was stopped or asleep."""
        now = self._clock.now()
        passed_s, self._checked_at = now - self._checked_at, now
        self._silence_s += min(passed_s, 2 * BEAT_S)
        if passed_s > BLOCKED_S:
            reason = "the event loop or the whole process stood still"
            self._log.warning("loop_blocked", duration_s=round(passed_s, 1), reason=reason)
        if self._silence_s > SILENCE_S:
            raise HubDied(f"the hub has not moved for {self._silence_s:.0f} s")

    def _end_thread(self) -> None:
        thread, self._thread = self._thread, None
        if thread is None:
            return
        with suppress(SteamUnreachable):  # it has ended by itself
            self.bridge.submit(self._stop_asked.set)
        thread.join(JOIN_S)
        if thread.is_alive():
            self._log.error("hub_stuck", reason="its thread does not end")
            self.bridge.fail_calls()

    # -- in the hub's thread -----------------------------------------------------------------------

    def _main(
        self,
        loop: asyncio.AbstractEventLoop,
        bridge: Bridge,
        ready: asyncio.Future[None],
        ended: asyncio.Future[None],
    ) -> None:
        # Saves memory: otherwise each greenlet keeps ten frames of its spawning stack for a debugger.
        gevent.config.track_greenlet_tree = False
        hub = gevent.get_hub()
        hub.handle_error = self._on_error
        bridge.attach(hub)
        beats = gevent.spawn(self._beat, bridge)
        loop.call_soon_threadsafe(ready.set_result, None)
        try:
            self._stop_asked.wait()  # the beats keep the loop alive meanwhile
        finally:
            bridge.detach()
            beats.kill()
            hub.destroy(destroy_loop=True)
            loop.call_soon_threadsafe(bridge.fail_calls)  # too late to be started
            loop.call_soon_threadsafe(ended.set_result, None)

    def _beat(self, bridge: Bridge) -> None:
        while True:
            bridge.post(self._on_beat)
            gevent.sleep(BEAT_S)

    def _on_beat(self) -> None:
        self._silence_s = 0.0
        before, self._beat_at = self._beat_at, self._clock.now()
        if before is not None and self._lag is not None:
            self._lag.observe(max(0.0, self._beat_at - before - BEAT_S))

    def _on_error(self, context: object, kind: Any, value: Any, _trace: object) -> None:
        """Log without contents: gevent's own report prints messages to stderr."""
        if kind is HubDestroyed:  # thrown by `destroy` to end the loop
            raise value
        if kind is not None and not issubclass(kind, gevent.GreenletExit):
            self._log.error(
                "greenlet_crashed", context=type(context).__name__, error_type=kind.__name__
            )
        del value
