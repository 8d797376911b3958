"""One service of a chaos round, with its own links, data and egress address."""

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
    """A service that can be killed, stopped, paused and restarted on the same data."""

    name: str
    links: Links
    service: PipedService
    disruptions: int = 0  # number of disruptions; a request without any must be answered
    is_up: bool = True
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)  # held during a fault of the process
    violations: list[str] = field(default_factory=list)
    # UTC seconds: start and end of each disruption.
    down_periods: list[tuple[float, float]] = field(default_factory=list)
    # UTC seconds: start of each disruption, and death after a kill.
    end_times: list[float] = field(default_factory=list)

    _down_at: float = 0.0

    async def kill(self) -> None:
        """Kill the process with SIGKILL."""
        self._record_disruption(is_up=False)
        await asyncio.to_thread(self.service.kill)
        self.end_times.append(time.time())

    async def stop(self) -> None:
        """Stop the process with SIGTERM and check its exit code."""
        self._record_disruption(is_up=False)
        try:
            code = await asyncio.to_thread(self.service.stop)
        except subprocess.TimeoutExpired as error:
            text = f"{self.name}: killed, {error.timeout:.0f} s after SIGTERM"
            self.violations.append(text)
            return
        if code != 0:
            self.violations.append(f"{self.name}: exit code {code} after SIGTERM")

    async def start(self) -> None:
        """Start the process; retry as a container engine does if it exits."""
        for _ in range(5):
            try:
                await asyncio.to_thread(self.service.start)
            except (RuntimeError, TimeoutError) as error:
                self.violations.append(f"{self.name}: {str(error)[-300:]}")
                await asyncio.to_thread(self.service.kill)
                await asyncio.sleep(1)
            else:
                self._record_disruption(is_up=True)
                return
        raise RuntimeError(f"{self.name} does not start")

    async def refuse_to_start(self, env: dict[str, str], *, unless: str | None = None) -> None:
        """Start the process with other variables and check that it exits with one line.

        `unless`: a log event that justifies a start.
        """
        right = self.service.env
        self.service.env = right | env
        try:
            await asyncio.to_thread(self.service.start)
        except RuntimeError:
            code, lines = self.service.process.returncode, self.service.log.strip().splitlines()
            if code == 0 or len(lines) != 1:
                said = f"exit code {code}, {len(lines)} lines: {' '.join(lines)[:300]}"
                self.violations.append(f"{self.name}: refused to start, but with {said}")
        except TimeoutError:
            self.violations.append(f"{self.name}: neither started nor ended")
            await asyncio.to_thread(self.service.kill)
        else:
            await asyncio.to_thread(self.service.stop)
            if unless is None or not any(self.service.events(unless)):
                text = f"{self.name}: started with {', '.join(env)} that is wrong"
                self.violations.append(text)
        finally:
            self.service.env = right

    async def block(self, seconds: float) -> None:
        """Block the event loop for `seconds` (see blockable)."""
        self._record_disruption(is_up=False)
        self.service.process.send_signal(signal.SIGUSR1)
        await asyncio.sleep(seconds)
        self._record_disruption(is_up=True)

    async def pause(self, seconds: float) -> None:
        """Pause the process for `seconds`, as an overloaded host does."""
        self._record_disruption(is_up=False)
        self.service.process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.service.process.send_signal(signal.SIGCONT)
            self._record_disruption(is_up=True)

    async def status(self) -> dict[str, Any]:
        """Return its `/status`."""
        return await asyncio.to_thread(self.service.status)

    def detect_exit(self) -> None:
        """Record a violation if the process has ended by itself."""
        if self.is_up and not self.busy.locked() and self.service.process.poll() is not None:
            code = self.service.process.returncode
            self.violations.append(f"{self.name}: ended by itself with {code}")
            self.is_up = False

    def _record_disruption(self, *, is_up: bool) -> None:
        self.disruptions += 1
        if self.is_up and not is_up:
            self._down_at = time.time()
            self.end_times.append(self._down_at)
        elif is_up and not self.is_up:
            self.down_periods.append((self._down_at, time.time()))
        self.is_up = is_up


@contextlib.asynccontextmanager
async def member(
    name: str, links: Links, settings: Sections, module: str, env: dict[str, str]
) -> AsyncIterator[Member]:
    """Yield a running member; it is killed at the end if it still runs."""
    service = PipedService(settings, env=env, module=module)
    await asyncio.to_thread(service.__enter__)
    try:
        yield Member(name, links, service)
    finally:
        if service.process.poll() is None:
            service.process.send_signal(signal.SIGCONT)
            service.read_again()
        await asyncio.to_thread(service.__exit__, None, None, None)
