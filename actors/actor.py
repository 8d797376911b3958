"""The actor: one mailbox, one handler, one message at a time.

    asker ── ask/tell ──► Address ──► Mailbox ──► Actor.handle
                          (stable)    (one incarnation, dies with it)

An actor that fails ends its `run` with the error; who starts it again, and when, is not known here.
The next incarnation is a new object with a new mailbox on the same address.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final, Generic, TypeVar, cast

from actors.clock import Clock
from actors.errors import ActorStopped
from actors.mailbox import Ask, Envelope, Mailbox, Reply

__all__ = ["Actor", "Address", "Ask", "Envelope", "Reply"]

DEFAULT_CAPACITY: Final = 1024  # messages; a burst, not a queue: above it the caller should know

M = TypeVar("M")
M_contra = TypeVar("M_contra", contravariant=True)
R = TypeVar("R")


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
