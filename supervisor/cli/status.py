"""`botapi status`: shows the fleet once or live.

The service judges; this module only lays out its answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
import textwrap
import tty
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

import typer
from rich.console import Console, Group
from rich.styled import Styled
from rich.table import Table
from rich.text import Text

from supervisor.cli.client import (
    ApiClient,
    ApiRefused,
    ApiUnreachable,
    KeyFile,
    Service,
    Url,
    admin_token_file,
    get_json,
    read_secret,
    refusals,
    service_at,
)
from supervisor.cli.terminal import (
    AsJson,
    ConfigFile,
    cell,
    clock_time,
    json_line,
    say_json,
    show,
    span,
)
from supervisor.clock import SystemClock
from supervisor.config.errors import ConfigError, without_password
from supervisor.logs.redaction import printable

TIMEOUT_S: Final = 10.0

# The colour of every state, the most urgent state first.
STATES: Final[Mapping[str, str]] = {
    "needs_human": "bold red",
    "parked": "red",
    "stopped": "red",
    "backing_off": "yellow",
    "exhausted": "yellow",
    "waiting_for_account": "yellow",
    "connecting": "cyan",
    "authenticating": "cyan",
    "launching": "cyan",
    "draining": "blue",
    "ready": "green",
}
# The colour of every severity of an alert.
SEVERITIES: Final[Mapping[str, str]] = {
    "outage": "red",
    "act": "red",
    "watch": "yellow",
    "well": "green",
}
NEEDS_PERSON: Final = "account-needs-person"  # a kind of alert
_RANK: Final = {state: rank for rank, state in enumerate(STATES)}
_HEADS: Final = ("bot", "account", "state", "for", "restarts", "next try", "last error")
_RIGHT: Final = frozenset({"for", "restarts", "next try"})

Status = Mapping[str, Any]  # an answer of `/status`
Bot = Mapping[str, Any]  # one of its bots


def status(
    *,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Refresh once a second; q ends it.")
    ] = False,
    url: Url = None,
    key_file: KeyFile = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show the status of the fleet.

    With --watch --json, one line of JSON a second.
    """
    service = service_at(url, key_file, config)
    if url is None and service.token is None:  # another service must not receive the admin token
        with contextlib.suppress(ConfigError):  # this user may not read it
            token = read_secret(admin_token_file(config), "--config")
            service = replace(service, token=token or None)
    with refusals(as_json=as_json):
        if watch:
            show_live(service, as_json=as_json)
            return
        answer = asyncio.run(get_json(service, "/status", timeout_s=TIMEOUT_S))
    if as_json:
        say_json(answer)
    else:
        show(layout(answer, SystemClock().wall()), pipe_width=200)


