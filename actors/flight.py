"""One flight: the one errand for a match that any number of askers wait for (single-flight).

A flight belongs to the router; it holds who waits, until when, and which accounts failed it already.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from actors.actor import Reply
from actors.errors import RequestError
from actors.matches.answer import MatchAnswer


@dataclass(slots=True, eq=False)
class Flight:
    """See the module. `deadline`: clock seconds, the latest of those who wait."""

    match_id: int
    deadline: float
    waiters: list[Reply[MatchAnswer]] = field(default_factory=list)
    failed: frozenset[str] = frozenset()  # accounts; tried last from now on

    def join(self, reply: Reply[MatchAnswer], deadline: float) -> None:
        """Let one more asker wait; each keeps its own time limit."""
        self.waiters.append(reply)
        self.deadline = max(self.deadline, deadline)

    def land(self, answer: MatchAnswer) -> None:
        """Answer everybody."""
        for reply in self.waiters:
            reply.set(answer)

    def fail(self, error: RequestError) -> None:
        """Tell everybody what went wrong."""
        for reply in self.waiters:
            reply.fail(error)

    @property
    def is_abandoned(self) -> bool:
        """Nobody waits any more."""
        return all(reply.done for reply in self.waiters)
