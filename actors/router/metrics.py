"""Counters of the router; labelled children are looked up once, since each request uses them."""

from __future__ import annotations

import enum
from typing import Final, get_args

from actors.accounts.models import Scope
from actors.metrics import Counter, Instruments
from actors.router.unanswered import Step

# Seconds. 50 to 500 ms are usual, and after 5 it is silence; a setting may allow more.
LATENCIES: Final = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0)


class Lookup(enum.StrEnum):
    """Where the match of a request that joined no fetch was found."""

    MEMORY = "memory"
    REDIS = "redis"
    MISS = "miss"  # nowhere: a bot is asked

    __hash__ = str.__hash__  # an enum's own is a Python function


class Failure(enum.StrEnum):
    """Why an attempt failed."""

    SILENT = "silent"  # the GC said nothing in all the time that an attempt has
    BROKE = "broke"  # the bot, its connection or its budget in Redis did
    UNUSABLE = "unusable"  # the answer was of no use
    DROPPED = "dropped"  # the GC said that it threw the request away


class RouterMetrics:
    """What the router counts."""

    def __init__(self, instruments: Instruments) -> None:
        self.lookups = instruments.counts(
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
            self.lookups[(lookup,)] = 0
        self.failures = {one: failures.labels(one) for one in Failure}
        self.refusals: dict[Scope, Counter] = {one: refusals.labels(one) for one in get_args(Scope)}
        self.circuits_opened: dict[Step, Counter] = {
            one: steps.labels(one.name.lower()) for one in Step if one is not Step.NOTHING
        }
        self.joined = instruments.counter(
            "botapi_flights_joined_total",
            "Requests that waited for a match that was asked for already.",
        )
        self.taken_over = instruments.counter(
            "botapi_flights_taken_over_total",
            "Matches that another instance asked for in vain, and then this one.",
        )
        self.hedges = instruments.counter(
            "botapi_hedges_total", "Second bots asked because the first took too long."
        )
        self.latency = instruments.histogram(
            "botapi_gc_latency_seconds",
            "How long the Game Coordinator took for the requests that it answered.",
            LATENCIES,
        )

    def looked_up(self, lookup: Lookup) -> None:
        """Count a match that was looked up."""
        self.lookups[(lookup,)] += 1
