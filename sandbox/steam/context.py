"""State that all sessions share."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field

from sandbox.control.faults import Faults
from sandbox.control.journal import Journal
from sandbox.gc.matches.catalogue import Catalogue
from sandbox.gc.quota import Quotas
from sandbox.gc.reordering import Reordering
from sandbox.options import Options
from sandbox.steam.accounts import Accounts
from sandbox.steam.authenticator import Authenticator, Mailbox
from sandbox.steam.keys import Keys
from sandbox.steam.logon_limits import LogonLimiter
from sandbox.steam.tokens import Tokens


class SteamClock:
    """Steam's time of day, used by quotas, tokens, codes and limits. Tests can move it forward.

    Args:
        ahead_s: seconds ahead of this machine's clock.
    """

    def __init__(self, ahead_s: float = 0.0) -> None:
        self._ahead_s = ahead_s

    def now(self) -> float:
        """Return UTC seconds."""
        return time.time() + self._ahead_s

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""
        self._ahead_s += seconds


@dataclass(frozen=True, slots=True)
class Context:
    """State that all sessions share."""

    options: Options
    keys: Keys
    accounts: Accounts
    journal: Journal
    faults: Faults
    tokens: Tokens
    authenticator: Authenticator
    mailbox: Mailbox
    quotas: Quotas  # of match requests
    card_quotas: Quotas
    catalogue: Catalogue
    rng: random.Random
    clock: SteamClock
    reordering: Reordering
    logon_limiter: LogonLimiter
    licensed: set[str] = field(default_factory=set)  # names of accounts that own Dota 2

    def now(self) -> float:
        """Return Steam's time of day, in UTC seconds."""
        return self.clock.now()
