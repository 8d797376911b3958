"""The fleet on a terminal: the alerts of the service, then every bot. From `/status` alone.

Pure: the same answer, time and size give the same picture. The service judges, this shows.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from supervisor.clock import SystemClock
from supervisor.terminal import clock_time, printable, span

PIPE_WIDTH: Final = 200  # columns; a table in a pipe is for grep, and one line each

# Every state with its colour, those first that want a look.
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
# Every severity of an alert with its colour.
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

Status = Mapping[str, Any]
Bot = Mapping[str, Any]


def show(status: Status) -> None:
    """Print the fleet once, whole."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    console.print(picture(status, SystemClock().wall()))


def picture(
    status: Status, now: float, lines: int | None = None, width: int | None = None
) -> Group:
    """Lay out an answer of `/status`.

    Args:
        status: the answer.
        now: UTC seconds.
        lines: how many there are room for, and then each is cut to the width; None for no cut.
        width: columns to which the first alert is wrapped instead; None for no wrapping.
    """
    bots = sorted(status.get("fleet", []), key=_urgency)
    alerts = list(_alerts(status, now))
    if lines is not None and len(alerts) > (most := max(2, lines // 4)):
        hidden = len(alerts) - most + 1
        alerts = [*alerts[: most - 1], _line(f"and {hidden} more alerts", "dim")]
    if width is not None:
        alerts[:1] = [
            _line(part, str(alerts[0].style)) for part in textwrap.wrap(alerts[0].plain, width)
        ]
    head = [*_head(status), *alerts, *_counts(status), Text("")]
    if lines is None:
        return Group(*head, _table(bots, now))
    for line in head:
        _cut(line)
    room = max(0, lines - len(head) - 1)  # the table has a heading
    shown = bots if len(bots) <= room else bots[: max(0, room - 1)]
    rest = [_line(f"and {len(bots) - len(shown)} more", "dim")] if len(shown) < len(bots) else []
    return Group(*head, _table(shown, now, cut=True), *rest)


def _head(status: Status) -> Iterator[Text]:
    yield _line(f"botapi {status.get('version', '?')}  {status.get('instance', '')}", "dim")


def _alerts(status: Status, now: float) -> Iterator[Text]:
    """Yield the alerts as the page shows them; of a service that tells none, how many are ready."""
    if not status.get("alerts"):
        bots = status.get("bots", {})
        yield _line(f"{bots.get('ready', 0)} of {bots.get('count', 0)} bots are ready", "bold")
    for number, alert in enumerate(_with_all_needs(status)):
        text = " ".join(filter(None, (alert["text"], alert.get("todo"))))
        if alert.get("when") is not None:
            text = text.replace("{when}", clock_time(alert["when"], now))
        style = SEVERITIES.get(alert["severity"], "")
        yield _line(text, style if number else f"bold {style}".strip())


def _with_all_needs(status: Status) -> Iterator[Mapping[str, Any]]:
    """Yield the alerts; in place of those about accounts that need a person, which name a few, all."""
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
    counts = {key: n for key, n in status.get("bots", {}).items() if key != "count" and n}
    router = status.get("router", {})
    named = "  ".join(f"{n} {_words(key)}" for key, n in sorted(counts.items(), key=_by_rank))
    yield _line(f"bots      {named or 'none'}")
    yield _line(
        f"requests  {router.get('in_flight', 0)} in flight  {router.get('waiting', 0)} waiting"
    )


def _table(bots: Sequence[Bot], now: float, *, cut: bool = False) -> Table:
    """One line per bot if `cut`; else the last column takes as many as it needs."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for head in _HEADS:
        table.add_column(
            _cut(Text(head)),
            justify="right" if head in _RIGHT else "left",
            no_wrap=head != _HEADS[-1],  # where the width does not suffice, the last one gives way
            overflow="ellipsis",
        )
    for bot in bots:
        *cells, last = _cells(bot, now)
        table.add_row(*cells, _cut(last) if cut else last)
    return table


def _cells(bot: Bot, now: float) -> Iterator[Text]:
    state, next_try = bot["state"], bot.get("next_try_at")
    is_well = state == "ready"
    yield _line(bot["bot_id"])
    yield _line(bot.get("account") or "-")
    waits = f" ({bot['waits']})" if bot.get("waits") else ""
    yield _line(_words(state) + waits, STATES.get(state, ""))
    yield _line(span(now - bot["since"]))
    yield _line(str(bot.get("restarts", 0)))
    yield _line("" if next_try is None else span(next_try - now))
    yield _line(_last_error(bot, now), "dim" if is_well else "")


def _last_error(bot: Bot, now: float) -> str:
    error, at = bot.get("last_error") or "", bot.get("last_error_at")
    return error if at is None else f"{span(now - at)} ago: {error}"


def _urgency(bot: Bot) -> tuple[int, float, int, str]:
    """Sort by what wants a look, the longest first; those that are well by their numbers."""
    since = 0.0 if bot["state"] == "ready" else bot["since"]
    number = bot["bot_id"].rpartition("-")[2]
    order = int(number) if number.isdecimal() else 0
    return (_RANK.get(bot["state"], 0), since, order, bot["bot_id"])


def _by_rank(count: tuple[str, int]) -> int:
    return _RANK.get(count[0], 0)


def _words(state: str) -> str:
    return state.replace("_", " ")


def _cut(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _line(text: str, style: str = "") -> Text:
    return Text(printable(text), style=style)
