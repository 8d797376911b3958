"""Server-sent events fan-out: each event is encoded once.

The stream disconnects a watcher that does not keep up, so the memory of slow watchers is bounded. The
watcher reconnects with the id of its last event; it gets the events since then or the whole snapshot.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

KEPT: Final = 120  # events for replay; a minute of the busiest stream
BACKLOG: Final = 16  # events that a watcher may be behind
HEARTBEAT: Final = b":\n\n"  # a comment; proxies close quiet streams
_EVENT_ID: Final = re.compile(r"([0-9a-z]{1,32})-([0-9]{1,15})", re.ASCII)


@dataclass(frozen=True, slots=True)
class EventId:
    """The id of one event: its stream, and its number there from 1."""

    epoch: str
    number: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.number}"


def event_id(text: str | None) -> EventId | None:
    """Parse a Last-Event-ID header; None if it is missing or invalid."""
    found = _EVENT_ID.fullmatch(text or "")
    return None if found is None else EventId(found[1], int(found[2]))


class Watcher:
    """A watcher: an async iterator of encoded events, which ends when the watcher is disconnected."""

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._is_over = False
        self._news = asyncio.Event()

    def put(self, chunk: bytes) -> bool:
        """Add a chunk; return False if the watcher is too far behind and was disconnected."""
        if self._is_over or len(self._chunks) >= BACKLOG:
            self.end()
            return False
        self._chunks.append(chunk)
        self._news.set()
        return True

    def end(self) -> None:
        """Disconnect the watcher and drop unread chunks. Harmless when repeated."""
        self._is_over = True
        self._chunks.clear()
        self._news.set()

    def __aiter__(self) -> Watcher:
        return self

    async def __anext__(self) -> bytes:
        """Wait for new chunks, and return them all."""
        while not self._chunks and not self._is_over:
            self._news.clear()
            await self._news.wait()
        if self._is_over:
            raise StopAsyncIteration
        chunk = b"".join(self._chunks)
        self._chunks.clear()
        return chunk


class EventStream:
    """Event stream with replay. `epoch`: distinguishes its event ids from those of earlier streams."""

    def __init__(self, epoch: str) -> None:
        self._epoch = epoch
        self._number = 0
        self._kept: deque[tuple[int, bytes]] = deque(maxlen=KEPT)
        self.watchers: set[Watcher] = set()
        self._whole: tuple[int, bytes] | None = None  # the snapshot after so many events

    def publish(self, name: str, data: bytes) -> None:
        """Send one event to all watchers. `data`: JSON on one line."""
        self._number += 1
        chunk = self._encode(name, data)
        self._kept.append((self._number, chunk))
        self._send(chunk)

    def beat(self) -> None:
        """Send a heartbeat."""
        self._send(HEARTBEAT)

    def join(self, last_seen: EventId | None, snapshot: Callable[[], bytes]) -> Watcher:
        """Return a new watcher, with the events since `last_seen` or with the whole snapshot.

        `snapshot`: encodes the whole; called once after each event.
        """
        watcher = Watcher()
        watcher.put(self._missed_since(last_seen) or self._snapshot(snapshot))
        self.watchers.add(watcher)
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """Disconnect and remove a watcher."""
        watcher.end()
        self.watchers.discard(watcher)

    def close(self) -> None:
        """Disconnect all watchers."""
        for watcher in tuple(self.watchers):
            self.leave(watcher)

    def _send(self, chunk: bytes) -> None:
        behind = [watcher for watcher in self.watchers if not watcher.put(chunk)]
        self.watchers.difference_update(behind)

    def _snapshot(self, snapshot: Callable[[], bytes]) -> bytes:
        if self._whole is None or self._whole[0] != self._number:
            self._whole = (self._number, self._encode("snapshot", snapshot()))
        return self._whole[1]

    def _missed_since(self, last_seen: EventId | None) -> bytes | None:
        """Return all events after `last_seen`, or None if some are not kept."""
        if last_seen is None or last_seen.epoch != self._epoch:
            return None
        seen = last_seen.number
        if seen > self._number or seen + len(self._kept) < self._number:
            return None
        missed = [chunk for at, chunk in self._kept if at > seen]
        return b"".join(missed) or HEARTBEAT

    def _encode(self, name: str, data: bytes) -> bytes:
        head = f"id: {EventId(self._epoch, self._number)}\nevent: {name}\ndata: "
        return head.encode() + data + b"\n\n"
