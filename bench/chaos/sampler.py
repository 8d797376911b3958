"""Sampler process: reads every second what Steam, Redis and the services say about the fleet.

    python -m bench.chaos.sampler TARGETS SAMPLES

TARGETS is a JSON file, read for each sample because restarted processes listen on other ports:
{"control_url": ..., "redis_url": ..., "members": {name: URL}}. SAMPLES gets one line of JSON per
second, in the form that `bench/chaos/consistency.py` describes. The process ends when its stdin is
closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp
import redis.asyncio
from redis.exceptions import RedisError

EVERY_S: Final = 1.0
WITHIN_S: Final = 0.9  # later answers count as missing
DAY_MS: Final = 86_400_000
SESSION_KINDS: Final = "token_logon,session_ended,gc_welcome,gc_session_lost"
STOP_S: Final = 10.0

T = TypeVar("T")
Json = dict[str, Any]


@dataclass
class Page:
    """State of the page from the events of `/events`. `is_live`: the stream is open."""

    bots: dict[str, list[str | None]] = field(default_factory=dict)
    headlines: list[Json] = field(default_factory=list)
    is_live: bool = False

    def apply(self, name: str, data: Json) -> None:
        """Apply one event."""
        if name == "snapshot":
            self.bots.clear()
        for bot in data.get("bots", ()):
            self.bots[bot["bot_id"]] = [bot["state"], bot["account"]]
        for gone in data.get("gone_bots", ()):
            self.bots.pop(gone, None)
        self.headlines = data.get("headlines", self.headlines)
        self.is_live = True

    def to_sample(self) -> Json | None:
        """Return the page's part of a sample."""
        if not self.is_live:
            return None
        level = self.headlines[0].get("level") if self.headlines else None
        return {"bots": dict(self.bots), "alerts": alert_kinds(self.headlines), "level": level}


def alert_kinds(lines: list[Json] | None) -> list[str] | None:
    """Return the kinds of alerts without "well"; None if they have no kinds."""
    if lines is None or any("kind" not in line for line in lines):
        return None
    return [line["kind"] for line in lines if line["kind"] != "well"]


@dataclass
class Sessions:
    """Accounts with a GC session, by source, from the journal."""

    last: int = 0
    _open: dict[int, list[Any]] = field(default_factory=dict)  # session: account, source, welcomed

    def apply(self, answer: Json) -> None:
        """Apply new journal events."""
        for event in answer["events"]:
            session = event["session"]
            if event["kind"] == "token_logon":
                self._open[session] = [event["account"], event["source"], False]
            elif event["kind"] == "session_ended":
                self._open.pop(session, None)
            elif session in self._open:
                self._open[session][2] = event["kind"] == "gc_welcome"
        self.last = answer["last"]

    def by_source(self) -> Mapping[str, list[str]]:
        """Return the accounts that can be asked for a match."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for account, source, is_welcomed in self._open.values():
            if is_welcomed:
                found[source].append(account)
        return found


class Sampler:
    """Reads all targets at once; a missing answer is None."""

    def __init__(self, http: aiohttp.ClientSession, targets: Path) -> None:
        self._http = http
        self._targets = targets
        self._sessions = Sessions()
        self._pages: dict[str, Page] = {}
        self._streams: dict[str, tuple[str, asyncio.Task[None]]] = {}  # by member: URL, reader

    async def sample(self) -> Json:
        """Return one sample."""
        targets = json.loads(self._targets.read_text())
        members: dict[str, str] = targets["members"]
        for name, url in members.items():
            self._follow(name, url)
        at = time.time()
        steam, store, *seen = await asyncio.gather(
            _or_none(self._steam(targets["control_url"])),
            _or_none(_redis(targets["redis_url"])),
            *(self._member(name, url) for name, url in members.items()),
        )
        return {
            "t": at,
            "steam": steam,
            "redis": store,
            "members": dict(zip(members, seen, strict=True)),
        }

    async def _steam(self, control_url: str) -> Mapping[str, list[str]]:
        query = {"since": str(self._sessions.last), "kind": SESSION_KINDS}
        async with self._http.get(f"{control_url}/journal", params=query) as answer:
            self._sessions.apply(await answer.json())
        return self._sessions.by_source()

    async def _member(self, name: str, url: str) -> Json:
        readyz, status = await asyncio.gather(
            _or_none(self._readyz(url)), _or_none(self._status(url))
        )
        return {"readyz": readyz, "status": status, "page": self._pages[name].to_sample()}

    async def _readyz(self, url: str) -> Json:
        async with self._http.get(f"{url}/readyz") as answer:
            return {"code": answer.status, "body": await answer.json()}

    async def _status(self, url: str) -> Json:
        async with self._http.get(f"{url}/status") as answer:
            answer.raise_for_status()
            body = await answer.json()
        return {
            "instance": body["instance"],
            "bots": {bot["bot_id"]: [bot["state"], bot["account"]] for bot in body["fleet"]},
            "alerts": alert_kinds(body.get("alerts")),
        }

    def _follow(self, name: str, url: str) -> None:
        """Follow the page's event stream of that URL."""
        if name in self._streams and self._streams[name][0] == url:
            return
        if name in self._streams:
            self._streams[name][1].cancel()
        page = self._pages[name] = Page()
        self._streams[name] = url, asyncio.create_task(self._read_events(url, page))

    async def _read_events(self, url: str, page: Page) -> None:
        endless = aiohttp.ClientTimeout(total=None, sock_connect=WITHIN_S)
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, ValueError):
                async with self._http.get(f"{url}/events", timeout=endless) as stream:
                    name = ""
                    async for line in stream.content:
                        key, _, value = line.decode().rstrip("\n").partition(": ")
                        if key == "event":
                            name = value
                        elif key == "data":
                            page.apply(name, json.loads(value))
            page.is_live = False
            await asyncio.sleep(EVERY_S / 2)