def layout(status: Status, now: float, lines: int | None = None, width: int | None = None) -> Group:
    """Lay out an answer of `/status`; `now`: UTC seconds.

    `lines`: the height; each line is then cut to the width. `width`: wrap the first alert to it.
    """
    bots = sorted(status.get("fleet", []), key=_urgency)
    alerts = list(_alerts(status, now))
    if lines is not None and len(alerts) > (most := max(2, lines // 4)):
        hidden = len(alerts) - most + 1
        alerts = [*alerts[: most - 1], cell(f"and {hidden} more alerts", "dim")]
    if width is not None:
        alerts[:1] = [
            cell(part, str(alerts[0].style)) for part in textwrap.wrap(alerts[0].plain, width)
        ]
    title = cell(f"botapi {status.get('version', '?')}  {status.get('instance', '')}", "dim")
    head = [title, *alerts, *_counts(status), Text("")]
    if lines is None:
        return Group(*head, _table(bots, now))
    for line in head:
        _cut(line)
    room = max(0, lines - len(head) - 1)  # the table has a heading
    shown = bots if len(bots) <= room else bots[: max(0, room - 1)]
    rest = [cell(f"and {len(bots) - len(shown)} more", "dim")] if len(shown) < len(bots) else []
    return Group(*head, _table(shown, now, cut=True), *rest)


def _alerts(status: Status, now: float) -> Iterator[Text]:
    """Yield the alerts as the page shows them; if the answer has none, the number of ready bots."""
    if not status.get("alerts"):
        bots = status.get("bots", {})
        yield cell(f"{bots.get('ready', 0)} of {bots.get('count', 0)} bots are ready", "bold")
    for number, alert in enumerate(_with_all_needs(status)):
        text = " ".join(filter(None, (alert["text"], alert.get("todo"))))
        if alert.get("when") is not None:
            text = text.replace("{when}", clock_time(alert["when"], now))
        style = SEVERITIES.get(alert["severity"], "")
        yield cell(text, style if number else f"bold {style}".strip())


def _with_all_needs(status: Status) -> Iterator[Mapping[str, Any]]:
    """Yield the alerts; the one about accounts that need a person becomes one alert per account."""
    needs = list(status.get("needs", []))
    for alert in status.get("alerts", []):
        if alert.get("kind") != NEEDS_PERSON or not status.get("needs"):
            yield alert
            continue
        for one in needs:
            text = f"The account {one['account']} needs {one['need']}. Type: {one['command']}"
            yield {"severity": alert["severity"], "text": text}
        needs.clear()


def _counts(status: Status) -> Iterator[Text]:
    bots, router = status.get("bots", {}), status.get("router", {})
    states = sorted((key for key in bots if key != "count"), key=lambda key: _RANK.get(key, 0))
    named = "  ".join(f"{bots[key]} {_words(key)}" for key in states if bots[key])
    yield cell(f"bots      {named or 'none'}")
    yield cell(
        f"requests  {router.get('in_flight', 0)} in flight  {router.get('waiting', 0)} waiting"
    )


def _table(bots: Sequence[Bot], now: float, *, cut: bool = False) -> Table:
    """Return one line per bot if `cut`; else the last column wraps."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for head in _HEADS:
        table.add_column(
            _cut(Text(head)),
            justify="right" if head in _RIGHT else "left",
            no_wrap=head != _HEADS[-1],  # only the last column wraps
            overflow="ellipsis",
        )
    for bot in bots:
        *cells, last = _cells(bot, now)
        table.add_row(*cells, _cut(last) if cut else last)
    return table


def _cells(bot: Bot, now: float) -> Iterator[Text]:
    state, next_try = bot["state"], bot.get("next_try_at")
    yield cell(bot["bot_id"])
    yield cell(bot.get("account") or "-")
    waits = f" ({bot['waits']})" if bot.get("waits") else ""
    yield cell(_words(state) + waits, STATES.get(state, ""))
    yield cell(span(now - bot["since"]))
    yield cell(str(bot.get("restarts", 0)))
    yield cell("" if next_try is None else span(next_try - now))
    error, at = bot.get("last_error") or "", bot.get("last_error_at")
    ago = "" if at is None else f"{span(now - at)} ago: "
    yield cell(ago + error, "dim" if state == "ready" else "")


def _urgency(bot: Bot) -> tuple[int, float, int, str]:
    """Sort by urgency, the longest in a state first; ready bots by their numbers."""
    since = 0.0 if bot["state"] == "ready" else bot["since"]
    number = bot["bot_id"].rpartition("-")[2]
    order = int(number) if number.isdecimal() else 0
    return (_RANK.get(bot["state"], 0), since, order, bot["bot_id"])


def _words(state: str) -> str:
    return state.replace("_", " ")


def _cut(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


EVERY_S: Final = 1.0
LIVE_TIMEOUT_S: Final = 3.0
_UNAVAILABLE: Final = 503  # temporary; every other refusal is final
_QUIT: Final = frozenset(b"qQ")


@dataclass(frozen=True, slots=True)
class Seen:
    """The last answer, and since when there is no newer one (UTC seconds)."""

    status: dict[str, Any] | None = None
    lost_at: float | None = None
    reason: str = ""


def show_live(service: Service, *, as_json: bool) -> None:
    """Show the fleet until q, Ctrl-C or the end of stdout.

    Raises:
        ConfigError: stdout is no terminal.
        ApiRefused: the service refuses permanently.
    """
    console = Console(highlight=False)
    if not (as_json or console.is_terminal):
        raise ConfigError("--watch", "needs a terminal; in a pipe, add --json or leave it out")
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        asyncio.run(_print_lines(service) if as_json else _Screen(service, console).run())


async def _print_lines(service: Service) -> None:
    async for seen in _polled(service):
        line = seen.status if seen.lost_at is None else {"error": seen.reason}
        sys.stdout.write(f"{json_line(line)}\n")
        sys.stdout.flush()


async def _polled(service: Service) -> AsyncIterator[Seen]:
    """Ask once a second; keep the last answer while the service does not answer.

    Raises:
        ApiRefused: permanently.
    """
    seen, clock = Seen(), SystemClock()
    async with ApiClient(service, timeout_s=LIVE_TIMEOUT_S) as api:
        while True:
            try:
                seen = Seen(await api.get("/status"))
            except (ApiUnreachable, ApiRefused) as error:
                if isinstance(error, ApiRefused) and error.status != _UNAVAILABLE:
                    raise
                lost_at = clock.wall() if seen.lost_at is None else seen.lost_at
                seen = Seen(seen.status, lost_at, error.reason)
            yield seen
            await asyncio.sleep(EVERY_S)


class _Screen:
    """The live view: polls, draws and reads keys."""

    def __init__(self, service: Service, console: Console) -> None:
        self._service = service
        self._console = console
        self._clock = SystemClock()
        self._seen = Seen()
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Draw until a key ends it or the service refuses permanently."""
        from rich.live import Live  # noqa: PLC0415 - see main.py

        asyncio.get_running_loop().add_signal_handler(signal.SIGWINCH, self._changed.set)
        polling = asyncio.create_task(self._poll(), name="poll")
        # No automatic refresh: the screen is drawn once after each change.
        live = Live(console=self._console, screen=True, auto_refresh=False)
        with _keys(polling.cancel), live:
            try:
                while not polling.done():
                    live.update(self._drawn(), refresh=True)
                    await self._changed.wait()
                    self._changed.clear()
            finally:
                polling.cancel()
                await asyncio.wait({polling})
        if not polling.cancelled():
            polling.result()

    async def _poll(self) -> None:
        try:
            async for seen in _polled(self._service):
                self._seen = seen
                self._changed.set()
        finally:
            self._changed.set()

    def _drawn(self) -> Group:
        seen, now = self._seen, self._clock.wall()
        foot = Text("q ends", style="dim")
        if seen.lost_at is not None:
            lost = f"no answer for {span(now - seen.lost_at)}: {seen.reason}; still trying"
            foot = Text.assemble((printable(lost), "bold white on red"), "  ", foot)
        if seen.status is None:
            return Group(Text(f"asking {without_password(self._service.url)}"), foot)
        width, height = self._console.size
        shown = layout(seen.status, now, height - 1, width)
        return Group(shown if seen.lost_at is None else Styled(shown, "dim"), foot)


@contextlib.contextmanager
def _keys(end: Callable[[], object]) -> Iterator[None]:
    """Call `end` when the user presses q; keys are not echoed in the block."""
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
