"""Actor, Address, Mailbox, Ask, Reply: one mailbox, one handler, one message at a time.

Knows no actor. All of it lives on one asyncio loop, so nothing here locks; a box belongs to one
incarnation of an actor and dies with it, and no asker outlives the box without an answer.

asker ── ask/tell ──► Address ──► Mailbox ──► Actor.handle
                          (stable)    (one incarnation, dies with it)

An actor that fails ends its `run` with the error; who starts it again, and when, is not known here.
The next incarnation is a new object with a new mailbox on the same address.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, cast

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


DEFAULT_CAPACITY: Final = 1024  # messages; a burst, not a queue: above it the caller should know
M_contra = TypeVar("M_contra", contravariant=True)


class Address(Generic[M_contra]):
    """Where to reach an actor, whichever incarnation of it is running now.

    Contravariant: an address that takes more kinds of messages serves where fewer are needed.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._mailbox: Mailbox[M_contra] | None = None

    def __repr__(self) -> str:
        return f"Address({self.name!r})"

    def bind(self, mailbox: Mailbox[M_contra]) -> None:
        """Let the mail go to `mailbox` from now on; what is left in the one before is discarded."""
        if self._mailbox is not None:
            self._mailbox.discard()
        self._mailbox = mailbox

    def tell(self, message: M_contra) -> None:
        """Deliver `message` without waiting and without an answer.

        Raises:
            MailboxFull: the actor is behind; nothing was delivered.
            ActorStopped: no actor reads the mailbox.
        """
        self._bound().put(Envelope(message, None))

    async def ask(self, message: Ask[R], *, deadline: float) -> R:
        """Deliver `message` and wait for its answer until the instant `deadline` on the clock.

        A message whose asker is gone (cancelled or too late) before its turn is dropped unread.

        Raises:
            MailboxFull: the actor is behind; nothing was delivered.
            ActorStopped: no actor reads the mailbox, or the actor ended before it answered.
            TimeoutError: `deadline` has passed.
        """
        answer = await self._bound().ask(cast("M_contra", message), deadline=deadline)
        return cast("R", answer)

    def _bound(self) -> Mailbox[M_contra]:
        if self._mailbox is None:
            raise ActorStopped(self.name)
        return self._mailbox


class Actor(ABC, Generic[M]):
    """One incarnation: `start`, then `run` to its end, once. Subclasses write `handle`."""

    def __init__(
        self, address: Address[M], *, clock: Clock, capacity: int = DEFAULT_CAPACITY
    ) -> None:
        """`capacity`: messages that may wait before senders are refused."""
        self.address = address
        self._clock = clock
        self._mailbox: Mailbox[M] = Mailbox(address.name, capacity=capacity, clock=clock)

    @abstractmethod
    async def handle(self, envelope: Envelope[M]) -> None:
        """Do what one message asks for; the next one waits until this returns.

        The answer may come later: keep `envelope.reply`. What this raises ends the actor.
        """

    async def start(self) -> None:
        """Take over the address. A subclass that prepares more calls this last.

        Whatever is bound here is served by `run`, so nothing may fail in between.
        """
        self.address.bind(self._mailbox)

    async def run(self) -> None:
        """Handle mail until `stop`, then finish what was accepted before it.

        Raises:
            Exception: what `handle` raised. However this ends, no asker is left waiting.
        """
        try:
            async for envelope in self._mailbox:
                await self.handle(envelope)
        finally:
            self._mailbox.discard()

    def stop(self) -> None:
        """Accept no more mail; `run` ends when the box is empty. Harmless twice."""
        self._mailbox.close()
