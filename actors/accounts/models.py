"""Lease, QuotaLimits and reservation results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Self

# Instead of an account's name: any account of the holder according to Redis. Steam has no such name.
ANY_HELD: Final = "*"
LONGEST_NUMBER: Final = 15  # digits of a fencing token or an instant in ms


@dataclass(frozen=True, slots=True)
class Lease:
    """One checkout. Of two checkouts of an account the one with the larger `fencing_token` is newer."""

    account: str
    fencing_token: int
    holder: str


@dataclass(frozen=True, slots=True)
class HolderEntry:
    """An entry of the hash `holders`, written by the scripts."""

    holder: str
    since_ms: int | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse "<fencing token> <since> <holder>"; any other text is the holder."""
        token, _, rest = text.partition(" ")
        since, _, holder = rest.partition(" ")
        if _is_number(token) and _is_number(since):
            return cls(holder, int(since))
        return cls(text, None)


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) <= LONGEST_NUMBER


# Reason of a cooldown that lasts until a budget frees; NoAccountFree distinguishes it.
BUDGET_SPENT: Final = "daily budget spent"
# Prefix of the reasons of cooldowns that an operator ends: by new credentials, a log-on or a reset.
NEED: Final = "needs "
UNTIL_ACTED_S: Final = 10 * 365 * 86_400.0  # length of such a cooldown

Window = Literal["rolling-24h", "utc-day"]
Scope = Literal["account", "ip", "lease"]


@dataclass(frozen=True, slots=True)
class QuotaLimits:
    """Requests per account and per egress IP within one window.

    Valve answers about 100 and 500 requests in about 24 hours, and is silent after that (odota/core).
    """

    per_account: int = 90
    per_ip: int = 450
    window: Window = "rolling-24h"


@dataclass(frozen=True, slots=True)
class Reserved:
    """One request was counted and may be sent."""

    account_left: int
    ip_left: int | None  # None when no IP was charged


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was counted, nothing may be sent."""

    scope: Scope
    retry_after: float  # seconds until the budget frees; 0 for a lost lease
