"""Mail between actors: messages, envelopes, replies and the bounded box they wait in.

Knows no actor. All of it lives on one asyncio loop, so nothing here locks; a box belongs to one
incarnation of an actor and dies with it, and no asker outlives the box without an answer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from actors.clock import Clock
from actors.errors import ActorStopped, MailboxFull

M = TypeVar("M")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Ask(Generic[R_co]):
    """Base of the messages that are answered, by an `R_co`; the subclasses are frozen dataclasses."""

    __slots__ = ()


class Reply(Generic[R]):
    """Where one answer goes. It settles once: what comes later is ignored, not an error."""

    __slots__ = ("_expired", "_future")

    def __init__(self) -> None:
        self._future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._expired = False

    @property
    def done(self) -> bool:
        """Whether the asker waits no more: answered, failed or abandoned."""
        return self._future.done()

    @property
    def abandoned(self) -> bool:
        """Whether the asker gave up first: it was cancelled, or its deadline passed."""
        return self._expired or self._future.cancelled()

    def when_done(self, fn: Callable[[], None]) -> None:
        """Call `fn` on the loop once the asker waits no more."""
        self._future.add_done_callback(lambda _: fn())

    def set(self, value: R) -> None:
        """Answer."""
        if not self._future.done():
            self._future.set_result(value)

    def fail(self, error: Exception) -> None:
        """Answer with an error, which is raised at the asker."""
        if not self._future.done():
            self._future.set_exception(error)
            # An asker cancelled in this very moment never looks; that is no news for the log.
            self._future.exception()

    def expire(self) -> None:
        """Give up for the asker: its deadline has passed."""
        if not self._future.done():
            self._expired = True
            self.fail(TimeoutError())

    async def wait(self) -> R:
        """Return the answer; cancelling this marks the reply as abandoned."""
        return await self._future


@dataclass(slots=True)
class Envelope(Generic[M]):
    """One message and, if it was asked and not told, where its answer goes."""

    message: M
    reply: Reply[Any] | None


class Mailbox(Generic[M]):
    """The mail of one actor, first in, first out.

    Iterating takes the mail out, waits for more, and ends when the box is closed and empty. A full
    box refuses at once instead of letting the sender wait: that is the backpressure.
    """

    def __init__(self, owner: str, *, capacity: int, clock: Clock) -> None:
        """`owner` names the actor in errors; `capacity` counts the messages not yet taken out."""
        self._owner = owner
        self._capacity = capacity
        self._clock = clock
        self._mail: deque[Envelope[M]] = deque()
        self._unanswered: set[Reply[Any]] = set()
        self._closed = False
        self._reader: asyncio.Future[None] | None = None  # set while the actor waits for mail

    def __len__(self) -> int:
        return len(self._mail)

    def put(self, envelope: Envelope[M]) -> None:
        """Take in one envelope, without waiting.

        Raises:
            MailboxFull: `capacity` messages are waiting; nothing was delivered.
            ActorStopped: the box is closed.
        """
        if self._closed:
            raise ActorStopped(self._owner)
        if len(self._mail) >= self._capacity:
            raise MailboxFull(self._owner, self._capacity)
        self._mail.append(envelope)
        self._wake_reader()

    async def ask(self, message: M, *, deadline: float) -> Any:
        """Put `message` and wait for its answer: one future and one timer, no task.

        Raises:
            MailboxFull, ActorStopped: as `put`; ActorStopped also when the actor ends unanswering.
            TimeoutError: the instant `deadline` has passed.
        """
        reply: Reply[Any] = Reply()
        self.put(Envelope(message, reply))
        self._unanswered.add(reply)
        timer = self._clock.call_at(deadline, reply.expire)
        try:
            return await reply.wait()
        finally:
            timer.cancel()
            self._unanswered.discard(reply)

    def close(self) -> None:
        """Refuse further mail; what is in the box can still be read. Harmless twice."""
        self._closed = True
        self._wake_reader()

    def discard(self) -> None:
        """Close, throw the mail away and fail every ask that is still open.

        That is those in the box, the one in hand and those whose reply the actor kept for later.
        """
        self.close()
        self._mail.clear()
        for reply in self._unanswered:
            reply.fail(ActorStopped(self._owner))

    def __aiter__(self) -> Mailbox[M]:
        return self

    async def __anext__(self) -> Envelope[M]:
        """Return the next envelope, without those whose asker has gone."""
        while True:
            while self._mail:
                envelope = self._mail.popleft()
                if envelope.reply is None or not envelope.reply.done:
                    return envelope
            if self._closed:
                raise StopAsyncIteration
            await self._wait_for_mail()

    async def _wait_for_mail(self) -> None:
        self._reader = asyncio.get_running_loop().create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
