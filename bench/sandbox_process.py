"""The sandbox as a child process, and its control API; for benchmarks and tests.

with SandboxProcess(accounts=[{"name": "a", "password": "p"}]) as sandbox:
...  # sandbox.directory_url, sandbox.ca_file, await sandbox.wait_journal("gc_welcome")
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import aiohttp

ROOT = Path(__file__).resolve().parent.parent
# Steam's strict order of messages after a log-on, and no random refusals or delays.
STRICT = ("--no-stock-clients", "--no-logon-limits", "--no-early-hellos")
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 5.0

Event = dict[str, Any]

DEMO_ACCOUNTS: list[dict[str, Any]] = json.loads(
    (ROOT / "sandbox" / "demo_accounts.json").read_bytes()
)


class SandboxError(RuntimeError):
    """The sandbox did not start, or refused a control request; the text has its output."""


class SandboxProcess:
    """One sandbox process; a context manager.

    Args:
        accounts: entries of the accounts file; None: the demo accounts.
        options: further command line options, e.g. ``("--heartbeat", "0.3")``, after `STRICT`.
        state: directory of keys and revocations, for a restart.
        matches: directory of match answers.
        port: port of the directory; 0: any.
        env: further environment variables, e.g. those of a moved clock.
    """

    def __init__(
        self,
        accounts: Sequence[Mapping[str, Any]] | None = None,
        options: Iterable[str] = (),
        *,
        state: Path | None = None,
        matches: Path | None = None,
        port: int = 0,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._env = {**os.environ, **(env or {})}
        self.accounts = DEMO_ACCOUNTS if accounts is None else [dict(one) for one in accounts]
        self._options = [*STRICT, *options, "--port", str(port)]
        if state is not None:
            self._options += ["--state", str(state)]
        if matches is not None:
            self._options += ["--matches", str(matches)]
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._ready: dict[str, Any] = {}

    # --- lifecycle ----------------------------------------------------------------------------
    def start(self) -> Self:
        """Start the process and wait for its ready line."""
        self._folder = tempfile.TemporaryDirectory(prefix="sandbox-accounts-")
        accounts_file = Path(self._folder.name) / "accounts.json"
        accounts_file.write_text(json.dumps(self.accounts))
        command = [sys.executable, "-m", "sandbox", "--accounts", str(accounts_file)]
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in stop()
        self._process = subprocess.Popen(
            [*command, "--exit-with-parent", *self._options],
            cwd=ROOT,
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            stdin=subprocess.DEVNULL,
        )
        try:
            self._ready = json.loads(self._first_line())
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> int | None:
        """Stop the process with SIGTERM, then SIGKILL; return its exit code. Idempotent."""
        process, self._process = self._process, None
        code = None
        if process is not None:
            process.terminate()
            try:
                code = process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
            if process.stdout is not None:
                process.stdout.close()
            self._errors.close()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
        return code

    def kill(self) -> None:
        """Kill the process with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def errors(self) -> str:
        """Return its stderr so far."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    def _first_line(self) -> bytes:
        process = self._process
        if process is None or process.stdout is None:
            raise SandboxError("not started")
        line, deadline = b"", time.monotonic() + START_TIMEOUT_S
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise SandboxError(f"no ready line within {START_TIMEOUT_S} s")
                chunk = os.read(process.stdout.fileno(), 65536)
                if not chunk:
                    process.wait(STOP_TIMEOUT_S)
                    raise SandboxError(f"ended with {process.returncode}: {self.errors()}")
                line += chunk
        return line

    # --- addresses ----------------------------------------------------------------------------
    @property
    def directory_url(self) -> str:
        """Base URL of the directory."""
        return str(self._ready["directory_url"])

    @property
    def control_url(self) -> str:
        """Base URL of the control API."""
        return str(self._ready["control_url"])

    @property
    def replay_url(self) -> str:
        """Base URL of the replay server."""
        return str(self._ready["replay_url"])

    @property
    def ca_file(self) -> Path:
        """PEM file of the CA that signed the WebSocket CMs' certificate."""
        return Path(self._ready["ca_file"])

    @property
    def universe_key_file(self) -> Path:
        """PEM file of the public universe key."""
        return Path(self._ready["universe_key_file"])

    @property
    def endpoints(self) -> dict[str, list[str]]:
        """Endpoints of the CMs, by the directory's type."""
        found: dict[str, list[str]] = self._ready["endpoints"]
        return found

    @property
    def pid(self) -> int:
        """Process id."""
        return int(self._ready["pid"])

    # --- control API --------------------------------------------------------------------------
    async def call(self, method: str, path: str, body: Any = None, **query: Any) -> dict[str, Any]:
        """Send one control request.

        Raises:
            SandboxError: it was refused.
        """
        url = self.control_url + path
        params = {key: str(value) for key, value in query.items() if value is not None}
        async with (
            aiohttp.ClientSession() as http,
            http.request(method, url, json=body, params=params) as response,
        ):
            text = await response.text()
            if response.status != 200:
                raise SandboxError(f"{method} {path}: {response.status} {text}")
            answer: dict[str, Any] = json.loads(text)
            return answer

    async def journal(self, kind: str | None = None, *, since: int = 0) -> list[Event]:
        """Return events of one or several (comma-separated) kinds, or of all."""
        answer = await self.call("GET", "/journal", kind=kind, since=since)
        events: list[Event] = answer["events"]
        return events

    async def wait_journal(
        self, kind: str, count: int = 1, *, since: int = 0, within_s: float = 10.0, **match: Any
    ) -> list[Event]:
        """Wait for `count` events of `kind` numbered above `since` whose fields have these values.

        Raises:
            TimeoutError: too few events; the text has their number.
        """
        answer = await self.call(
            "GET", "/journal/wait", kind=kind, count=count, since=since, timeout=within_s, **match
        )
        events: list[Event] = answer["events"]
        if not answer["satisfied"]:
            raise TimeoutError(f"{len(events)} of {count} {kind} {match} within {within_s} s")
        return events

    async def last_event(self) -> int:
        """Return the number of the newest event."""
        return int((await self.summary())["last"])

    async def summary(self) -> dict[str, Any]:
        """Return counts and derived facts."""
        return await self.call("GET", "/summary")

    async def sessions(self) -> list[dict[str, Any]]:
        """Return the open connections."""
        found: list[dict[str, Any]] = (await self.call("GET", "/sessions"))["sessions"]
        return found

    async def faults(self, **switches: Any) -> dict[str, Any]:
        """Set switches (None or False turns one off); return those that are on."""
        on: dict[str, Any] = (await self.call("POST", "/faults", switches))["faults"]
        return on

    async def clear_faults(self, *names: str) -> None:
        """Turn off these switches, or all."""
        await self.call("DELETE", "/faults", name=",".join(names) or None)

    async def drop(
        self,
        mode: str = "close",
        *,
        accounts: Sequence[str] | None = None,
        cms: Sequence[str] | None = None,
        fraction: float | None = None,
    ) -> int:
        """Drop connections (all, unless narrowed); return their number."""
        body: dict[str, Any] = {"mode": mode, "all": True}
        body |= {"accounts": accounts, "cms": cms}
        if fraction is not None:
            body["fraction"] = fraction
        return int((await self.call("POST", "/drop", body))["dropped"])

    async def log_off(self, eresult: int, *, accounts: Sequence[str] | None = None) -> int:
        """Log sessions off with this result."""
        body = {"all": True, "accounts": accounts, "eresult": eresult}
        return int((await self.call("POST", "/log-off", body))["logged_off"])

    async def hide_matches(
        self, *, not_found: Sequence[int] = (), blocked: Sequence[int] = ()
    ) -> None:
        """Make matches not found (result 2) or blocked (result 15)."""
        await self.call("POST", "/matches/not-found", {"add": list(not_found)})
        await self.call("POST", "/matches/blocked", {"add": list(blocked)})

    async def hide_replays(self, *match_ids: int) -> None:
        """Make the replay files of these matches missing."""
        await self.call("POST", "/matches/no-replay", {"add": match_ids})

    async def revoke(self, account: str, *, log_off: int | None = None) -> None:
        """Revoke an account's tokens; with `log_off`, end its sessions with that result."""
        body: dict[str, Any] = {"account": account}
        if log_off is not None:
            body["log_off"] = log_off
        await self.call("POST", "/tokens/revoke", body)

    async def mailbox(self, account: str | None = None) -> list[dict[str, Any]]:
        """Return the Steam Guard mails."""
        mails: list[dict[str, Any]] = (await self.call("GET", "/mailbox", account=account))["mails"]
        return mails

    async def quota(self, **changes: Any) -> dict[str, Any]:
        """Change limits (account, ip), move Steam's clock (advance_s) or reset the counts (reset)."""
        return await self.call("POST", "/quota", changes)
