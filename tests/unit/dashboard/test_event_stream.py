"""The event stream: all clients get the same bytes, resume without loss and never wait for a slow one."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from actors.dashboard.event_stream import (
    BACKLOG,
    HEARTBEAT,
    KEPT,
    EventId,
    EventStream,
    Watcher,
    event_id,
)


def snapshot() -> bytes:
    return b'{"whole":1}'


async def read(watcher: Watcher) -> bytes:
    async with asyncio.timeout(5):
        return await anext(watcher)


async def test_a_new_watcher_gets_the_whole_and_then_what_changes() -> None:
    stream = EventStream("e")
    stream.publish("update", b'{"n":1}')
    watcher = stream.join(None, snapshot)
    assert await read(watcher) == b'id: e-1\nevent: snapshot\ndata: {"whole":1}\n\n'
    stream.publish("update", b'{"n":2}')
    stream.publish("update", b'{"n":3}')
    assert await read(watcher) == (
        b'id: e-2\nevent: update\ndata: {"n":2}\n\nid: e-3\nevent: update\ndata: {"n":3}\n\n'
    )


async def test_all_who_watch_share_the_bytes() -> None:
    stream, counter = EventStream("e"), itertools.count()
    watchers = [stream.join(None, lambda: b"%d" % next(counter)) for _ in range(3)]
    assert next(counter) == 1  # encoded once for three
    stream.publish("update", b"{}")
    kept = [one._chunks[-1] for one in watchers]
    assert all(one is kept[0] for one in kept)


@pytest.mark.parametrize(
    ("last_seen", "missed"),
    [
        ("e-3", [4, 5]),
        ("e-5", []),
        ("e-4", [5]),
        ("e-6", None),
        ("f-3", None),
        ("e-", None),
        ("nonsense", None),
        ("", None),
        ("e-" + "9" * 5000, None),  # more digits than Python reads as a number
        ("e-٣", None),
    ],
)
async def test_who_comes_back_gets_what_was_missed_or_else_the_whole(
    last_seen: str, missed: list[int] | None
) -> None:
    stream = EventStream("e")
    for number in range(1, 6):
        stream.publish("update", b"%d" % number)
    got = await read(stream.join(event_id(last_seen), snapshot))
    if missed is None:
        assert b"event: snapshot" in got
    else:
        assert got == (
            b"".join(b"id: e-%d\nevent: update\ndata: %d\n\n" % (n, n) for n in missed) or HEARTBEAT
        )


async def test_who_was_away_for_too_long_gets_the_whole() -> None:
    stream = EventStream("e")
    for _ in range(KEPT + 2):
        stream.publish("update", b"{}")
    assert b"snapshot" in await read(stream.join(EventId("e", 1), snapshot))
    assert b"snapshot" not in await read(stream.join(EventId("e", 2), snapshot))


async def test_a_slow_watcher_is_dropped_and_delays_no_other() -> None:
    stream = EventStream("e")
    slow, quick = stream.join(None, snapshot), stream.join(None, snapshot)
    for _ in range(BACKLOG + 1):
        stream.publish("update", b"{}")
        await read(quick)
    assert len(stream.watchers) == 1
    with pytest.raises(StopAsyncIteration):
        await read(slow)
    assert not slow._chunks


async def test_the_end_of_the_feed_is_the_end_of_all_streams() -> None:
    stream = EventStream("e")
    watchers = [stream.join(None, snapshot) for _ in range(3)]
    await read(watchers[0])
    waiting = asyncio.create_task(read(watchers[0]))
    await asyncio.sleep(0)
    stream.close()
    assert len(stream.watchers) == 0
    with pytest.raises(StopAsyncIteration):
        await waiting
    stream.publish("update", b"{}")  # no stream gets it
    assert not watchers[1].put(b"late")
