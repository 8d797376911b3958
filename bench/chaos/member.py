"""One service process of several, with its links, its own data and its own egress address."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from bench.chaos.links import Links
from bench.chaos.piped_service import PipedService
from bench.service_process import Sections


@dataclass(eq=False)
class Member:
    """A service that can be killed, stopped, paused and started again on the same data."""

    name: str
    links: Links
    service: PipedService
    disturbed: int = (
        0  # counts what we did to the process; a request that saw none must be answered
    )
    is_up: bool = True
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)  # one fault of the process at a time
    unexpected_ends: list[str] = field(default_factory=list)
    downs: list[tuple[float, float]] = field(default_factory=list)  # UTC seconds, from and until
    ends: list[float] = field(
        default_factory=list
    )  # UTC seconds: told to end, and dead after a kill

    _down_at: float = 0.0

    async def kill(self) -> None:
        """End it as a crash would."""
        self._disturb(is_up=False)
        await asyncio.to_thread(self.service.kill)
        self.ends.append(time.time())

    async def stop(self) -> None:
        """Ask it to end, and see that it does so well."""
        self._disturb(is_up=False)
        try:
            code = await asyncio.to_thread(self.service.stop)
        except subprocess.TimeoutExpired as error:
            text = f"{self.name}: killed, {error.timeout:.0f} s after SIGTERM"
            self.unexpected_ends.append(text)
            return
        if code != 0:
            self.unexpected_ends.append(f"{self.name}: exit code {code} after SIGTERM")

    async def start(self) -> None:
        """Start it again; when it ends at once, as an engine would, a second and a third time."""
        for _ in range(5):
            try:
                await asyncio.to_thread(self.service.start)
            except (RuntimeError, TimeoutError) as error:
                self.unexpected_ends.append(f"{self.name}: {str(error)[-300:]}")
                await asyncio.to_thread(self.service.kill)
                await asyncio.sleep(1)
            else:
                self._disturb(is_up=True)
                return
        raise RuntimeError(f"{self.name} does not start")

    async def refuse_to_start(self, env: dict[str, str], *, unless: str | None = None) -> None:
        """Start it with other variables, and see that it ends by itself with one line.

        `unless`: a log event after which it may start.
        """
        right = self.service.env
        self.service.env = right | env
        try:
            await asyncio.to_thread(self.service.start)
        except RuntimeError:
            code, lines = self.service.process.returncode, self.service.log.strip().splitlines()
            if code == 0 or len(lines) != 1:
                said = f"exit code {code}, {len(lines)} lines: {' '.join(lines)[:300]}"
                self.unexpected_ends.append(f"{self.name}: refused to start, but with {said}")
        except TimeoutError:
            self.unexpected_ends.append(f"{self.name}: neither started nor ended")
            await asyncio.to_thread(self.service.kill)
        else:
            await asyncio.to_thread(self.service.stop)
            if unless is None or not any(self.service.events(unless)):
                text = f"{self.name}: started with {', '.join(env)} that is wrong"
                self.unexpected_ends.append(text)
        finally:
            self.service.env = right

    async def block(self, seconds: float) -> None:
        """Let its loop stand still for so long while its other threads go on (see blockable)."""
        self._disturb(is_up=False)
        self.service.process.send_signal(signal.SIGUSR1)
        await asyncio.sleep(seconds)
        self._disturb(is_up=True)

    async def pause(self, seconds: float) -> None:
        """Let it stand still, as a host that sleeps or is overloaded."""
        self._disturb(is_up=False)
        self.service.process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.service.process.send_signal(signal.SIGCONT)
            self._disturb(is_up=True)

    async def status(self) -> dict[str, Any]:
        """Return its `/status`."""
        return await asyncio.to_thread(self.service.status)

    def note_end(self) -> None:
        """Notice a process that ended without having been told to."""
        if self.is_up and not self.busy.locked() and self.service.process.poll() is not None:
            code = self.service.process.returncode
            self.unexpected_ends.append(f"{self.name}: ended by itself with {code}")
            self.is_up = False

    def _disturb(self, *, is_up: bool) -> None:
        self.disturbed += 1
        if self.is_up and not is_up:
            self._down_at = time.time()
            self.ends.append(self._down_at)
        elif is_up and not self.is_up:
            self.downs.append((self._down_at, time.time()))
        self.is_up = is_up


@contextlib.asynccontextmanager
async def member(
    name: str, links: Links, settings: Sections, module: str, env: dict[str, str]
) -> AsyncIterator[Member]:
    """Yield a running member; killed at the end if it still runs."""
    service = PipedService(settings, env=env, module=module)
    await asyncio.to_thread(service.__enter__)
    try:
        yield Member(name, links, service)
    finally:
        if service.process.poll() is None:
            service.process.send_signal(signal.SIGCONT)
            service.read_again()
        await asyncio.to_thread(service.__exit__, None, None, None)
