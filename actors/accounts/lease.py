"""A lease: the right to use one account for a while, and the token that orders such rights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lease:
    """One checkout. `holder` says who holds it, `fencing_token` which checkout is the newer one."""

    account: str
    fencing_token: int
    holder: str
