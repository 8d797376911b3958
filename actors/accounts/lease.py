"""A lease: the right to use one account for a while, and the token that orders such rights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self


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
        if token.isdecimal() and since.isdecimal():
            return cls(holder, int(since))
        return cls(text, None)
