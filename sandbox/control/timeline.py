"""Scenario files: a TOML timeline, repeatable by its seed.

[[at]]
    s = 5                       # seconds after the sandbox is ready
    drop = { fraction = 0.3 }

    [[at]]
    s = 8
    maintenance = { down_s = 60 }

Every entry holds an instant and deeds, those of the control API; `maintenance` is a Tuesday.
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from sandbox.control.scenario import Step, tuesday

MAINTENANCE: Final = "maintenance"
DURATIONS: Final = {"gc_first_s": 2.0, "down_s": 60.0, "return_s": 30.0}


class TimelineError(ValueError):
    """A file that is no timeline; the text says why."""


def read(path: Path) -> list[Step]:
    """Return a file's steps, each with the seconds after the one before as `after_s`.

    Raises:
        TimelineError: no such file, no TOML, or an entry without an instant. Which deeds there are is not
            known here, see `scenario.check`.
    """
    try:
        entries = tomllib.loads(path.read_text("utf-8-sig")).get("at")
    except (OSError, ValueError) as error:
        raise TimelineError(f"{path}: {error}") from error
    if not isinstance(entries, list) or not entries:
        raise TimelineError(f"{path}: there is no [[at]] in it")
    try:
        timed = [pair for entry in entries for pair in _timed(entry)]
    except ValueError as error:
        raise TimelineError(f"{path}: {error}") from error
    timed.sort(key=lambda pair: pair[0])  # stable: what stands first is done first
    instants = [instant for instant, _ in timed]
    return [
        {**deeds, "after_s": at - before}
        for (at, deeds), before in zip(timed, [0.0, *instants], strict=False)
    ]


def _timed(entry: Any) -> Iterator[tuple[float, Mapping[str, Any]]]:
    """Yield instants and deeds of one entry."""
    if not isinstance(entry, dict) or not _is_amount(entry.get("s")):
        raise ValueError("every [[at]] needs its instant, s = SECONDS")
    deeds = {name: body for name, body in entry.items() if name not in {"s", MAINTENANCE}}
    if deeds:
        yield entry["s"], deeds
    if MAINTENANCE in entry:
        steps = tuesday(**_durations(entry[MAINTENANCE]))
        pauses = itertools.accumulate(step.get("after_s", 0.0) for step in steps)
        for step, pause in zip(steps, pauses, strict=True):
            yield entry["s"] + pause, {k: body for k, body in step.items() if k != "after_s"}


def _durations(given: Any) -> dict[str, float]:
    if not isinstance(given, dict) or given.keys() - DURATIONS.keys():
        raise ValueError(f"{MAINTENANCE} is a table of {', '.join(DURATIONS)}")
    if not all(_is_amount(seconds) for seconds in given.values()):
        raise ValueError(f"{MAINTENANCE}: durations are seconds")
    return DURATIONS | given


def _is_amount(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
