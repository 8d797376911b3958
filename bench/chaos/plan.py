"""What fails when: drawn from the seed before anything starts."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault. `seed` decides everything about it that is not written here."""

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
) -> list[Planned]:
    """Return faults in order of time, one per `every_s` seconds on average, or exactly if `evenly`.

    `kinds`: weight of each kind. Every kind comes once before chance decides.
    """
    rng = random.Random(seed)
    count = round(length_s / every_s)
    names = list(kinds)
    rng.shuffle(names)
    drawn = names[:count] + rng.choices(names, [kinds[name] for name in names], k=count)
    return sorted(
        (
            Planned(
                number * every_s if evenly else rng.uniform(0, length_s),
                kind,
                rng.randrange(members),
                rng.randrange(1 << 30),
            )
            for number, kind in enumerate(drawn[:count])
        ),
        key=lambda one: one.at_s,
    )
