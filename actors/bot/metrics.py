"""Counters of bot states, log-ons and the log-on limiter."""

from __future__ import annotations

from typing import Final

from actors.accounts.logon_limiter import Wait
from actors.bot.eresults import LogonResult
from actors.bot.messages import BotChanged, BotRemoved
from actors.bot.ports import Limiter
from actors.bot.states import BotState
from actors.clock import Clock
from actors.metrics import Instruments

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
        for verdict in (OK, NO_VERDICT, *LogonResult):
            self._log_ons.labels(verdict)
        for verdict in (NO_VERDICT, *LogonResult):
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


REASONS: Final = ("pacing", "rate-limit")


class MeasuredPacing:
    """Forwards to `pacing` and measures the waits."""

    def __init__(self, pacing: Limiter, instruments: Instruments, *, clock: Clock) -> None:
        self._pacing = pacing
        self._clock = clock
        self._closes_at = 0.0
        self._waits = instruments.counter(
            "botapi_logon_waits_total",
            "Log-ons that were told to wait, each time that they asked.",
            "reason",
        )
        for reason in REASONS:
            self._waits.labels(reason)
        instruments.gauge(
            "botapi_logon_circuit_open_seconds",
            "Seconds until log-ons from this IP resume after Steam's rate limit; 0: they are allowed.",
        ).set_function(self._open_s)

    async def ask(self, *, with_password: bool) -> Wait | None:
        """See Pacing, as of the others."""
        wait = await self._pacing.ask(with_password=with_password)
        if wait is None:
            self._closes_at = 0.0
            return None
        self._waits.labels(wait.reason).inc()
        if wait.reason == "rate-limit":
            self._closes_at = self._clock.now() + wait.seconds
        return wait

    async def refund(self, *, with_password: bool) -> None:
        """Pass it on."""
        await self._pacing.refund(with_password=with_password)

    async def succeeded(self, ip: str | None) -> None:
        """Pass it on."""
        self._closes_at = 0.0
        await self._pacing.succeeded(ip)

    async def was_limited(self) -> Wait:
        """Pass it on."""
        wait = await self._pacing.was_limited()
        self._closes_at = self._clock.now() + wait.seconds
        return wait

    def _open_s(self) -> float:
        return max(0.0, self._closes_at - self._clock.now())
