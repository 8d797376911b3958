"""Pending requests of one link, and the events that the hub delivers to it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
from collections.abc import Iterator
from typing import Final

from actors.errors import GcUnavailable, RequestDropped, SteamUnreachable
from actors.steam.port import Dropped, GcLost, LinkEvent, LinkListener
from actors.steam.protocol.envelope import NO_JOB

MOST_PENDING: Final = 256  # match requests of one connection, including late ones
# Steam job ids share one name space with service calls, which count from 1 in the hub.
FIRST_STEAM_JOB: Final = 1 << 32


class PendingRequests:
    """Pending requests of one kind by job id.

    `jobs` never repeats, so that an answer reaches its own request or none. Beyond `most` pending
    requests the oldest fails with TimeoutError.
    """

    def __init__(self, jobs: Iterator[int], *, most: float = math.inf) -> None:
        self._jobs = jobs
        self._most = most
        self._pending: dict[int, asyncio.Future[bytes]] = {}

    def __len__(self) -> int:
        return len(self._pending)

    @contextlib.contextmanager
    def add(self) -> Iterator[tuple[int, asyncio.Future[bytes]]]:
        """Yield the job id and the future of one more request."""
        if len(self._pending) >= self._most:
            self.fail(next(iter(self._pending)), TimeoutError("too many younger requests"))
        job = next(self._jobs)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._pending[job] = answer
        try:
            yield job, answer
        finally:
            self._pending.pop(job, None)

    def resolve(self, job: int, body: bytes) -> None:
        """Set the answer of a job; a late or repeated answer is dropped."""
        answer = self._pending.get(job)
        if answer is not None and not answer.done():
            answer.set_result(body)

    def fail(self, job: int, error: Exception) -> None:
        """Fail one request; does nothing when it is not pending."""
        answer = self._pending.pop(job, None)
        if answer is not None and not answer.done():
            answer.set_exception(error)
            answer.exception()  # retrieved: a caller that is cancelled right now never does it

    def fail_oldest(self, error: Exception) -> None:
        """Fail the request that has been pending longest."""
        oldest = next((job for job, answer in self._pending.items() if not answer.done()), None)
        if oldest is not None:
            self.fail(oldest, error)

    def fail_all(self, error: Exception) -> None:
        """Fail every request."""
        for job in tuple(self._pending):
            self.fail(job, error)


class Inbox:
    """Receives what the hub posts for one link. Used on the asyncio loop only."""

    def __init__(self, listener: LinkListener) -> None:
        gc_jobs = itertools.count(1)
        self.matches = PendingRequests(gc_jobs, most=MOST_PENDING)
        self.cards = PendingRequests(gc_jobs)
        self.names = PendingRequests(itertools.count(FIRST_STEAM_JOB))
        self.is_closed = False  # events are dropped from then on
        self._listener = listener

    def on_event(self, event: LinkEvent) -> None:
        """Fail the requests that the event ends, and pass it to the listener."""
        if isinstance(event, Dropped):
            self.fail_all(SteamUnreachable("session", event.reason, event.eresult))
        elif isinstance(event, GcLost):
            self.matches.fail_all(GcUnavailable(event.reason))
            self.cards.fail_all(GcUnavailable(event.reason))
        if not self.is_closed:
            self._listener(event)

    def on_request_dropped(self, job: int) -> None:
        """Fail a request that the GC dropped; without a job id, the oldest match request."""
        if job == NO_JOB:
            self.matches.fail_oldest(RequestDropped())
        else:
            self.matches.fail(job, RequestDropped())
            self.cards.fail(job, RequestDropped())

    def fail_all(self, error: Exception) -> None:
        """Fail the requests of every kind."""
        for requests in (self.matches, self.cards, self.names):
            requests.fail_all(error)
