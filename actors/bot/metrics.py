"""Metrics of bot states, log-ons and the log-on limiter."""

from __future__ import annotations

from typing import Final

from actors.accounts.logon_limiter import Wait
from actors.bot.eresults import LogonResult
from actors.bot.messages import BotChanged, BotRemoved
from actors.bot.states import BotState
from actors.clock import Clock
from actors.metrics import Instruments

OK: Final = "ok"
NO_RESULT: Final = "none"  # Steam gave none: a broken connection, a time limit, a lost lease
FIRST: Final = "none"  # the state before a bot's first
ENDS: Final = frozenset({BotState.BACKING_OFF, BotState.NEEDS_HUMAN})
IN_SESSION: Final = frozenset({BotState.LAUNCHING, BotState.READY})


class FleetMetrics:
    """Counts the state changes of bots."""

    name: Final = "metrics"

    def __init__(self, instruments: Instruments) -> None:
        self._states: dict[str, BotState] = {}
        self._transitions = instruments.counter(
            "botapi_bot_transitions_total",
            "Changes of state of all bots.",
            "state_from",
            "state_to",
        )
        self._log_ons = instruments.counter(
            "botapi_logons_total",
            "Log-ons that were tried, by what Steam's answer means (none: there was no answer).",
            "verdict",
        )
        self._sessions_ended = instruments.counter(
            "botapi_sessions_ended_total",
            "Sessions that ended without our doing, by what Steam said (none: nothing).",
            "verdict",
        )
        for result in (OK, NO_RESULT, *LogonResult):
            self._log_ons.labels(result)
        for result in (NO_RESULT, *LogonResult):
            self._sessions_ended.labels(result)

    def tell(self, message: BotChanged | BotRemoved) -> None:
        """Count a change; a repeated state is not counted."""
        if isinstance(message, BotRemoved):
            self._states.pop(message.bot_id, None)
            return
        before, after = self._states.get(message.bot_id), message.state
        if before is after:
            return
        self._states[message.bot_id] = after
        self._transitions.labels(FIRST if before is None else before, after).inc()
        if before is BotState.AUTHENTICATING and after is BotState.LAUNCHING:
            self._log_ons.labels(OK).inc()
        elif before is BotState.AUTHENTICATING and after in ENDS:
            self._log_ons.labels(message.result or NO_RESULT).inc()
        elif before in IN_SESSION and after in ENDS:
            self._sessions_ended.labels(message.result or NO_RESULT).inc()


class LogonMetrics:
    """Counts log-ons that had to wait, and shows how long Steam's rate limit lasts."""

    def __init__(self, instruments: Instruments, *, clock: Clock) -> None:
        self._clock = clock
        self._limited_until = 0.0  # clock seconds
        self._waits = instruments.counter(
            "botapi_logon_waits_total",
            "Log-ons that were told to wait, each time that they asked.",
            "reason",
        )
        for reason in ("pacing", "rate-limit"):
            self._waits.labels(reason)
        instruments.gauge(
            "botapi_logon_circuit_open_seconds",
            "Seconds until log-ons from this IP resume after Steam's rate limit; 0: they are allowed.",
        ).set_function(lambda: max(0.0, self._limited_until - self._clock.now()))

    def waited(self, wait: Wait) -> None:
        """Count a log-on that has to wait."""
        self._waits.labels(wait.reason).inc()

    def limited(self, wait: Wait) -> None:
        """Note for how long Steam's rate limit pauses the log-ons."""
        self._limited_until = self._clock.now() + wait.seconds

    def allowed(self) -> None:
        """Note that a log-on may start, or was accepted."""
        self._limited_until = 0.0
