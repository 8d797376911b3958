"""The border between asyncio and gevent: the only file in which both worlds are visible.

Inwards, `call` runs a greenlet and awaits it, `submit` runs a short function in the hub; outwards,
`post` runs a function on the loop, and `ask_loop` lets a greenlet wait for a coroutine. Only frozen
values and bytes cross. Every door checks its thread; all of them keep the order of what passes.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import gevent
from gevent.event import AsyncResult

from actors.errors import SteamUnreachable, WrongThread

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Job:
    """One `call`: what to run and where its outcome goes."""

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    reply: asyncio.Future[Any]
    greenlet: Any = field(default=None)
    is_cancelled: bool = False


class Bridge:
    """Belongs to one asyncio loop and one hub. The hub attaches itself from its own thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._loop_thread = threading.get_ident()
        self._hub: Any = None
        self._hub_thread: int | None = None
        self._outbox: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()

    # -- on the loop's thread --------------------------------------------------------------------

    async def call(self, fn: Callable[..., T], *args: object) -> T:
        """Run ``fn(*args)`` as a greenlet and return its result; cancelling the await kills it.

        Raises:
            Whatever `fn` raises; SteamUnreachable when there is no hub, or it was killed there.
        """
        self._check(self._loop_thread, "call")
        job = _Job(fn, args, self._loop.create_future())
        self.submit(self._spawn, job)
        try:
            return await job.reply  # type: ignore[no-any-return] # the future of fn's own result
        except asyncio.CancelledError:
            self.submit(self._kill, job)
            raise

    def submit(self, fn: Callable[..., None], *args: object) -> None:
        """Run ``fn(*args)`` in the hub itself, soon and in order; it must not wait for anything.

        Raises:
            SteamUnreachable: there is no hub.
        """
        if self._hub is None:
            raise SteamUnreachable("hub", "the hub is not running")
        self._hub.loop.run_callback_threadsafe(fn, *args)

    # -- on the hub's thread ---------------------------------------------------------------------

    def attach(self, hub: Any) -> None:
        """Open the border; called once, in the hub's thread."""
        self._hub = hub
        self._hub_thread = threading.get_ident()

    def detach(self) -> None:
        """Close it; what is on its way in is lost, what is on its way out still arrives."""
        self._hub = None

    def post(self, fn: Callable[..., None], *args: object) -> None:
        """Run ``fn(*args)`` on the loop, soon and in order.

        Many posts at once wake the loop once: a wake-up is a system call.
        """
        self._check(self._hub_thread, "post")
        self._outbox.append((fn, args))
        if len(self._outbox) == 1:
            try:
                self._loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:  # the loop is closed: nobody is left to hear it
                self._outbox.clear()

    def ask_loop(self, fn: Callable[..., Awaitable[T]], *args: object) -> T:
        """Run the coroutine ``fn(*args)`` on the loop and let this greenlet wait for its result."""
        answer: AsyncResult = AsyncResult()
        self.post(self._start_asked, fn, args, answer)
        return answer.get()  # type: ignore[no-any-return] # gevent has no types

    # -- in between ------------------------------------------------------------------------------

    def _deliver(self) -> None:
        """On the loop: run what was posted up to now; what is posted meanwhile is delivered too."""
        while self._outbox:
            fn, args = self._outbox[0]
            try:
                fn(*args)
            finally:
                # Popped only now, so that a post in between does not wake the loop for nothing.
                self._outbox.popleft()

    def _spawn(self, job: _Job) -> None:
        if not job.is_cancelled:
            job.greenlet = gevent.spawn(self._run, job)

    def _kill(self, job: _Job) -> None:
        job.is_cancelled = True
        if job.greenlet is not None:
            job.greenlet.kill(block=False)

    def _run(self, job: _Job) -> None:
        """In the greenlet. gevent's Timeout and GreenletExit are BaseExceptions: nothing may leak."""
        try:
            result = job.fn(*job.args)
        except Exception as error:  # noqa: BLE001 - the border: it is raised again on the other side
            self.post(_settle, job.reply, None, error)
        except BaseException as error:  # noqa: BLE001 - as above, and these have no place over there
            ended = SteamUnreachable("hub", f"ended by {type(error).__name__}")
            self.post(_settle, job.reply, None, ended)
        else:
            self.post(_settle, job.reply, result, None)

    def _start_asked(
        self, fn: Callable[..., Awaitable[Any]], args: tuple[Any, ...], answer: AsyncResult
    ) -> None:
        task = asyncio.ensure_future(fn(*args))
        task.add_done_callback(lambda done: self._return(done, answer))

    def _return(self, task: asyncio.Future[Any], answer: AsyncResult) -> None:
        if self._hub is None:
            return
        if task.cancelled():
            self.submit(answer.set_exception, SteamUnreachable("hub", "the question was cancelled"))
        elif (error := task.exception()) is not None:
            self.submit(answer.set_exception, error)
        else:
            self.submit(answer.set, task.result())

    @staticmethod
    def _check(thread: int | None, door: str) -> None:
        if threading.get_ident() != thread:
            raise WrongThread(f"{door} was used on the wrong side of the border")


def _settle(reply: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if reply.done():  # cancelled meanwhile
        return
    if error is None:
        reply.set_result(result)
    else:
        reply.set_exception(error)
