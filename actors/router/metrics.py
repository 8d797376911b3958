"""Counters of the router."""

from __future__ import annotations

import enum
from typing import Final, Protocol, get_args

from actors.accounts.models import Scope
from actors.metrics import Counter, Instruments
from actors.router.circuit_breaker import Step


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


# Seconds. 50 to 500 ms are usual, and after 5 it is silence; a setting may allow more.
LATENCIES: Final = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0)


class RouterMetrics:
    """Counts for the router. Looks up labelled children once, since each request calls its methods."""

    def __init__(self, instruments: Instruments) -> None:
        self._lookups = instruments.counts(
            "botapi_cache_lookups_total",
            "Matches looked up for requests that joined no other request, by source.",
            "source",
        )
        failures = instruments.counter(
            "botapi_gc_failures_total",
            "Requests to the Game Coordinator that brought nothing, by why.",
            "reason",
        )
        refusals = instruments.counter(
            "botapi_budget_refusals_total",
            "Requests that were not sent, as something is spent or the lease is gone.",
            "scope",
        )
        steps = instruments.counter(
            "botapi_account_circuits_opened_total",
            "Accounts that stayed silent, by what was done about it.",
            "step",
        )
        for lookup in Lookup:
            self._lookups[(lookup,)] = 0
        self._failures = {one: failures.labels(one) for one in Failure}
        self._refusals = {one: refusals.labels(one) for one in get_args(Scope)}
        self._steps: dict[Step, Counter] = {
            one: steps.labels(one.name.lower()) for one in Step if one is not Step.NOTHING
        }
        self._joined = instruments.counter(
            "botapi_flights_joined_total",
            "Requests that waited for a match that was asked for already.",
        )
        self._taken_over = instruments.counter(
            "botapi_flights_taken_over_total",
            "Matches that another instance asked for in vain, and then this one.",
        )
        self._hedges = instruments.counter(
            "botapi_hedges_total", "Second bots asked because the first took too long."
        )
        self._latency = instruments.histogram(
            "botapi_gc_latency_seconds",
            "How long the Game Coordinator took for the requests that it answered.",
            LATENCIES,
        )

    def looked_up(self, lookup: Lookup) -> None:
        """See Tally, as of the others."""
        self._lookups[(lookup,)] += 1

    def joined(self) -> None:
        """Count it."""
        self._joined.inc()

    def took_over(self) -> None:
        """Count it."""
        self._taken_over.inc()

    def hedged(self) -> None:
        """Count it."""
        self._hedges.inc()

    def answered(self, seconds: float) -> None:
        """Measure it."""
        self._latency.observe(seconds)

    def failed(self, failure: Failure) -> None:
        """Count it."""
        self._failures[failure].inc()

    def refused(self, scope: Scope) -> None:
        """Count it."""
        self._refusals[scope].inc()

    def circuit_opened(self, step: Step) -> None:
        """Count it."""
        self._steps[step].inc()
