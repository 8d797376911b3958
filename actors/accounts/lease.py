"""A lease: the right to use one account for a while, and the token that orders such rights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

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
