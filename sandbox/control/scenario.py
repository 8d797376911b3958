"""Scenarios: a list of actions over time, in JSON.

[{"after_s": 0, "faults": {"gc_down": true}}, {"after_s": 2, "drop": {"all": true}}]

Every step waits `after_s` after the step before it, then does its deeds in the order they stand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from sandbox.control.actions import ActionError, Actions
from sandbox.control.journal import Journal

Step = Mapping[str, Any]


def tuesday(gc_first_s: float, down_s: float, return_s: float) -> list[Step]:
    """Maintenance: GCs go first, then every CM; they come back slowly, the GC last."""
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


def check(steps: Any, deeds: Actions) -> list[Step]:
    """Return the steps of a request's body.

    Raises:
        DeedError: not a list of steps, or a deed that does not exist.
    """
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise ActionError("steps must be a list of objects")
    for step in steps:
        unknown = step.keys() - deeds.table.keys() - {"after_s"}
        if unknown:
            raise ActionError(f"no such deed: {', '.join(sorted(unknown))}")
        if not isinstance(step.get("after_s", 0), int | float):
            raise ActionError("after_s must be a number")
    return steps


async def run(steps: Sequence[Step], deeds: Actions, journal: Journal, name: str) -> None:
    """Do the steps; a deed that fails ends the scenario, and the journal says so."""
    outcome = "finished"
    try:
        for step in steps:
            await asyncio.sleep(step.get("after_s", 0))
            for deed, body in step.items():
                if deed != "after_s":
                    await deeds.table[deed](body)
    except ValueError as error:
        outcome = str(error)
    journal.add("scenario_ended", name=name, outcome=outcome)
