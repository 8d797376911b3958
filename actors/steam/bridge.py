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
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from gevent.event import AsyncResult
from gevent.pool import Group

from actors.errors import LocalProtocolError, SteamUnreachable

T = TypeVar("T")
KILL_S: Final = 1.0  # for what is under way when the hub ends


@dataclass(slots=True, eq=False)
class _Job:
    """One `call`: what to run and where its outcome goes."""

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    reply: asyncio.Future[Any]
    greenlet: Any = field(default=None)
    is_cancelled: bool = False


@dataclass(slots=True, eq=False)
class _Question:
    """One `ask_loop`: who asks, and the task that answers."""

    answer: AsyncResult
    task: asyncio.Future[Any] | None = None


class Bridge:
    """Belongs to one asyncio loop and one hub. The hub attaches itself from its own thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._loop_thread = threading.get_ident()
        self._hub: Any = None
        self._hub_thread: int | None = None
        # Guards the hub's loop: a thread that uses or destroys it holds this, as it is freed memory then.
        self._door = threading.Lock()
        self._greenlets: Any = None  # of the calls; touched in the hub only
        self._replies: set[asyncio.Future[Any]] = set()  # of the calls; touched on the loop only
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
        self._replies.add(job.reply)
        try:
            return await job.reply  # type: ignore[no-any-return] # the future of fn's own result
        except asyncio.CancelledError:
            with suppress(SteamUnreachable):  # no hub, nothing to kill
                self.submit(self._kill, job)
            raise
        finally:
            self._replies.discard(job.reply)

    def submit(self, fn: Callable[..., None], *args: object) -> None:
        """Run ``fn(*args)`` in the hub itself, soon and in order; it must not wait for anything.

        Raises:
            SteamUnreachable: there is no hub.
        """
        with self._door:
            if self._hub is None:
                raise SteamUnreachable("hub", "the hub is not running")
            self._hub.loop.run_callback_threadsafe(fn, *args)

    def fail_calls(self) -> None:
        """Fail what still waits for a hub that will not answer any more."""
        for reply in self._replies:
            _settle(reply, None, SteamUnreachable("hub", "the hub ended"))

    # -- on the hub's thread ---------------------------------------------------------------------

    def attach(self, hub: Any) -> None:
        """Open the border; called once, in the hub's thread."""
        self._hub_thread = threading.get_ident()
        self._greenlets = Group()
        self._hub = hub

    def detach(self) -> None:
        """Close it and end the calls; what is on its way out still arrives."""
        with self._door:
            self._hub = None
        self._greenlets.kill(timeout=KILL_S)

    def post(self, fn: Callable[..., None], *args: object) -> None:
        """Run ``fn(*args)`` on the loop, soon and in order.

        Many posts at once wake the loop once: a wake-up is a system call.
        """
        self._check(self._hub_thread, "post")
        self._outbox.append((fn, args))
        if len(self._outbox) == 1:
            try:
                self._loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:  # the loop is closed: no receiver is left
                self._outbox.clear()

    def ask_loop(self, fn: Callable[..., Awaitable[T]], *args: object) -> T:
        """Run the coroutine ``fn(*args)`` on the loop and let this greenlet wait for its result."""
        question = _Question(AsyncResult())
        self.post(self._start_asked, fn, args, question)
        try:
            return question.answer.get()  # type: ignore[no-any-return] # gevent has no types
        except BaseException:  # killed, or out of time: this greenlet waits no more
            self.post(self._give_up, question)
            raise

    # -- in between ------------------------------------------------------------------------------

    def _deliver(self) -> None:
        """On the loop: run what was posted up to now; what is posted meanwhile is delivered too."""
        while self._outbox:
            fn, args = self._outbox[0]
            try:
                fn(*args)
            except Exception as error:  # noqa: BLE001 - it must not keep all others from arriving
                self._loop.call_exception_handler(
                    {"message": "what was posted from the hub failed", "exception": error}
                )
            finally:
                # Popped only now, so that a post in between does not wake the loop for nothing.
                self._outbox.popleft()

    def _spawn(self, job: _Job) -> None:
        if not job.is_cancelled:
            job.greenlet = self._greenlets.spawn(self._run, job)

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
        self, fn: Callable[..., Awaitable[Any]], args: tuple[Any, ...], question: _Question
    ) -> None:
        question.task = asyncio.ensure_future(_awaited(fn, args))
        question.task.add_done_callback(lambda done: self._return(done, question.answer))

    @staticmethod
    def _give_up(question: _Question) -> None:
        if question.task is not None:
            question.task.cancel()

    def _return(self, task: asyncio.Future[Any], answer: AsyncResult) -> None:
        error: BaseException | None = SteamUnreachable("hub", "the question was cancelled")
        if not task.cancelled():
            error = task.exception()
        with suppress(SteamUnreachable):  # the hub has ended, and who asked with it
            if error is not None:
                self.submit(answer.set_exception, error)
            else:
                self.submit(answer.set, task.result())

    @staticmethod
    def _check(thread: int | None, door: str) -> None:
        if threading.get_ident() != thread:
            raise LocalProtocolError(f"{door} was used on the wrong side of the border")


async def _awaited(fn: Callable[..., Awaitable[T]], args: tuple[Any, ...]) -> T:
    """Let also what `fn` raises before it can be awaited be the task's error."""
    return await fn(*args)


def _settle(reply: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if reply.done():  # cancelled meanwhile
        return
    if error is None:
        reply.set_result(result)
    else:
        reply.set_exception(error)
