"""A circuit breaker per account: what to do with one whose requests stay unanswered.

    closed ──3 silences in a row──► open ──a while──► half-open: one request, the probe
      ▲                                                  │
      └───────────── an answer, at any time ─────────────┤
                                                         ├─ silence: log on anew, once
                                                         └─ silence after that: another account, if others
                                                            are answered; else it is the Game Coordinator,
                                                            and the next probe comes later

Every silence costs one of a daily budget: a Game Coordinator that says nothing for ten minutes must not
cost all of them. Pure bookkeeping.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

OPENS_AFTER: Final = 3  # silences in a row
PAUSE_S: Final = 10.0
LONGEST_PAUSE_S: Final = 60.0


class Step(enum.Enum):
    """What to do now."""

    NOTHING = enum.auto()
    PAUSE = enum.auto()  # nothing for it for `pause_s`, then one request
    RELOG = enum.auto()  # a session that only looks alive
    ROTATE = enum.auto()  # an account that is worth nothing today


@dataclass(slots=True)
class _Circuit:
    silences: int = 0  # since the last answer, pause or log-on
    failed_probes: int = 0


class Circuits:
    """See the module. Owned by the router."""

    def __init__(self) -> None:
        self._circuits: dict[str, _Circuit] = {}

    def answered(self, account: str) -> None:
        """Close it."""
        self._circuits.pop(account, None)

    def silent(self, account: str, *, is_probe: bool, others_answer: bool) -> Step:
        """Note a request without an answer, on a connection that is alive.

        `others_answer`: whether some other account was answered lately.
        """
        circuit = self._circuits.setdefault(account, _Circuit())
        if not is_probe:
            circuit.silences += 1
            if circuit.silences < OPENS_AFTER:
                return Step.NOTHING
            circuit.silences = 0
            return Step.PAUSE
        circuit.failed_probes += 1
        if circuit.failed_probes == 1:
            return Step.RELOG
        if others_answer:
            del self._circuits[account]
            return Step.ROTATE
        return Step.PAUSE

    def pause_s(self, account: str) -> float:
        """Return how long the pause is: longer after each probe in vain."""
        circuit = self._circuits.get(account, _Circuit())
        return min(PAUSE_S * 2.0 ** min(circuit.failed_probes, 10), LONGEST_PAUSE_S)
