"""The `botapi` command as a process, in a pipe or on a terminal of its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

WITHIN_S = 30.0
COMMAND = (sys.executable, "-m", "supervisor")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[=>]")


@dataclass(frozen=True)
class Said:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment without BotAPI variables except `more`, and without a terminal size."""
    unwanted = {"REDISTOGO_URL", "PORT", "NO_COLOR", "LINES", "COLUMNS"}
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("BOTAPI_") and name not in unwanted
    }
    return {**clean, "TERM": "xterm-256color", **(more or {})}


def botapi(*words: str, cwd: Path, env: Mapping[str, str] | None = None, typed: str = "") -> Said:
    """Run a command to its end, in a pipe."""
    done = subprocess.run(
        [*COMMAND, *words],
        cwd=cwd,
        env=environment(env),
        input=typed,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Said(done.returncode, done.stdout, done.stderr)


class Terminal:
    """A command on a terminal; `seen` is its output, escapes included."""

    def __init__(self, process: subprocess.Popen[bytes], end: int) -> None:
        self.process = process
        self.seen = ""
        self._end = end

    @property
    def text(self) -> str:
        """Return the output without escapes."""
        return _ESCAPES.sub("", self.seen)

    def wait_for(self, wanted: str) -> str:
        """Return the output since the last wait, as soon as `wanted` is in it."""
        begun, until = len(self.seen), time.monotonic() + WITHIN_S
        while wanted not in _ESCAPES.sub("", self.seen[begun:]):
            if time.monotonic() > until or not self._read(0.2):
                raise AssertionError(f"no {wanted!r} in {self.text!r}")
        return _ESCAPES.sub("", self.seen[begun:])

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._end, keys.encode())

    @property
    def echoes(self) -> bool:
        """Whether the terminal shows what is typed, as it does in a shell."""
        return bool(termios.tcgetattr(self._end)[3] & termios.ECHO)

    def resize(self, rows: int, columns: int) -> None:
        """Change the window's size."""
        fcntl.ioctl(self._end, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def ended(self) -> int:
        """Wait for the end; return the exit code."""
        until = time.monotonic() + WITHIN_S
        while self._read(0.2) and time.monotonic() < until:
            pass
        return self.process.wait(WITHIN_S)

    def _read(self, within_s: float) -> bool:
        """Read the available output; return False at the end."""
        if not select.select([self._end], [], [], within_s)[0]:
            return self.process.poll() is None
        try:
            piece = os.read(self._end, 65536)
        except OSError:  # the other end of the pty is closed
            return False
        self.seen += piece.decode(errors="replace")
        return bool(piece)


@contextlib.contextmanager
def on_terminal(
    *words: str,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    size: tuple[int, int] = (24, 80),
) -> Iterator[Terminal]:
    """Run a command on a terminal of `size` (rows, columns) while the block runs."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *words],
        cwd=cwd,
        env=environment(env),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=_take_terminal,  # noqa: PLW1509 - so that Ctrl-C is a signal; nothing else runs here
    )
    terminal = Terminal(process, ours)
    terminal.resize(*size)
    os.close(theirs)
    try:
        yield terminal
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(ours)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
