"""Lease, QuotaLimits and reservation results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

# In place of an account's name, which Steam cannot have: any account that Redis says a holder has.
ANY_HELD: Final = "*"
LONGEST_NUMBER: Final = 15  # digits of a fencing token or an instant in ms


@dataclass(frozen=True, slots=True)
class Lease:
    """One checkout. `holder` says who holds it, `fencing_token` which checkout is the newer one."""

    account: str
    fencing_token: int
    holder: str


@dataclass(frozen=True, slots=True)
class HolderEntry:
    """What stands in `holders` for a lease; the scripts write it."""

    holder: str
    since_ms: int | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "<fencing token> <since> <holder>"; what a person put there instead is all holder."""
        token, _, rest = text.partition(" ")
        since, _, holder = rest.partition(" ")
        if _is_number(token) and _is_number(since):
            return cls(holder, int(since))
        return cls(text, None)


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) <= LONGEST_NUMBER


# The reason of a cooldown that lasts until a budget frees; NoAccountFree tells it from the others by it.
BUDGET_SPENT: Final = "daily budget spent"
# How the reason of a cooldown begins that a person ends: by new credentials, a log-on by hand or a reset.
NEED: Final = "needs "
UNTIL_ACTED_S: Final = (
    10 * 365 * 86_400.0
)  # for how long, where trying again before that is of no use

Window = Literal["rolling-24h", "utc-day"]
Scope = Literal["account", "ip", "lease"]


@dataclass(frozen=True, slots=True)
class QuotaLimits:
    """Requests per account and per egress IP within one window.

    Valve answers about 100 and 500 in about 24 hours after use, and is silent past that (odota/core).
    """

    per_account: int = 90
    per_ip: int = 450
    window: Window = "rolling-24h"


@dataclass(frozen=True, slots=True)
class Reserved:
    """One request is counted and may be sent."""

    account_left: int
    ip_left: int | None  # None when no IP was charged


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was counted, nothing may be sent."""

    scope: Scope
    retry_after: float  # seconds until the budget frees; 0 for a lease that is not ours


@dataclass(frozen=True, slots=True)
class Charge:
    """One request to count against an account's and an egress IP's budget: the input of reserve.lua."""

    keys: tuple[str, ...]
    args: tuple[str | int, ...]

    def outcome(self, answer: Sequence[Any]) -> Reserved | Refused:
        """Read the answer of the script."""
        verdict, *numbers = answer
        scope: Any = verdict.decode() if isinstance(verdict, bytes) else verdict
        if scope == "ok":
            return Reserved(numbers[0], None if numbers[1] < 0 else numbers[1])
        return Refused(scope, numbers[0] / 1000)
