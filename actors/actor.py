"""Actor, Address, Mailbox, Ask, Reply: one mailbox, one handler, one message at a time.

    sender ── ask/tell ──► Address ──► Mailbox ──► Actor.handle
                           (stable)    (of one run)

An actor that fails ends its `run` with the error; a supervisor starts a new object with a new mailbox on
the same address. Everything runs on one asyncio loop, so nothing locks.
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
    """Base class of messages with an answer of type `R_co`."""

    __slots__ = ()


class Reply(Generic[R]):
    """The slot for one answer. The first answer counts, later ones are ignored."""

    __slots__ = ("_expired", "_future")

    def __init__(self) -> None:
        self._future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._expired = False

    @property
    def done(self) -> bool:
        """Whether the reply is answered, failed or abandoned."""
        return self._future.done()

    @property
    def abandoned(self) -> bool:
        """Whether the sender was cancelled, or its deadline passed, before an answer."""
        return self._expired or self._future.cancelled()

    def when_done(self, fn: Callable[[], None]) -> None:
        """Call `fn` on the loop when the reply is done."""
        self._future.add_done_callback(lambda _: fn())

    def set(self, value: R) -> None:
        """Answer with `value`."""
        if not self._future.done():
            self._future.set_result(value)

    def fail(self, error: Exception) -> None:
        """Answer with an error, which the sender raises."""
        if not self._future.done():
            self._future.set_exception(error)
            # Marks it as retrieved: a sender that was cancelled just now does not read it.
            self._future.exception()

    def expire(self) -> None:
        """Abandon the reply: the deadline has passed."""
        if not self._future.done():
            self._expired = True
            self.fail(TimeoutError())

    async def wait(self) -> R:
        """Return the answer; a cancellation abandons the reply."""
        return await self._future


@dataclass(slots=True)
class Envelope(Generic[M]):
    """One message, and the slot for its answer if it was asked."""

    message: M
    reply: Reply[Any] | None


class Mailbox(Generic[M]):
    """The messages of one run of an actor, first in, first out.

    Iteration takes messages out, waits for more, and ends when the mailbox is closed and empty. A full
    mailbox refuses messages, as backpressure.
    """

    def __init__(self, owner: str, *, capacity: int, clock: Clock) -> None:
        """`owner`: the actor's name in errors; `capacity`: the largest number of waiting messages."""
        self._owner = owner
        self._capacity = capacity
        self._clock = clock
        self._mail: deque[Envelope[M]] = deque()
        self._unanswered: set[Reply[Any]] = set()
        self._closed = False
        self._reader: asyncio.Future[None] | None = None  # set while the actor waits

    def __len__(self) -> int:
        return len(self._mail)

    def put(self, envelope: Envelope[M]) -> None:
        """Deliver one envelope, without waiting.

        Raises:
            MailboxFull: `capacity` messages wait; nothing was delivered.
            ActorStopped: the mailbox is closed.
        """
        if self._closed:
            raise ActorStopped(self._owner)
        if len(self._mail) >= self._capacity:
            raise MailboxFull(self._owner, self._capacity)
        self._mail.append(envelope)
        self._wake_reader()

    async def ask(self, message: M, *, deadline: float) -> Any:
        """Deliver `message` and return its answer.

        Raises:
            MailboxFull, ActorStopped: as `put`; ActorStopped also when the actor ends without an answer.
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
        """Refuse further messages; the present ones can still be read. Harmless when repeated."""
        self._closed = True
        self._wake_reader()

    def discard(self) -> None:
        """Close, drop all messages and fail every unanswered ask, also of messages taken out."""
        self.close()
        self._mail.clear()
        for reply in self._unanswered:
            reply.fail(ActorStopped(self._owner))

    def __aiter__(self) -> Mailbox[M]:
        return self

    async def __anext__(self) -> Envelope[M]:
        """Return the next envelope; those with a done reply are dropped."""
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


DEFAULT_CAPACITY: Final = 1024  # messages
M_contra = TypeVar("M_contra", contravariant=True)


class Address(Generic[M_contra]):
    """The stable address of an actor, across its restarts.

    Contravariant: an address that takes more kinds of messages serves where fewer are needed.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._mailbox: Mailbox[M_contra] | None = None

    def __repr__(self) -> str:
        return f"Address({self.name!r})"

    def bind(self, mailbox: Mailbox[M_contra]) -> None:
        """Deliver to `mailbox` from now on; discard the previous mailbox."""
        if self._mailbox is not None:
            self._mailbox.discard()
        self._mailbox = mailbox

    def tell(self, message: M_contra) -> None:
        """Deliver `message` without waiting and without an answer.

        Raises:
            MailboxFull: too many messages wait; nothing was delivered.
            ActorStopped: the actor does not run.
        """
        self._bound().put(Envelope(message, None))

    async def ask(self, message: Ask[R], *, deadline: float) -> R:
        """Deliver `message` and return its answer.

        A message whose sender was cancelled or is late is dropped unread.

        Raises:
            MailboxFull: too many messages wait; nothing was delivered.
            ActorStopped: the actor does not run, or ended before it answered.
            TimeoutError: the instant `deadline` has passed.
        """
        answer = await self._bound().ask(cast("M_contra", message), deadline=deadline)
        return cast("R", answer)

    def _bound(self) -> Mailbox[M_contra]:
        if self._mailbox is None:
            raise ActorStopped(self.name)
        return self._mailbox


class Actor(ABC, Generic[M]):
    """One run of an actor: `start`, then `run` to its end, once. Subclasses implement `handle`."""

    def __init__(
        self, address: Address[M], *, clock: Clock, capacity: int = DEFAULT_CAPACITY
    ) -> None:
        """`capacity`: the largest number of waiting messages."""
        self.address = address
        self._clock = clock
        self._mailbox: Mailbox[M] = Mailbox(address.name, capacity=capacity, clock=clock)

    @abstractmethod
    async def handle(self, envelope: Envelope[M]) -> None:
        """Handle one message; the next one waits until this returns.

        An answer may come later, through `envelope.reply`. An exception ends the actor.
        """

    async def start(self) -> None:
        """Take over the address. Nothing may fail between this and `run`."""
        self.address.bind(self._mailbox)

    async def run(self) -> None:
        """Handle messages until `stop`, then those accepted before it; at the end fail unanswered asks.

        Raises:
            Exception: `handle` raised it.
        """
        try:
            async for envelope in self._mailbox:
                await self.handle(envelope)
        finally:
            self._mailbox.discard()

    def stop(self) -> None:
        """Accept no more messages; `run` ends when the mailbox is empty. Harmless when repeated."""
        self._mailbox.close()
