"""Metrics of bots: state changes, and the results of log-ons and sessions. Watches the announcer."""

from __future__ import annotations

from typing import Final

from actors.bot_states import BotState
from actors.messages import BotChanged, BotRemoved
from actors.metrics.instruments import Instruments
from actors.verdicts import Verdict

OK: Final = "ok"
NO_VERDICT: Final = (
    "none"  # Steam said nothing: a connection that broke, a time limit, a lost lease
)
FIRST: Final = "none"  # the state before a bot's first
ENDS: Final = frozenset({BotState.BACKING_OFF, BotState.NEEDS_HUMAN})
IN_SESSION: Final = frozenset({BotState.LAUNCHING, BotState.READY})


class FleetMetrics:
    """Counts the changes of bots."""

    name: Final = "metrics"

    def __init__(self, instruments: Instruments) -> None:
        self._states: dict[str, BotState] = {}
        self._transitions = instruments.counter(
            "botapi_bot_transitions_total",
            "Changes of state of all bots.",
            *("state_from", "state_to"),
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
        for verdict in (OK, NO_VERDICT, *Verdict):
            self._log_ons.labels(verdict)
        for verdict in (NO_VERDICT, *Verdict):
            self._sessions_ended.labels(verdict)

    def tell(self, message: BotChanged | BotRemoved) -> None:
        """Take note. Said again, the same is no news."""
        if isinstance(message, BotRemoved):
            self._states.pop(message.bot_id, None)
            return
        before = self._states.get(message.bot_id)
        if before is not message.state:
            self._states[message.bot_id] = message.state
            self._count(before, message)

    def _count(self, before: BotState | None, changed: BotChanged) -> None:
        after = changed.state
        self._transitions.labels(FIRST if before is None else before, after).inc()
        if before is BotState.AUTHENTICATING and after is BotState.LAUNCHING:
            self._log_ons.labels(OK).inc()
        elif before is BotState.AUTHENTICATING and after in ENDS:
            self._log_ons.labels(changed.verdict or NO_VERDICT).inc()
        elif before in IN_SESSION and after in ENDS:
            self._sessions_ended.labels(changed.verdict or NO_VERDICT).inc()
