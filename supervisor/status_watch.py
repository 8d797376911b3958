"""`botapi status --watch`: shows the fleet once a second, until the user quits."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from rich.console import Console, Group
from rich.live import Live
from rich.styled import Styled
from rich.text import Text

from supervisor.api import ApiRefused, ApiUnreachable, Service
from supervisor.api_client import ApiClient
from supervisor.clock import SystemClock
from supervisor.settings import ConfigError
from supervisor.settings_errors import without_password
from supervisor.status_view import picture
from supervisor.terminal import json_line, printable, span

EVERY_S: Final = 1.0
PATIENCE_S: Final = 3.0  # with one answer
_UNAVAILABLE: Final = 503  # not well, but it is the service; what else it refuses does not change
_QUIT: Final = frozenset(b"qQ")


@dataclass(frozen=True, slots=True)
class Seen:
    """The last answer, and since when there has been none (UTC seconds)."""

    status: dict[str, Any] | None = None
    lost_at: float | None = None
    reason: str = ""


def watch(service: Service, *, as_json: bool) -> None:
    """Show the fleet until q, Ctrl-C or the end of stdout.

    Raises:
        ConfigError: there is no terminal to show it on.
        ApiRefused: the service does not let us see it.
    """
    console = Console(highlight=False)
    if not (as_json or console.is_terminal):
        raise ConfigError("--watch", "needs a terminal; in a pipe, add --json or leave it out")
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        asyncio.run(_print_lines(service) if as_json else _Screen(service, console).run())


async def _print_lines(service: Service) -> None:
    async with ApiClient(service, timeout_s=PATIENCE_S) as api:
        seen = Seen()
        while True:
            seen = await _look(api, seen)
            line = seen.status if seen.lost_at is None else {"error": seen.reason}
            sys.stdout.write(f"{json_line(line)}\n")
            sys.stdout.flush()
            await asyncio.sleep(EVERY_S)


class _Screen:
    """The live view: looks, draws and listens to keys, each when there is something new."""

    def __init__(self, service: Service, console: Console) -> None:
        self._service = service
        self._console = console
        self._clock = SystemClock()
        self._seen = Seen()
        self._is_over = False
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Draw until a key ends it, or the service refuses for good."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGWINCH, self._news.set)
        looking = asyncio.create_task(self._look_on(), name="look")
        # No refresh of its own: the screen changes when there is something new, once and whole.
        with _keys(self._end), Live(console=self._console, screen=True, auto_refresh=False) as live:
            try:
                while not (self._is_over or looking.done()):
                    live.update(self._drawn(), refresh=True)
                    await self._news.wait()
                    self._news.clear()
            finally:
                looking.cancel()
                await asyncio.wait({looking})
        if not looking.cancelled():
            looking.result()

    def _end(self) -> None:
        self._is_over = True
        self._news.set()

    async def _look_on(self) -> None:
        try:
            async with ApiClient(self._service, timeout_s=PATIENCE_S) as api:
                while True:
                    self._seen = await _look(api, self._seen)
                    self._news.set()
                    await asyncio.sleep(EVERY_S)
        finally:
            self._news.set()

    def _drawn(self) -> Group:
        seen, now = self._seen, self._clock.wall()
        foot = Text("q ends", style="dim")
        if seen.lost_at is not None:
            lost = f"no answer for {span(now - seen.lost_at)}: {seen.reason}; still trying"
            foot = Text.assemble((printable(lost), "bold white on red"), "  ", foot)
        if seen.status is None:
            return Group(Text(f"asking {without_password(self._service.url)}"), foot)
        width, height = self._console.size
        shown = picture(seen.status, now, height - 1, width)
        return Group(shown if seen.lost_at is None else Styled(shown, "dim"), foot)


@contextlib.contextmanager
def _keys(end: Callable[[], None]) -> Iterator[None]:
    """Call `end` when the user presses q; keys are not echoed meanwhile."""
    if not sys.stdin.isatty():
        yield
        return
    terminal, loop = sys.stdin.fileno(), asyncio.get_running_loop()
    before = termios.tcgetattr(terminal)

    def pressed() -> None:
        keys = os.read(terminal, 64)
        if not keys or _QUIT & set(keys):
            loop.remove_reader(terminal)
            end()

    tty.setcbreak(terminal)  # Ctrl-C stays a signal
    loop.add_reader(terminal, pressed)
    try:
        yield
    finally:
        loop.remove_reader(terminal)
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


async def _look(api: ApiClient, before: Seen) -> Seen:
    """Ask once; keep the last answer where there is none.

    Raises:
        ApiRefused: for good.
    """
    try:
        return Seen(await api.get("/status"))
    except ApiUnreachable as error:
        reason = error.reason
    except ApiRefused as error:
        if error.status != _UNAVAILABLE:
            raise
        reason = error.message
    lost_at = SystemClock().wall() if before.lost_at is None else before.lost_at
    return replace(before, lost_at=lost_at, reason=reason)
