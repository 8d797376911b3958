"""Pending requests of one link by job id."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Iterator


class Unanswered:
    """Requests of one kind, at most `most` of them; for one more the oldest ends with TimeoutError.

    `jobs` counts up and never repeats: an answer reaches the request it belongs to, or none.
    """

    def __init__(self, jobs: Iterator[int], *, most: float = math.inf) -> None:
        self._jobs = jobs
        self._most = most
        self._waiting: dict[int, asyncio.Future[bytes]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @contextlib.contextmanager
    def one(self) -> Iterator[tuple[int, asyncio.Future[bytes]]]:
        """Yield the job id of one more request, and what its answer or a refusal will settle."""
        if len(self._waiting) >= self._most:
            self.refuse(next(iter(self._waiting)), TimeoutError("too many younger requests"))
        job = next(self._jobs)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[job] = answer
        try:
            yield job, answer
        finally:
            self._waiting.pop(job, None)

    def answer(self, job: int, body: bytes) -> None:
        """Set the answer of a job; one without a waiting call (late, or a second one) is dropped."""
        answer = self._waiting.get(job)
        if answer is not None and not answer.done():
            answer.set_result(body)

    def refuse(self, job: int, error: Exception) -> None:
        """The request could not be sent."""
        answer = self._waiting.pop(job, None)
        if answer is not None and not answer.done():
            answer.set_exception(error)
            answer.exception()  # seen: an asker that was cancelled in this moment never looks

    def refuse_oldest(self, error: Exception) -> None:
        """Refuse the request that waits longest: the one that a refusal without a job means."""
        oldest = next((job for job, answer in self._waiting.items() if not answer.done()), None)
        if oldest is not None:
            self.refuse(oldest, error)

    def refuse_all(self, error: Exception) -> None:
        """No answer will come any more."""
        for job in tuple(self._waiting):
            self.refuse(job, error)
