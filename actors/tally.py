"""Interface of the counters of the router and its parts."""

from __future__ import annotations

import enum
from typing import Protocol

from actors.accounts.quota import Scope
from actors.circuit import Step


class Lookup(enum.StrEnum):
    """Where the match of a request that joined no flight was found."""

    MEMORY = "memory"
    REDIS = "redis"
    MISS = "miss"  # nowhere: a bot is asked


class Failure(enum.StrEnum):
    """Why a try brought nothing."""

    SILENT = "silent"  # the GC said nothing in all the time that a try has
    BROKE = "broke"  # the bot, its connection or its budget in Redis did
    UNUSABLE = "unusable"  # there was an answer, and it was none
    DROPPED = "dropped"  # the GC said that it threw the request away


class Tally(Protocol):
    """Called often and in the middle of things: every method is quick and raises nothing."""

    def looked_up(self, lookup: Lookup) -> None:
        """A match was looked up."""

    def joined(self) -> None:
        """A request waits for a flight that is under way already."""

    def took_over(self) -> None:
        """Another container's flight ended without the match, and is ours now."""

    def hedged(self) -> None:
        """A second bot is asked, as the first takes too long."""

    def answered(self, seconds: float) -> None:
        """The GC answered a request, after so long."""

    def failed(self, failure: Failure) -> None:
        """A try was in vain."""

    def refused(self, scope: Scope) -> None:
        """The store counted no request: a budget is spent, or the lease is gone."""

    def circuit_opened(self, step: Step) -> None:
        """An account stays silent, and that follows from it."""
