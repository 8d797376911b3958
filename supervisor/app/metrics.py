"""Assembles the metrics of the service."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from actors.bot.metrics import FleetMetrics, LogonMetrics
from actors.http.connection import Capacity
from actors.http.metrics import HttpMetrics, MatchMetrics, MetricsRoute, Scrape
from actors.http.outcome import Count, Outcome
from actors.http.polled_metrics import Sources, Survey
from actors.matches.protobuf.decoder import MatchDecoder
from actors.metrics import Instruments
from actors.redis.metrics import RedisMetrics
from actors.router.metrics import RouterMetrics
from actors.steam.hub import Hub
from supervisor.child import ChildState, ChildStatus
from supervisor.clock import SystemClock
from supervisor.logs.setup import dropped_lines

BOT: Final = (
    "bot"  # what all bots are called together, so that there are not as many series as bots
)
# Seconds that a beat of the hub came late. A busy moment is some hundredths; 10 s are the end.
LATENESS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# States of a child in which it does what it is for.
AT_WORK: Final = frozenset({ChildState.RUNNING, ChildState.STOPPING})


@dataclass(frozen=True, slots=True)
class Watched:
    """What can be looked at at any time."""

    hub: Hub
    decoder: MatchDecoder
    capacity: Capacity
    config_report: Callable[[], Mapping[str, object]]
    not_here: Callable[[], Mapping[str, str]]  # accounts that this instance cannot use: why


class Metering:
    """All metrics. They live as long as the process: a restarted child continues its counts."""

    def __init__(self, *, version: str, clock: SystemClock) -> None:
        instruments = self._instruments = Instruments()
        self._clock = clock
        self.fleet = FleetMetrics(instruments)
        self.log_ons = LogonMetrics(instruments, clock=clock)
        self.router = RouterMetrics(instruments)
        self.matches = MatchMetrics(instruments)
        self._http = HttpMetrics(instruments)
        self.redis = RedisMetrics(instruments)
        instruments.facts(
            "botapi_build",
            "Which program this is.",
            {"version": version, "python": platform.python_version()},
        )
        self._restarts = instruments.counter(
            "botapi_child_restarts_total", "Lives after the first, of all bots together.", "child"
        )
        self._children = instruments.gauge(
            "botapi_child_up", "Whether a part of the service is at work: 1, or 0.", "child"
        )
        self._restarts.labels(BOT)
        beats = instruments.histogram(
            "botapi_hub_lag_seconds", "How late the beats of the Steam thread came.", LATENESS
        )
        self.on_beat = beats.observe

    # -- who tells something -------------------------------------------------------------------

    def on_child(self, status: ChildStatus) -> None:
        """A part of the service changed."""
        self._restarts.labels(status.id).inc(self._is_restart(status))
        self._children.labels(status.id).set(status.state in AT_WORK)

    def on_bot(self, status: ChildStatus) -> None:
        """A bot did, as its supervisor sees it."""
        self._restarts.labels(BOT).inc(self._is_restart(status))

    @staticmethod
    def _is_restart(status: ChildStatus) -> bool:
        return status.state is ChildState.STARTING and status.restarts > 0

    def counting(self, besides: Count) -> Count:
        """Return what counts answers, also for `besides`."""

        def count(outcome: Outcome) -> None:
            besides(outcome)
            self._http(outcome)

        return count

    # -- who is asked --------------------------------------------------------------------------

    def route(self, sources: Sources, watched: Watched) -> MetricsRoute:
        """Return what answers scrapes; once."""
        self._show(watched)
        survey = Survey(sources, self._instruments, clock=self._clock)
        return MetricsRoute(Scrape(survey, self._instruments, clock=self._clock))

    def _show(self, watched: Watched) -> None:
        """Let each scrape look at what can be looked at without waiting."""
        hub, capacity, report = watched.hub, watched.capacity, watched.config_report
        reads: tuple[tuple[str, str, Callable[[], float]], ...] = (
            (
                "botapi_hub_overdue_seconds",
                "How long a beat of the Steam thread is overdue now.",
                lambda: hub.late_s,
            ),
            ("botapi_http_connections", "Connections that are open.", lambda: capacity.open),
            ("botapi_http_connections_limit", "Connections that may be.", lambda: capacity.most),
            (
                "botapi_accounts_unusable_here",
                "Accounts that this instance cannot use, by its key, clock or address.",
                lambda: len(watched.not_here()),
            ),
            (
                "botapi_config_refused",
                "Whether the settings file cannot be used as it is now: 1, or 0.",
                lambda: report()["refused"] is not None,
            ),
        )
        for name, text, read in reads:
            self._instruments.gauge(name, text).set_function(read)
        self._instruments.counted_elsewhere(
            "botapi_decoder_unknown_fields_total",
            "Fields of answers that the schema does not know; beyond some hundred: more.",
            ("field",),
            lambda: {(field,): count for field, count in watched.decoder.unknown.items()},
        )
        self._instruments.counted_elsewhere(
            "botapi_log_lines_dropped_total",
            "Lines of the log that could not be written: the stream was full, broken or not read.",
            (),
            lambda: {(): dropped_lines()},
        )
