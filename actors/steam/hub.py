"""The hub: one thread that owns gevent's loop and all bots' greenlets, as a child of the supervisor.

It sends a beat every second from inside its own loop; without beats it hangs, and then everything that
stands on it does. It is never replaced inside a process: its failure ends the process.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import gevent
from gevent.event import Event
from gevent.exceptions import HubDestroyed
from structlog.typing import FilteringBoundLogger

from actors.clock import Clock
from actors.errors import LocalProtocolError, ServiceError, SteamUnreachable
from actors.steam.bridge import Bridge

BEAT_S: Final = 1.0
SILENCE_S: Final = 10.0  # without a beat: a hang, not a busy moment
STILL_S: Final = 5.0  # between two looks: what the bots say next has this cause
JOIN_S: Final = 5.0


class HubDied(ServiceError):
    """The hub's thread ended, or hangs."""


class Hub:
    """The gevent thread as a child. `bridge` is usable from `start` to the end of `run`."""

    def __init__(
        self,
        *,
        clock: Clock,
        log: FilteringBoundLogger,
        on_beat: Callable[[float], None] = lambda _late_s: None,
    ) -> None:
        """`on_beat` is called on the loop at each beat, with the seconds that it came late."""
        self._clock = clock
        self._tell_beat = on_beat
        self._beat_at: float | None = None
        self._log = log.bind(actor="hub")
        self._bridge: Bridge | None = None
        self._thread: threading.Thread | None = None
        self._stop_asked: Event | None = None
        self._ended: asyncio.Future[None] | None = None
        self._silence_s = 0.0
        self._checked_at = 0.0
        self._stopping = False

    @property
    def late_s(self) -> float:
        """How long a beat is overdue; 0 when none is."""
        if self._beat_at is None:
            return 0.0
        return max(0.0, self._clock.now() - self._beat_at - BEAT_S)

    @property
    def bridge(self) -> Bridge:
        """The way in."""
        if self._bridge is None:
            raise LocalProtocolError("the hub was not started")
        return self._bridge

    async def start(self) -> None:
        """Start the thread and wait until its loop runs."""
        loop = asyncio.get_running_loop()
        self._bridge = Bridge(loop)
        self._ended = loop.create_future()
        ready: asyncio.Future[None] = loop.create_future()
        self._thread = threading.Thread(
            target=self._main, args=(loop, ready), name="steam-hub", daemon=True
        )
        self._thread.start()
        await ready
        self._checked_at = self._clock.now()

    async def run(self) -> None:
        """Watch over the thread until it is stopped.

        Raises:
            HubDied: it ended by itself, or its beats stopped.
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
        """Count silence, but only such as we were awake to hear.

        After the whole process was stopped or the machine slept, much time has passed in which the
        hub could not beat either.
        """
        now = self._clock.now()
        passed_s, self._checked_at = now - self._checked_at, now
        self._silence_s += min(passed_s, 2 * BEAT_S)
        if passed_s > STILL_S:
            reason = "the event loop or the whole process stood still"
            self._log.warning("loop_blocked", duration_s=round(passed_s, 1), reason=reason)
        if self._silence_s > SILENCE_S:
            raise HubDied(f"the hub has not moved for {self._silence_s:.0f} s")

    def _end_thread(self) -> None:
        thread, self._thread = self._thread, None
        if thread is None or self._bridge is None or self._stop_asked is None:
            return
        with suppress(SteamUnreachable):  # it has ended by itself
            self._bridge.submit(self._stop_asked.set)
        thread.join(JOIN_S)
        if thread.is_alive():
            self._log.error("hub_stuck", reason="its thread does not end")
            self._bridge.fail_calls()

    # -- in the thread -------------------------------------------------------------------------

    def _main(self, loop: asyncio.AbstractEventLoop, ready: asyncio.Future[None]) -> None:
        # Saves memory: else each greenlet keeps ten frames of the stack that spawned it, for a debugger.
        gevent.config.track_greenlet_tree = False
        hub = gevent.get_hub()
        hub.handle_error = self._on_error
        bridge = self.bridge
        bridge.attach(hub)
        stop_asked = self._stop_asked = Event()
        beats = gevent.spawn(self._beat, bridge)
        loop.call_soon_threadsafe(ready.set_result, None)
        try:
            stop_asked.wait()  # the beats keep the loop alive meanwhile
        finally:
            bridge.detach()
            beats.kill()
            hub.destroy(destroy_loop=True)
            loop.call_soon_threadsafe(self._on_ended)

    def _beat(self, bridge: Bridge) -> None:
        while True:
            bridge.post(self._on_beat)
            gevent.sleep(BEAT_S)

    def _on_beat(self) -> None:
        self._silence_s = 0.0
        before, self._beat_at = self._beat_at, self._clock.now()
        if before is not None:
            self._tell_beat(max(0.0, self._beat_at - before - BEAT_S))

    def _on_ended(self) -> None:
        self.bridge.fail_calls()  # those that came too late to be started
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def _on_error(self, context: object, kind: Any, value: Any, _trace: object) -> None:
        """Log instead of printing: gevent's own report goes to stderr with message contents."""
        if kind is HubDestroyed:  # thrown by `destroy`; it has to leave the loop to end it
            raise value
        if kind is not None and not issubclass(kind, gevent.GreenletExit):
            self._log.error(
                "greenlet_crashed", context=type(context).__name__, error_type=kind.__name__
            )
        del value
