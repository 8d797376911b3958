"""What the page costs with a big fleet: the browser per update, and the service per page that watches.

    python -m bench.dashboard [--bots 1000] [--changes 200] [--seconds 20]

The browser's part is read from Chromium's own trace. The service's part is what its process uses with one
page that watches, less what it uses with none. All but Steam and the router is real, see
bench/dashboard_env.py.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from playwright.sync_api import Browser, Page

from bench.browser import chromium
from bench.dashboard_env import DashboardProcess
from bench.report import percentile, print_machine, print_table

GOAL_MS: Final = 50.0  # of scripting per update
GOAL_SHARE: Final = 0.02  # of a core, for one page that watches
WARM_UP_S: Final = 3.0
# What DevTools calls scripting, where it is not inside another of them; and what it calls rendering.
SCRIPTING: Final = frozenset({"FunctionCall", "FireAnimationFrame", "TimerFire", "EventDispatch"})
RENDERING: Final = frozenset({"UpdateLayoutTree", "Layout", "PrePaint", "Paint"})
SCREEN: Final[Any] = {"width": 1280, "height": 900}


@dataclass(frozen=True)
class Span:
    """Something that the page's main thread did; times in ms."""

    name: str
    begin: float
    end: float
    is_update: bool

    @property
    def took(self) -> float:
        """How long it took."""
        return self.end - self.begin


def trace(browser: Browser, page: Page, seconds: float) -> list[Span]:
    """Return what the page's main thread does for a while."""
    browser.start_tracing(page=page, categories=["devtools.timeline"])
    page.wait_for_timeout(seconds * 1000)
    events = json.loads(browser.stop_tracing())["traceEvents"]
    return list(spans(events))


def spans(events: list[dict[str, Any]]) -> Iterator[Span]:
    """Yield the complete events of the thread on which updates arrive, by their begin."""
    whole = [event for event in events if event.get("ph") == "X" and "dur" in event]
    threads = [(event["pid"], event["tid"]) for event in whole if is_update(event)]
    for event in sorted(whole, key=lambda one: float(one["ts"])):
        if threads and (event["pid"], event["tid"]) == threads[0]:
            begin, took = event["ts"] / 1000, event["dur"] / 1000
            yield Span(event["name"], begin, begin + took, is_update(event))


def is_update(event: dict[str, Any]) -> bool:
    """Whether this is the arrival of an update: the page's snapshot is updated."""
    url = event.get("args", {}).get("data", {}).get("url", "")
    return event["name"] == "FunctionCall" and str(url).endswith("/snapshot.js")


def outermost(found: list[Span], names: frozenset[str]) -> Iterator[Span]:
    """Yield the spans of these names that are in no other of them."""
    end = 0.0
    for span in found:
        if span.name in names and span.begin >= end:
            end = span.end
            yield span


def per_update(found: list[Span], names: frozenset[str]) -> list[float]:
    """Return the ms spent on these after each update and before the next, ascending."""
    arrivals = [span.begin for span in found if span.is_update]
    sums = [0.0] * len(arrivals)
    for span in outermost(found, names):
        before = [at for at, begin in enumerate(arrivals) if begin <= span.begin]
        if before:
            sums[before[-1]] += span.took
    return sorted(sums[:-1])  # the last one was cut off


def cpu_share(process: DashboardProcess, seconds: float) -> float:
    """Return what part of a core the service uses now."""
    before, begun = process.cpu_seconds, time.monotonic()
    time.sleep(seconds)
    return (process.cpu_seconds - before) / (time.monotonic() - begun)


def measure(bots: int, changes: float, seconds: float) -> list[list[str]]:
    """Return the rows of the table."""
    with DashboardProcess(bots, changes) as process, chromium() as browser:
        time.sleep(WARM_UP_S)
        idle = cpu_share(process, seconds)
        page = browser.new_page(viewport=SCREEN)
        page.goto(process.url)
        page.wait_for_timeout(WARM_UP_S * 1000)
        watched = cpu_share(process, seconds)
        found = trace(browser, page, seconds)
    scripting, rendering = per_update(found, SCRIPTING), per_update(found, RENDERING)
    most = scripting[-1] if scripting else float("inf")
    cost = watched - idle
    return [
        row("updates per second", len(scripting) / seconds, "", "at most 2"),
        row("scripting per update, median", percentile(scripting, 50), "ms", f"< {GOAL_MS:.0f}"),
        row("scripting per update, most", most, "ms", f"< {GOAL_MS:.0f}"),
        row("rendering per update, median", percentile(rendering, 50), "ms", ""),
        row("service, without a page", idle * 100, "% of a core", ""),
        row("service, for each page", cost * 100, "% of a core", f"< {GOAL_SHARE:.0%}"),
    ]


def row(what: str, value: float, unit: str, goal: str) -> list[str]:
    """Return one printed row."""
    return [what, f"{value:.2f}", unit, goal]


def main() -> None:
    """Print what one page costs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--bots", type=int, default=1000)
    parser.add_argument("--changes", type=float, default=200.0, help="changes of state per second")
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    print_machine()
    print_table(
        ["page", "measured", "unit", "goal"],
        measure(options.bots, options.changes, options.seconds),
        caption=f"{options.bots} bots, {options.changes:g} changes per second",
    )


if __name__ == "__main__":
    main()
