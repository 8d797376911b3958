"""Hub: the thread with gevent's loop and the greenlets of all links; and the bridge to it.

The hub sends a beat every second from inside its loop. Missing beats mean that it hangs; it cannot be
replaced inside a process, so its failure ends the process. Only frozen values and bytes cross between
the threads, in order.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final, TypeVar

import gevent
from gevent.event import AsyncResult, Event
from gevent.exceptions import HubDestroyed
from structlog.typing import FilteringBoundLogger

from actors.clock import Clock
from actors.errors import LocalProtocolError, ServiceError, SteamUnreachable
from actors.metrics import Histogram

T = TypeVar("T")
BEAT_S: Final = 1.0
SILENCE_S: Final = 10.0  # without a beat: a hang instead of a busy moment
BLOCKED_S: Final = 5.0  # between two checks: the event loop was blocked, which is logged
JOIN_S: Final = 5.0
KILL_S: Final = 1.0  # for calls that run when the hub ends


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


class Bridge:
    """Connects one asyncio loop and one hub, which attaches itself from its own thread.

    To the hub: `call` runs a greenlet and awaits it, `submit` runs a short function in the hub itself.
    To the loop: `post` runs a function, `ask_loop` runs a coroutine while a greenlet waits.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._loop_thread = threading.get_ident()
        self._hub: Any = None
        self._hub_thread: int | None = None
        # Held while the hub's loop is used or destroyed: a destroyed loop is freed memory.
        self._hub_lock = threading.Lock()
        # Of the calls.
        self._replies: set[asyncio.Future[Any]] = set()  # used on the loop only
        self._greenlets: dict[asyncio.Future[Any], Any] = {}  # used in the hub only
        self._outbox: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()

    # -- on the loop's thread --------------------------------------------------------------------

    async def call(self, fn: Callable[..., T], *args: object) -> T:
        """Run ``fn(*args)`` as a greenlet and return its result; cancelling the await kills it.

        Raises:
            SteamUnreachable: there is no hub, or the greenlet was killed; else what `fn` raises.
        """
        self._check(self._loop_thread, "call")
        reply: asyncio.Future[T] = self._loop.create_future()
        self.submit(self._spawn, reply, fn, args)
        self._replies.add(reply)
        try:
            return await reply
        except asyncio.CancelledError:
            with suppress(SteamUnreachable):  # without a hub there is no greenlet
                self.submit(self._kill, reply)
            raise
        finally:
            self._replies.discard(reply)

    def submit(self, fn: Callable[..., None], *args: object) -> None:
        """Run ``fn(*args)`` in the hub itself, soon and in order; `fn` must not wait.

        Raises:
            SteamUnreachable: there is no hub.
        """
        with self._hub_lock:
            if self._hub is None:
                raise SteamUnreachable("hub", "the hub is not running")
            self._hub.loop.run_callback_threadsafe(fn, *args)

    def fail_calls(self) -> None:
        """Fail all pending calls: the hub has ended."""
        for reply in self._replies:
            _settle(reply, None, SteamUnreachable("hub", "the hub ended"))

    # -- on the hub's thread ---------------------------------------------------------------------

    def attach(self, hub: Any) -> None:
        """Open the bridge; called once, in the hub's thread."""
        self._hub_thread = threading.get_ident()
        self._hub = hub

    def detach(self) -> None:
        """Close the bridge and end the calls; posted functions still run."""
        with self._hub_lock:
            self._hub = None
        gevent.killall(list(self._greenlets.values()), timeout=KILL_S)

    def post(self, fn: Callable[..., None], *args: object) -> None:
        """Run ``fn(*args)`` on the loop, soon and in order.

        Posts in a row share one wake-up of the loop, which is a system call.
        """
        self._check(self._hub_thread, "post")
        self._outbox.append((fn, args))
        if len(self._outbox) == 1:
            try:
                self._loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:  # the loop is closed
                self._outbox.clear()

    @contextmanager
    def ask_loop(self, fn: Callable[..., Awaitable[Any]], *args: object) -> Iterator[AsyncResult]:
        """Run the coroutine ``fn(*args)`` on the loop until the block ends; yield its result."""
        answer = AsyncResult()
        asked = asyncio.run_coroutine_threadsafe(_awaited(fn, args), self._loop)
        asked.add_done_callback(partial(self._return, answer))
        try:
            yield answer
        finally:
            asked.cancel()

    # -- internals -------------------------------------------------------------------------------

    def _deliver(self) -> None:
        """On the loop: run what was posted, including what is posted meanwhile."""
        while self._outbox:
            fn, args = self._outbox[0]
            try:
                fn(*args)
            except Exception as error:  # noqa: BLE001 - the other posts must still run
                self._loop.call_exception_handler(
                    {"message": "what was posted from the hub failed", "exception": error}
                )
            finally:
                # Popped last: until then further posts do not wake the loop.
                self._outbox.popleft()

    def _spawn(
        self, reply: asyncio.Future[T], fn: Callable[..., T], args: tuple[object, ...]
    ) -> None:
        greenlet = self._greenlets[reply] = gevent.spawn(self._run, reply, fn, args)
        greenlet.rawlink(lambda _ended: self._greenlets.pop(reply))

    def _kill(self, reply: asyncio.Future[Any]) -> None:
        if reply in self._greenlets:
            self._greenlets[reply].kill(block=False)

    def _run(
        self, reply: asyncio.Future[T], fn: Callable[..., T], args: tuple[object, ...]
    ) -> None:
        """In the greenlet. gevent's Timeout and GreenletExit are BaseExceptions and must not leak."""
        try:
            result = fn(*args)
        except Exception as error:  # noqa: BLE001 - raised again on the loop
            self.post(_settle, reply, None, error)
        except BaseException as error:  # noqa: BLE001 - as above, but as SteamUnreachable
            ended = SteamUnreachable("hub", f"ended by {type(error).__name__}")
            self.post(_settle, reply, None, ended)
        else:
            self.post(_settle, reply, result, None)

    def _return(self, answer: AsyncResult, asked: Future[Any]) -> None:
        error: BaseException | None = SteamUnreachable("hub", "the question was cancelled")
        if not asked.cancelled():
            error = asked.exception()
        with suppress(SteamUnreachable):  # the hub has ended, and the greenlet with it
            if error is not None:
                self.submit(answer.set_exception, error)
            else:
                self.submit(answer.set, asked.result())

    @staticmethod
    def _check(thread: int | None, method: str) -> None:
        if threading.get_ident() != thread:
            raise LocalProtocolError(f"Bridge.{method} was called in the wrong thread")


async def _awaited(fn: Callable[..., Awaitable[T]], args: tuple[Any, ...]) -> T:
    """Make an error that `fn` raises before it returns an awaitable the task's error."""
    return await fn(*args)


def _settle(reply: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if reply.done():  # cancelled
        return
    if error is None:
        reply.set_result(result)
    else:
        reply.set_exception(error)
