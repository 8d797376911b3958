"""Builds the metrics of the service."""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Final

from actors.accounts.store import AccountStore
from actors.bot.metrics import FleetMetrics
from actors.clock import Clock
from actors.http.connection import Capacity
from actors.http.metrics import HttpMetrics, MatchMetrics
from actors.matches.protobuf.decoder import MatchDecoder
from actors.metrics import Instruments
from actors.redis.metrics import RedisMetrics
from actors.router.metrics import RouterMetrics
from actors.steam.hub import Hub
from supervisor.app.reload import LiveSettings
from supervisor.child import ChildState, ChildStatus
from supervisor.logs.setup import dropped_lines

# Label of all bots together, so that the number of series does not grow with them.
BOT: Final = "bot"
# Seconds by which a beat of the hub is late. A busy moment takes some hundredths; 10 s end the process.
LATENESS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
UP: Final = frozenset({ChildState.RUNNING, ChildState.STOPPING})


class ChildMetrics:
    """Counts the restarts of children, and shows which of them run."""

    def __init__(self, instruments: Instruments) -> None:
        self._restarts = instruments.counter(
            "botapi_child_restarts_total", "Lives after the first, of all bots together.", "child"
        )
        self._up = instruments.gauge(
            "botapi_child_up", "Whether a part of the service is at work: 1, or 0.", "child"
        )
        self._restarts.labels(BOT)

    def on_child(self, status: ChildStatus) -> None:
        """Record a change of a child of the root."""
        self._restarts.labels(status.id).inc(_is_restart(status))
        self._up.labels(status.id).set(status.state in UP)

    def on_bot(self, status: ChildStatus) -> None:
        """Record a change of a bot."""
        self._restarts.labels(BOT).inc(_is_restart(status))


def _is_restart(status: ChildStatus) -> bool:
    return status.state is ChildState.STARTING and status.restarts > 0


class Metrics:
    """The counters of every producer. They survive restarts of children."""

    def __init__(self, *, version: str, clock: Clock) -> None:
        self.instruments = instruments = Instruments()
        self.children = ChildMetrics(instruments)
        self.bots = FleetMetrics(instruments)
        self.router = RouterMetrics(instruments)
        self.matches = MatchMetrics(instruments)
        self.http = HttpMetrics(instruments, clock)
        self.redis = RedisMetrics(instruments)
        self.hub_lag = instruments.histogram(
            "botapi_hub_lag_seconds", "How late the beats of the Steam thread came.", LATENESS
        )
        instruments.facts(
            "botapi_build",
            "Which program this is.",
            {"version": version, "python": platform.python_version()},
        )
        instruments.counted_elsewhere(
            "botapi_log_lines_dropped_total",
            "Lines of the log that could not be written: the stream was full, broken or not read.",
            (),
            lambda: {(): dropped_lines()},
        )


def add_gauges(
    instruments: Instruments,
    *,
    hub: Hub,
    decoder: MatchDecoder,
    capacity: Capacity,
    store: AccountStore,
    config: LiveSettings,
) -> None:
    """Add the gauges that each scrape reads from the components."""
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
            lambda: len(store.avoided()),
        ),
        (
            "botapi_config_refused",
            "Whether the settings file cannot be used as it is now: 1, or 0.",
            lambda: config.report()["refused"] is not None,
        ),
    )
    for name, text, read in reads:
        instruments.gauge(name, text).set_function(read)
    instruments.counted_elsewhere(
        "botapi_decoder_unknown_fields_total",
        "Fields of answers that the schema does not know; beyond some hundred: more.",
        ("field",),
        lambda: {(field,): count for field, count in decoder.unknown.items()},
    )
