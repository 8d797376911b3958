"""Actor, Address, Mailbox, Ask: one mailbox, one handler, one message at a time.

    sender ── ask/tell ──► Address ──► Mailbox ──► Actor.handle ──► answer
                           (stable)    (of one run)

An actor that fails ends its `run` with the error; a supervisor starts a new object with a new mailbox on
the same address. Everything runs on one asyncio loop, so nothing locks.
"""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from collections import deque
from functools import partial
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast

from actors.clock import Clock
from actors.errors import ActorStopped, MailboxFull, ServiceError

M = TypeVar("M")
M_contra = TypeVar("M_contra", contravariant=True)
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
DEFAULT_CAPACITY: Final = 1024  # messages
Reply: TypeAlias = asyncio.Future[Any]  # the answer to one ask


class Ask(Generic[R_co]):
    """Base class of messages with an answer of type `R_co`."""

    __slots__ = ()


class Mailbox(Generic[M]):
    """The messages of one run of an actor, first in, first out; each with the future of its answer.

    Iteration takes messages out, waits for more, and ends when the mailbox is closed and empty. A full
    mailbox refuses messages, as backpressure.
    """

    def __init__(self, owner: str, *, capacity: int, clock: Clock) -> None:
        """`owner`: the actor's name in errors; `capacity`: the largest number of waiting messages."""
        self._owner = owner
        self._capacity = capacity
        self._clock = clock
        self._mail: deque[tuple[M, Reply | None]] = deque()
        self._unanswered: set[Reply] = set()
        self._closed = False
        self._news = asyncio.Event()  # a message came, or the end

    def put(self, message: M, reply: Reply | None = None) -> None:
        """Deliver one message, without waiting. Raises MailboxFull, ActorStopped."""
        if self._closed:
            raise ActorStopped(self._owner)
        if len(self._mail) >= self._capacity:
            raise MailboxFull(self._owner, self._capacity)
        self._mail.append((message, reply))
        self._news.set()

    async def ask(self, message: M, *, deadline: float) -> Any:
        """Deliver `message` and return its answer; see `Address.ask`."""
        reply: Reply = asyncio.get_running_loop().create_future()
        self.put(message, reply)
        self._unanswered.add(reply)
        reply.add_done_callback(self._unanswered.discard)
        if deadline == math.inf:
            return await reply
        timer = self._clock.call_at(deadline, partial(fail, reply, TimeoutError()))
        try:
            return await reply
        finally:
            timer.cancel()

    def close(self) -> None:
        """Refuse further messages; the present ones can still be read. Harmless when repeated."""
        self._closed = True
        self._news.set()

    def discard(self) -> None:
        """Close, drop all messages and fail every unanswered ask, also of messages taken out."""
        self.close()
        self._mail.clear()
        for reply in self._unanswered:
            fail(reply, ActorStopped(self._owner))

    def __aiter__(self) -> Mailbox[M]:
        return self

    async def __anext__(self) -> tuple[M, Reply | None]:
        """Return the next message; those whose sender has left are dropped."""
        while True:
            while self._mail:
                message, reply = self._mail.popleft()
                if reply is None or not reply.done():
                    return message, reply
            if self._closed:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()


def resolve(reply: asyncio.Future[R], value: R) -> None:
    """Answer with a value; ignored when there is an answer."""
    if not reply.done():
        reply.set_result(value)


def fail(reply: Reply, error: BaseException) -> None:
    """Answer with an error, which the sender raises; ignored when there is an answer."""
    if not reply.done():
        reply.set_exception(error)
        # Marks it as retrieved: a sender that was cancelled just now does not read it.
        reply.exception()


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
        """Deliver `message` without waiting and without an answer. Raises MailboxFull, ActorStopped."""
        self._bound().put(message)

    async def ask(self, message: Ask[R], *, deadline: float) -> R:
        """Deliver `message` and return its answer.

        A message whose sender was cancelled or is late is dropped unread.

        Raises:
            MailboxFull: too many messages wait; nothing was delivered.
            ActorStopped: the actor does not run, or ended before it answered.
            TimeoutError: the instant `deadline` has passed.
        """
        return cast("R", await self._bound().ask(cast("M_contra", message), deadline=deadline))

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
    async def handle(self, message: M) -> object:
        """Handle one message and return its answer; the next one waits until this returns.

        An answer that takes time is returned as a future or task, which is cancelled when the sender has
        left. A ServiceError is the answer to an ask; every other exception ends the actor.
        """

    async def on_start(self) -> None:
        """Prepare the run; messages are accepted by now."""

    async def on_stop(self) -> None:
        """Clean up after the last message, however the run ends."""

    async def start(self) -> None:
        """Take over the address."""
        self.address.bind(self._mailbox)
        await self.on_start()

    async def run(self) -> None:
        """Handle messages until `stop`, then those accepted before it; at the end fail unanswered asks.

        Raises:
            Exception: `handle` raised it.
        """
        try:
            async for message, reply in self._mailbox:
                try:
                    answer = await self.handle(message)
                except ServiceError as error:
                    if reply is None:
                        raise
                    fail(reply, error)
                else:
                    if reply is not None:
                        self._answer(reply, answer)
        finally:
            self._mailbox.discard()
            await self.on_stop()

    def stop(self) -> None:
        """Accept no more messages; `run` ends when the mailbox is empty. Harmless when repeated."""
        self._mailbox.close()

    def _answer(self, reply: Reply, answer: object) -> None:
        """Answer an ask now, or at the end of a future."""

        def copy(future: asyncio.Future[Any]) -> None:
            if future.cancelled():
                fail(reply, ActorStopped(self.address.name))
            elif (error := future.exception()) is not None:
                fail(reply, error)
            else:
                resolve(reply, future.result())

        if isinstance(answer, asyncio.Future):
            answer.add_done_callback(copy)
            reply.add_done_callback(lambda _: answer.cancel())
        else:
            resolve(reply, answer)
