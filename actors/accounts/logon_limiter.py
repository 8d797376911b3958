"""Log-on rate limit and circuit breaker per egress IP, shared by all instances.

Valve publishes no limits. 10 to 15 log-ons in a short time are too many, password log-ons count more than
token log-ons, and an attempt during the ban restarts it (reports of node-steam-user's users). Steam tells
the egress IP with the first log-on; until then all instances share the bucket of the unknown IP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from redis.asyncio import Redis

from actors.accounts.keys import Keys
from actors.redis.client import load_scripts

UNKNOWN_IP: Final = "unknown"
TOKEN_COST: Final = 1
PASSWORD_COST: Final = 3
# After this time a probe without a result (its process died) allows another one.
PROBE_S: Final = 60.0

WaitReason = Literal["pacing", "rate-limit"]


@dataclass(frozen=True, slots=True)
class LogonLimits:
    """`per_minute`: refill rate in token log-ons, 0 for no limit; `burst`: size of the bucket."""

    per_minute: float = 6.0
    burst: int = 5
    rate_limit_pause_s: float = 35 * 60.0


@dataclass(frozen=True, slots=True)
class Wait:
    """No log-on may start now; ask again after `seconds`."""

    seconds: float
    reason: WaitReason
    address: str | None = None  # the egress IP, where it is known


class LogonLimiter:
    """Token bucket and circuit breaker of log-ons. One instance per process.

    All methods that call Redis raise StoreUnavailable and StoreMisused (see `redis_call`).
    """

    def __init__(self, redis: Redis, *, prefix: str, limits: LogonLimits) -> None:
        self._keys = Keys(prefix)
        self._limits = limits
        self._ip = UNKNOWN_IP
        self._scripts = load_scripts(redis, __package__)

    def reconfigure(self, limits: LogonLimits) -> None:
        """Use other limits from now on."""
        self._limits = limits

    async def ask(self, *, with_password: bool) -> Wait | None:
        """Return None when a log-on may start; it is counted then, and Redis can write."""
        cost = PASSWORD_COST if with_password else TOKEN_COST
        args = [*self._bucket, cost, int(PROBE_S * 1000)]
        ms, reason = await self._scripts["logon_ask"].run(self._keys_of(self._ip), args)
        return Wait(ms / 1000, reason, self._address) if ms else None

    async def refund(self, *, with_password: bool) -> None:
        """Undo `ask` for a log-on that did not reach Steam."""
        cost = PASSWORD_COST if with_password else TOKEN_COST
        await self._scripts["logon_refund"].run(self._keys_of(self._ip), [*self._bucket, cost])

    async def succeeded(self, ip: str | None) -> None:
        """Close the circuit after an accepted log-on, with which Steam told the egress IP.

        After an error it may be called again.
        """
        asked_as, self._ip = self._ip, ip or self._ip
        keys = [*self._keys_of(asked_as), *self._keys_of(self._ip)]
        try:
            await self._scripts["logon_succeeded"].run(keys, self._bucket)
        except BaseException:
            self._ip = asked_as  # the next call carries the tokens over
            raise

    async def was_limited(self) -> Wait:
        """Open the circuit of this IP for all instances; return how long. Steam said "too many"."""
        pause_s = self._limits.rate_limit_pause_s
        circuit = self._keys.logon_circuit(self._ip)
        await self._scripts["logon_limited"].run([circuit], [int(pause_s * 1000)])
        return Wait(pause_s, "rate-limit", self._address)

    @property
    def _address(self) -> str | None:
        return None if self._ip == UNKNOWN_IP else self._ip

    def _keys_of(self, ip: str) -> list[str]:
        return [self._keys.logon_bucket(ip), self._keys.logon_circuit(ip)]

    @property
    def _bucket(self) -> list[int]:
        """Burst in tokens, and milliseconds per token or 0 for no limit."""
        limits = self._limits
        return [limits.burst, round(60_000 / limits.per_minute) if limits.per_minute else 0]
