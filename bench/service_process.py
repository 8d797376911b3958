"""The service as a child process, started from a config file; for benchmarks and tests."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import psutil

START_S = 30.0
STOP_S = 30.0
WRITTEN_S = 1.0  # time for a line to reach the log file
RUN = (sys.executable, "-m", "supervisor", "run")


Sections = Mapping[str, Mapping[str, Any]]  # as in config.toml


def toml(settings: Sections) -> str:
    """Return ``{"section": {"key": value}}`` as TOML; JSON scalars are valid TOML."""
    lines: list[str] = []
    for section, values in settings.items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"


def cpu_seconds(pid: int) -> float:
    """Return a process's user plus system time so far."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


@dataclass
class ServiceProcess:
    """`botapi run` on a free port; a context manager. `log` is its output."""

    settings: Sections
    env: dict[str, str] = field(default_factory=dict)
    args: tuple[str, ...] = ()
    module: str = "supervisor"  # module that is run, in place of the `botapi` command

    def __enter__(self) -> Self:
        self._dir = tempfile.TemporaryDirectory(prefix="botapi-")
        root = Path(self._dir.name)
        self.config_file = root / "config.toml"
        self._log_file = root / "log"
        self.config_file.write_text(toml(self._filled(self.settings)))
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.stop()
        finally:
            if error is not None:
                sys.stderr.write(self.log[-6000:])
            self._dir.cleanup()

    def start(self) -> None:
        """Start the process, also again on the same data, and wait until it listens."""
        self._log_file.write_text("")
        self._started_at = time.monotonic()
        with self._log_stream() as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    self.module,
                    "run",
                    *self.args,
                    "--config",
                    str(self.config_file),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.env},
                start_new_session=True,
            )
        event = self.wait_log("http_listening", START_S)
        self.url = f"http://127.0.0.1:{event['port']}"

    def _log_stream(self) -> contextlib.AbstractContextManager[IO[bytes]]:
        """Return the stream for the process's output; closed in this process after the start."""
        return self._log_file.open("ab")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code. Kills the process on timeout."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def run_to_end(self, settings: Sections) -> tuple[int, str]:
        """Run another process with `settings` to its end; return its exit code and output."""
        config = self.config_file.with_name("other.toml")
        config.write_text(toml(self._filled(settings)))
        other = subprocess.run(
            [*RUN, "--config", str(config)],
            capture_output=True,
            text=True,
            timeout=START_S,
            check=False,
        )
        return other.returncode, other.stdout + other.stderr

    def _filled(self, settings: Sections) -> dict[str, dict[str, Any]]:
        """Return `settings` with a free port, a JSON log and a data directory of its own."""
        filled = {name: dict(values) for name, values in settings.items()}
        filled.setdefault("http", {}).setdefault("port", 0)
        filled.setdefault("log", {}).setdefault("format", "json")
        data_dir = str(self.config_file.with_name("data"))
        filled.setdefault("redis", {}).setdefault("data_dir", data_dir)
        return filled

    def kill(self) -> None:
        """Kill the process with SIGKILL."""
        self.process.kill()
        self.process.wait()

    @property
    def log(self) -> str:
        """The log since the last start, including events that are still being written."""
        self._wait_written()
        return self._written()

    def _written(self) -> str:
        return self._log_file.read_text(errors="replace")

    def _wait_written(self) -> None:
        """Wait until the log queue is empty, unless the service does not answer."""
        until = time.monotonic() + WRITTEN_S
        with contextlib.suppress(AttributeError, OSError, ValueError, KeyError):
            while self.process.poll() is None and time.monotonic() < until:
                with urllib.request.urlopen(f"{self.url}/status", timeout=WRITTEN_S) as answer:  # noqa: S310 - a loopback URL
                    if json.loads(answer.read())["log"]["waiting_lines"] == 0:
                        return

    def events(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield the logged events of that name."""
        yield from self.events_in(self.log, name)

    def events_in(self, log: str, name: str) -> Iterator[dict[str, Any]]:
        """Yield the events of that name in a log text."""
        for line in log.splitlines():
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict) and event.get("event") == name:
                    yield event

    def wait_log(self, name: str, within: float) -> dict[str, Any]:
        """Wait for the first event of that name and return it.

        Raises:
            RuntimeError: the process has ended.
            TimeoutError: there is no such event within `within` seconds.
        """
        until = time.monotonic() + within
        while time.monotonic() < until:
            for event in self.events_in(self._written(), name):
                return event
            if self.process.poll() is not None:
                raise RuntimeError(f"the service ended ({self.process.returncode}): {self.log}")
            time.sleep(0.02)
        raise TimeoutError(f"no {name} within {within} s: {self.log[-3000:]}")

    def status(self) -> dict[str, Any]:
        """Return `/status`."""
        return json.loads(self.get("/status")[1])  # type: ignore[no-any-return] # JSON is Any

    def get(self, path: str) -> tuple[int, bytes]:
        """GET a path; return status and body, also of errors."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=60) as answer:  # noqa: S310 - a loopback URL
                return answer.status, answer.read()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read()

    def wait_ready(self, bots: int, within: float = START_S) -> float:
        """Wait until `bots` bots are ready; return the seconds that it took."""
        begun = time.monotonic()
        ready = 0
        while time.monotonic() - begun < within:
            ready = self.status()["router"]["ready"]
            if ready >= bots:
                return time.monotonic() - begun
            time.sleep(0.05)
        raise TimeoutError(f"{ready} of {bots} bots ready after {within} s: {self.log[-3000:]}")

    @property
    def age_s(self) -> float:
        """Seconds since the process was started."""
        return time.monotonic() - self._started_at

    @property
    def rss(self) -> int:
        """Resident memory of the service process in bytes."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    @property
    def cpu_seconds(self) -> float:
        """User plus system time of the service process so far."""
        return cpu_seconds(self.process.pid)
