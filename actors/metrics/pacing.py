"""Metrics of log-on pacing: a wrapper around another Pacing."""

from __future__ import annotations

from typing import Final

from actors.accounts.pacing import Wait
from actors.bot_ports import Pacing
from actors.clock import Clock
from actors.metrics.instruments import Instruments

REASONS: Final = ("pacing", "rate-limit")


class MeasuredPacing:
    """Forwards to `pacing` and measures the waits."""

    def __init__(self, pacing: Pacing, instruments: Instruments, *, clock: Clock) -> None:
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
