"""Fault switches.

A switch has a value and may be limited: to accounts, to CMs, to a number of uses, to a duration, to a
probability. Components call `Faults.take` when they could misbehave.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

# Every switch: the types of its value, and the description that GET /faults shows.
SWITCHES: Final[Mapping[str, tuple[type | tuple[type, ...], str]]] = {
    "gc_silent": (bool, "match requests get no answer"),
    "gc_delay_ms": ((int, float, list), "delay of the GC's answers, or [least, most]"),
    "gc_out_of_order": (
        int,
        "hold back this number of GC answers, for at most 0.5 s, and send them in random order",
    ),
    "gc_duplicate": (bool, "send every GC answer twice"),
    "profile_silent": (bool, "requests for profile cards get no answer"),
    "aliases_silent": (bool, "requests for former names get no answer"),
    "aliases_eresult": (int, "this result, without names, for every player of a request"),
    "gc_result": (int, "answer match requests with this result and no match"),
    "gc_other_match": (bool, "answer match requests with another match"),
    "gc_garbled": (bool, "answer match requests with invalid bytes"),
    "gc_answer_kb": (int, "pad answers to match requests by this number of kilobytes"),
    "gc_down": ((bool, str), "no welcome; NO_SESSION, or 'silent', 'going_down', 'queue'"),
    "gc_stale_answers": (bool, "send late answers of an ended session to the account's next one"),
    "gc_drop_requests": (
        (bool, str),
        "answer match requests with RequestDropped (3006); 'no_job': without the request's job id",
    ),
    "gc_compressed": (
        str,
        "answer match requests inside CompressedMsgToClient (3005): zlib, gzip, whole or unknown",
    ),
    "gc_ping_every_s": ((int, float), "interval of GC pings (default 60)"),
    "lose_hellos": (bool, "GC hellos are ignored; limit with times"),
    "refuse_connect": (bool, "CMs stop listening; limit with cms"),
    "accept_and_silence": (bool, "CMs accept connections and send nothing"),
    "logon_eresult": (int, "refuse log-ons with this result"),
    "logon_struct": (int, "refuse log-ons with this result in the old struct form"),
    "logon_corrupt": (str, "answer log-ons with invalid bytes of this kind"),
    "logon_no_public_ip": (bool, "the answer to a log-on has no public IP address"),
    "logon_limit": (dict, "refuse too many log-ons with 84 or 87; numbers in logon_limits.py"),
    "guard_types": (list, "offer these guard types before the real ones"),
    "tls_untrusted": (bool, "WebSocket CMs show a certificate of an unknown CA; limit with cms"),
    "close_handshake": (
        (bool, str),
        "CMs close connections during the handshake; or 'reset', 'garbage'",
    ),
    "logon_never_answered": (bool, "log-ons get no answer"),
    "credential_eresult": (int, "refuse BeginAuthSession with this result"),
    "slow_ms": ((int, float), "delay of all messages from CMs, in order"),
    "heartbeats_ignored": (bool, "heartbeats that ask for an answer get none"),
    "send_unknown_messages": (bool, "an unknown EMsg and GC message before every answer"),
    "directory_status": (str, "500, 403, invalid_json, empty, success_false"),
    "directory_delay_ms": ((int, float), "delay of the directory's answers"),
    "poll_interval_s": ((int, float), "interval that clients are to poll at (default 0.5)"),
    "logon_wait_s": (
        (int, float),
        "timeout of connections that neither log on nor send (default 60)",
    ),
    "renew_tokens": (bool, "grant every renewal"),
    "replay_status": (int, "the replay server refuses with this HTTP status"),
    "replay_kb_s": ((int, float), "speed of replays in kilobytes per second"),
    "replay_break_kb": ((int, float), "close the connection after this number of kilobytes"),
    "replay_stall_kb": ((int, float), "stop sending after this number of kilobytes"),
    "replay_corrupt": (bool, "wrong bytes in the middle of the file"),
    "replay_truncated": (bool, "the file is its first two thirds"),
    "replay_version": (int, "another upload of the file, with other bytes"),
    "replay_compression": (
        str,
        "compress the file with 'bzip2' or 'zstd', whenever the match was played",
    ),
    "replay_content_of": (int, "the file is a replay of this match; 0: it names no match"),
    "replay_no_ranges": (bool, "ignore ranges and send the whole file"),
}


class FaultError(ValueError):
    """The switch does not exist, or its value is invalid."""


@dataclass(slots=True)
class Switch:
    """A switch that is on. None means no limit."""

    value: Any
    accounts: frozenset[str] | None = None
    cms: frozenset[str] | None = None
    times: int | None = None
    until: float | None = None  # monotonic seconds
    chance: float = 1.0

    @property
    def is_expired(self) -> bool:
        """Return whether its duration has passed."""
        return self.until is not None and time.monotonic() >= self.until

    def to_json(self) -> dict[str, Any]:
        """Return the switch as the control API shows it."""
        left = None if self.until is None else max(0.0, self.until - time.monotonic())
        return {
            "value": self.value,
            "accounts": None if self.accounts is None else sorted(self.accounts),
            "cms": None if self.cms is None else sorted(self.cms),
            "times": self.times,
            "for_s": left,
            "chance": self.chance,
        }


_LIMITS: Final = frozenset({"value", "accounts", "cms", "times", "for_s", "chance"})


class Faults:
    """All switches that are on."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._switches: dict[str, Switch] = {}

    def set(self, wanted: Mapping[str, Any]) -> None:
        """Turn switches on or change them; null or false turns a switch off.

        Raises:
            FaultError: unknown switch or invalid value; no switch has changed.
        """
        made = {name: _parse_switch(name, spec) for name, spec in wanted.items()}
        for name, switch in made.items():
            if switch is None:
                self._switches.pop(name, None)
            else:
                self._switches[name] = switch

    def clear(self, names: frozenset[str] = frozenset()) -> None:
        """Turn these switches off, or all if there are no names."""
        for name in names or frozenset(self._switches):
            self._switches.pop(name, None)

    def to_json(self) -> dict[str, Any]:
        """Return the switches that are on, as the control API shows them."""
        return {name: one.to_json() for name, one in self._switches.items() if not one.is_expired}

    def next_end(self) -> float | None:
        """Return the seconds until the next switch expires; None if no switch has a duration."""
        now = time.monotonic()
        ends = [one.until - now for one in self._switches.values() if one.until is not None]
        return min((end for end in ends if end > 0), default=None)

    def is_on(self, name: str, *, account: str | None = None, cm: str | None = None) -> bool:
        """Return whether a switch applies, without counting a use."""
        switch = self._switches.get(name)
        return switch is not None and self._applies(switch, account, cm)

    def take(
        self, name: str, default: Any = None, *, account: str | None = None, cm: str | None = None
    ) -> Any:
        """Return the switch's value and count one use; `default` if the switch does not apply."""
        if not self._switches:
            return default
        switch = self._switches.get(name)
        if switch is None or not self._applies(switch, account, cm):
            return default
        if switch.chance < 1.0 and self._rng.random() >= switch.chance:
            return default
        if switch.times is not None:
            switch.times -= 1
            if switch.times == 0:
                del self._switches[name]
        return switch.value

    def _applies(self, switch: Switch, account: str | None, cm: str | None) -> bool:
        if switch.is_expired:
            return False
        if switch.accounts is not None and account not in switch.accounts:
            return False
        return switch.cms is None or cm in switch.cms


