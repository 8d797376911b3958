"""What all sessions share: one value made at start and handed to whoever needs it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from sandbox.accounts import Accounts
from sandbox.authenticator import Authenticator
from sandbox.faults import Faults
from sandbox.held import Held
from sandbox.journal import Journal
from sandbox.keys import Keys
from sandbox.limits import Limits
from sandbox.mailbox import Mailbox
from sandbox.matches.catalogue import Catalogue
from sandbox.options import Options
from sandbox.quota import Quotas
from sandbox.tokens import Tokens


class Calendar:
    """Wall time of the quotas, which tests may move forward; tokens keep real time."""

    def __init__(self) -> None:
        self._ahead_s = 0.0

    def now(self) -> float:
        """Return unix seconds."""
        return time.time() + self._ahead_s

    def advance(self, seconds: float) -> None:
        """Move forward."""
        self._ahead_s += seconds


@dataclass(frozen=True, slots=True)
class Services:
    """The simulated Steam's inside."""

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
    now: Callable[[], float]  # Steam's time of day, in UTC seconds
    held: Held
    limits: Limits = field(default_factory=Limits)
    calendar: Calendar = field(default_factory=Calendar)
    licensed: set[str] = field(default_factory=set)  # names of accounts that own Dota 2
