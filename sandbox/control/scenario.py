"""Scenarios: actions over time, as JSON steps or as a TOML file.

Steps: [{"after_s": 0, "faults": {"gc_down": true}}, {"after_s": 2, "drop": {"all": true}}]. Every step
waits `after_s` after the step before it, then runs its actions in order.

File: every entry has a time in seconds from the ready line and actions; `maintenance` stands for
`tuesday`.

    [[at]]
    s = 5
    drop = { fraction = 0.3 }

    [[at]]
    s = 8
    maintenance = { down_s = 60 }
"""

from __future__ import annotations

import asyncio
import itertools
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sandbox.control.actions import ActionError, Actions
from sandbox.control.journal import Journal

Step = Mapping[str, Any]


def tuesday(gc_first_s: float, down_s: float, return_s: float) -> list[Step]:
    """Return the steps of a maintenance: GCs stop first, then all CMs; the GCs return last."""
    return [
        {"faults": {"gc_down": "going_down"}},
        {
            "after_s": gc_first_s,
            "faults": {"refuse_connect": True, "directory_status": {"value": "500", "chance": 0.5}},
            "drop": {"all": True},
        },
        {
            "after_s": down_s,
            "clear": {"names": ["refuse_connect", "directory_status"]},
            "faults": {"logon_eresult": {"value": 20, "chance": 0.7, "for_s": return_s / 2}},
        },
        {"after_s": return_s, "clear": {"names": ["gc_down", "logon_eresult"]}},
    ]


def validate(steps: Any, actions: Actions) -> list[Step]:
    """Return the steps of a request's body.

    Raises:
        ActionError: not a list of steps, or an unknown action.
    """
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise ActionError("steps must be a list of objects")
    for step in steps:
        unknown = step.keys() - actions.table.keys() - {"after_s"}
        if unknown:
            raise ActionError(f"no such action: {', '.join(sorted(unknown))}")
        if not isinstance(step.get("after_s", 0), int | float):
            raise ActionError("after_s must be a number")
    return steps


async def run(steps: Sequence[Step], actions: Actions, journal: Journal, name: str) -> None:
    """Run the steps; an action that fails ends the scenario. The journal records the outcome."""
    outcome = "finished"
    try:
        for step in steps:
            await asyncio.sleep(step.get("after_s", 0))
            for action, body in step.items():
                if action != "after_s":
                    await actions.table[action](body)
    except ValueError as error:
        outcome = str(error)
    journal.add("scenario_ended", name=name, outcome=outcome)


# --- files ------------------------------------------------------------------------------------

MAINTENANCE: Final = "maintenance"
DURATIONS: Final = {"gc_first_s": 2.0, "down_s": 60.0, "return_s": 30.0}


class ScenarioError(ValueError):
    """A scenario file is invalid; the text says why."""


def read_file(path: Path) -> list[Step]:
    """Return the steps of a file, without checking the names of actions.

    Raises:
        ScenarioError: the file cannot be read, is not TOML, or has an entry without a time.
    """
    try:
        entries = tomllib.loads(path.read_text("utf-8-sig")).get("at")
    except (OSError, ValueError) as error:
        raise ScenarioError(f"{path}: {error}") from error
    if not isinstance(entries, list) or not entries:
        raise ScenarioError(f"{path}: there is no [[at]] in it")
    try:
        timed = [pair for entry in entries for pair in _timed_actions(entry)]
    except ValueError as error:
        raise ScenarioError(f"{path}: {error}") from error
    timed.sort(key=lambda pair: pair[0])  # stable: entries of the same time keep their order
    times = [time for time, _ in timed]
    return [
        {**actions, "after_s": at - before}
        for (at, actions), before in zip(timed, [0.0, *times], strict=False)
    ]


def _timed_actions(entry: Any) -> Iterator[tuple[float, Mapping[str, Any]]]:
    """Yield times and actions of one entry."""
    if not isinstance(entry, dict) or not _is_duration(entry.get("s")):
        raise ValueError("every [[at]] needs its time, s = SECONDS")
    actions = {name: body for name, body in entry.items() if name not in {"s", MAINTENANCE}}
    if actions:
        yield entry["s"], actions
    if MAINTENANCE in entry:
        steps = tuesday(**_durations(entry[MAINTENANCE]))
        pauses = itertools.accumulate(step.get("after_s", 0.0) for step in steps)
        for step, pause in zip(steps, pauses, strict=True):
            yield entry["s"] + pause, {k: body for k, body in step.items() if k != "after_s"}


def _durations(value: Any) -> dict[str, float]:
    if not isinstance(value, dict) or value.keys() - DURATIONS.keys():
        raise ValueError(f"{MAINTENANCE} is a table of {', '.join(DURATIONS)}")
    if not all(_is_duration(seconds) for seconds in value.values()):
        raise ValueError(f"{MAINTENANCE}: durations are seconds")
    return DURATIONS | value


def _is_duration(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
