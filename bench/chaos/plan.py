"""Draws the faults of a round from its seed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """One fault. `seed` determines its remaining parameters."""

    at_s: float
    kind: str
    member: int
    seed: int


def plan(
    seed: int,
    kinds: Mapping[str, float],
    *,
    members: int,
    length_s: float,
    every_s: float,
    evenly: bool = False,
) -> list[PlannedFault]:
    """Return faults in order of time, one per `every_s` seconds on average, or exactly if `evenly`.

    `kinds`: weight of each kind. Every kind occurs once before kinds repeat.
    """
    rng = random.Random(seed)
    count = round(length_s / every_s)
    names = list(kinds)
    rng.shuffle(names)
    drawn = names[:count] + rng.choices(names, [kinds[name] for name in names], k=count)
    return sorted(
        (
            PlannedFault(
                number * every_s if evenly else rng.uniform(0, length_s),
                kind,
                rng.randrange(members),
                rng.randrange(1 << 30),
            )
            for number, kind in enumerate(drawn[:count])
        ),
        key=lambda one: one.at_s,
    )
