"""Bridge between the asyncio loop and the gevent hub.

To the hub: `call` runs a greenlet and awaits it, `submit` runs a short function in the hub itself. To the
loop: `post` runs a function, `ask_loop` lets a greenlet wait for a coroutine. Only frozen values and
bytes cross, in order.
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
from gevent.event import AsyncResult

from actors.errors import LocalProtocolError, SteamUnreachable

T = TypeVar("T")
KILL_S: Final = 1.0  # for calls that run when the hub ends


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