def _parse_switch(name: str, spec: Any) -> Switch | None:
    if name not in SWITCHES:
        raise FaultError(f"no switch {name!r}; switches: {', '.join(sorted(SWITCHES))}")
    kind = SWITCHES[name][0]
    if spec is None or spec is False:
        return None
    if kind is bool and isinstance(spec, list):  # a list of accounts
        spec = {"accounts": spec}
    if kind is bool and isinstance(spec, int) and not isinstance(spec, bool):  # a number of uses
        spec = {"times": spec}
    if not isinstance(spec, dict):
        spec = {"value": spec}
    if spec.keys() - _LIMITS:
        raise FaultError(f"{name}: unknown limits {sorted(spec.keys() - _LIMITS)}")
    value = spec.get("value", True)
    allowed = kind if isinstance(kind, tuple) else (kind,)
    if kind is dict and value is True:
        value = {}
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        raise FaultError(f"{name}: bad value {value!r}")
    return _parse_limits(name, value, spec)


def _parse_limits(name: str, value: Any, spec: Mapping[str, Any]) -> Switch | None:
    times, for_s, chance = spec.get("times"), spec.get("for_s"), spec.get("chance", 1.0)
    for limit in ("accounts", "cms"):
        if not isinstance(spec.get(limit, []), list | None):
            raise FaultError(f"{name}: {limit} must be a list")
    if not all(isinstance(number, int | float | None) for number in (times, for_s, chance)):
        raise FaultError(f"{name}: times, for_s and chance are numbers")
    if times == 0:
        return None
    return Switch(
        value,
        accounts=None if spec.get("accounts") is None else frozenset(spec["accounts"]),
        cms=None if spec.get("cms") is None else frozenset(spec["cms"]),
        times=None if times is None else int(times),
        until=None if for_s is None else time.monotonic() + for_s,
        chance=1.0 if chance is None else float(chance),
    )
