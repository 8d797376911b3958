"""For how long a bot that is slow or says nothing is used only when there is no other. Pure bookkeeping.

Longer each time in a row: a bot that never gets better costs one request a minute, not one in ten.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

FIRST_S: Final = 2.0  # anybody may be late once
LONGEST_S: Final = 60.0


class Demerits:
    """The demotions of each account in a row. Owned by the router."""

    def __init__(self) -> None:
        self._times: defaultdict[str, int] = defaultdict(int)  # in a row

    def overdue(self, account: str) -> float:
        """Note one more; return for how many seconds the account is demoted."""
        seconds = min(FIRST_S * 2.0 ** min(self._times[account], 10), LONGEST_S)
        self._times[account] += 1
        return seconds

    def in_time(self, account: str) -> None:
        """Forget them all."""
        self._times.pop(account, None)