async def _redis(url: str) -> Json:
    async with redis.asyncio.Redis.from_url(url, decode_responses=True) as client:
        seconds, micros = await client.time()
        now_ms = int(seconds) * 1000 + int(micros) // 1000
        holders: Mapping[Any, Any] = await client.hgetall("botapi:holders")
        accounts: list[Any] = await client.zrange("botapi:checkouts", 0, -1)
        leases: list[Any] = await client.zrange("botapi:leases", 0, -1, withscores=True)
        keys = [key async for key in client.scan_iter("botapi:quota:*")]
        async with client.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.zcount(key, f"({now_ms - DAY_MS}", "+inf")
            counts = await pipeline.execute() if keys else []
    used = dict(zip(keys, counts, strict=True))
    return {
        "accounts": accounts,
        "holders": {account: entry.split(" ", 2)[2] for account, entry in holders.items()},
        "leases": {account: (end - now_ms) / 1000 for account, end in leases},
        "used": _below("botapi:quota:account:", used),
        "ip_used": _below("botapi:quota:ip:", used),
    }


def _below(front: str, used: Mapping[str, int]) -> dict[str, int]:
    return {key.removeprefix(front): n for key, n in used.items() if key.startswith(front)}


async def _or_none(asked: Awaitable[T]) -> T | None:
    try:
        async with asyncio.timeout(WITHIN_S):
            return await asked
    except (aiohttp.ClientError, RedisError, OSError, TimeoutError, ValueError):
        return None


async def _run(targets: Path, samples: Path) -> None:
    loop = asyncio.get_running_loop()
    limit = aiohttp.ClientTimeout(total=WITHIN_S)
    async with aiohttp.ClientSession(timeout=limit) as http:
        sampler, due = Sampler(http, targets), loop.time()
        with samples.open("a", buffering=1) as file:
            while True:
                file.write(json.dumps(await sampler.sample()) + "\n")
                due = max(due + EVERY_S, loop.time())
                await asyncio.sleep(due - loop.time())


async def _until_stdin_closes(targets: Path, samples: Path) -> None:
    running = asyncio.create_task(_run(targets, samples))
    closed = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    await asyncio.wait({running, closed}, return_when=asyncio.FIRST_COMPLETED)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


@dataclass(frozen=True)
class SamplerProcess:
    """A running sampler."""

    _targets: Path
    _samples: Path

    def set_targets(self, *, control_url: str, redis_url: str, members: Mapping[str, str]) -> None:
        """Set the addresses of all targets."""
        new = self._targets.with_suffix(".new")
        found = {"control_url": control_url, "redis_url": redis_url, "members": dict(members)}
        new.write_text(json.dumps(found))
        new.replace(self._targets)

    def start(self) -> subprocess.Popen[bytes]:
        """Start the process; requires `set_targets`."""
        return subprocess.Popen(
            [sys.executable, "-m", "bench.chaos.sampler", str(self._targets), str(self._samples)],
            stdin=subprocess.PIPE,
        )

    def samples(self) -> list[Json]:
        """Return the samples so far."""
        lines = self._samples.read_text().splitlines() if self._samples.exists() else []
        return [json.loads(line) for line in lines]


@contextlib.contextmanager
def sampler_process(**where: Any) -> Iterator[SamplerProcess]:
    """Run a sampler; see `SamplerProcess.set_targets`.

    Raises:
        RuntimeError: the sampler ended by itself.
    """
    with tempfile.TemporaryDirectory(prefix="botapi-sampler-") as folder:
        made = SamplerProcess(Path(folder) / "targets", Path(folder) / "samples")
        made.set_targets(**where)
        process = made.start()
        try:
            yield made
            if process.poll() is not None:
                raise RuntimeError(f"the sampler ended by itself with {process.returncode}")
        finally:
            if process.stdin is not None:
                process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
            process.kill()
            process.wait()


if __name__ == "__main__":
    asyncio.run(_until_stdin_closes(Path(sys.argv[1]), Path(sys.argv[2])))
