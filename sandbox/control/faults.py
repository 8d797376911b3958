"""Fault switches.

A switch has a value and may be limited: to accounts, to CMs, to a number of times, to some seconds,
to a chance. Who misbehaves asks here at the moment of doing so; this file knows none of them.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

# Every switch, with the type its value has and one line for the reader (shown by GET /faults).
SWITCHES: Final[Mapping[str, tuple[type | tuple[type, ...], str]]] = {
    "gc_silent": (bool, "match requests of these accounts get no answer"),
    "gc_delay_ms": ((int, float, list), "delay of the GC's answers, or [least, most]"),
    "gc_out_of_order": (
        int,
        "hold this many of the GC's answers back and send them shuffled, 0.5 s at most",
    ),
    "gc_duplicate": (bool, "send every answer of the GC twice"),
    "profile_silent": (bool, "requests for profile cards of these accounts get no answer"),
    "aliases_silent": (bool, "requests for former names of these accounts get no answer"),
    "aliases_eresult": (int, "this result, and no names, for every player of a request"),
    "gc_result": (int, "answer match requests with this result and no match"),
    "gc_other_match": (bool, "answer match requests with another match"),
    "gc_garbled": (bool, "answer match requests with bytes that are no message"),
    "gc_answer_kb": (int, "pad answers to match requests to more than so many kilobytes"),
    "gc_down": ((bool, str), "no welcome; NO_SESSION, or 'silent', 'going_down', 'queue'"),
    "gc_stale_answers": (bool, "late answers of an ended session reach the account's next one"),
    "gc_drop_requests": (
        (bool, str),
        "answer match requests with RequestDropped (3006); 'no_job': without the request's job id",
    ),
    "gc_compressed": (
        str,
        "answer match requests inside CompressedMsgToClient (3005): zlib, gzip, whole or unknown",
    ),
    "gc_ping_every_s": ((int, float), "interval of GC pings (default 60)"),
    "lose_hellos": (bool, "GC hellos are lost; limit with times"),
    "refuse_connect": (bool, "CMs stop listening; limit with cms"),
    "accept_and_silence": (bool, "CMs accept connections and never say a word"),
    "logon_eresult": (int, "refuse logons with this result"),
    "logon_struct": (int, "refuse logons with this result in the old struct form"),
    "logon_corrupt": (str, "answer logons with bytes that have this flaw"),
    "logon_no_public_ip": (bool, "the answer to a logon does not say where it came from"),
    "logon_limit": (dict, "too many logons are refused with 84 or 87; numbers in limits.py"),
    "guard_types": (list, "these guard types are offered before the real ones"),
    "tls_untrusted": (bool, "WebSocket CMs show a certificate of an unknown CA; limit with cms"),
    "close_handshake": (
        (bool, str),
        "CMs close connections in the middle of the handshake; or 'reset', 'garbage'",
    ),
    "logon_never_answered": (bool, "logons are read and not answered"),
    "credential_eresult": (int, "refuse BeginAuthSession with this result"),
    "slow_ms": ((int, float), "everything that CMs say leaves later, in order"),
    "heartbeats_ignored": (bool, "the CM does not answer heartbeats that ask for it"),
    "send_unknown_messages": (bool, "an unknown EMsg and GC message before every answer"),
    "directory_status": (str, "500, 403, invalid_json, empty, success_false"),
    "directory_delay_ms": ((int, float), "the directory answers late"),
    "poll_interval_s": ((int, float), "interval named to clients that poll (default 0.5)"),
    "logon_wait_s": (
        (int, float),
        "patience with connections that neither log on nor talk (default 60)",
    ),
    "renew_tokens": (bool, "every renewal asked for is granted"),
    "replay_status": (int, "the replay server refuses with this HTTP status"),
    "replay_kb_s": ((int, float), "replays come at so many kilobytes per second"),
    "replay_break_kb": ((int, float), "the connection breaks after so many kilobytes"),
    "replay_stall_kb": ((int, float), "nothing more comes after so many kilobytes"),
    "replay_corrupt": (bool, "wrong bytes in the middle of the file"),
    "replay_truncated": (bool, "the server has only the first two thirds, and says so"),
    "replay_version": (int, "another upload of the file, with other bytes"),
    "replay_compression": (
        str,
        "the file is compressed with 'bzip2' or 'zstd', whenever it was played",
    ),
    "replay_content_of": (int, "the file is a whole replay of this match; 0: it names no match"),
    "replay_no_ranges": (bool, "ranges are ignored: the whole file comes"),
}


class FaultError(ValueError):
    """A switch that does not exist, or a value it cannot have."""


@dataclass(slots=True)
class Switch:
    """One switch that is on. None means no limit."""

    value: Any
    accounts: frozenset[str] | None = None
    cms: frozenset[str] | None = None
    times: int | None = None
    until: float | None = None  # monotonic seconds
    chance: float = 1.0

    @property
    def is_over(self) -> bool:
        """Tell whether its time is up."""
        return self.until is not None and time.monotonic() >= self.until

    def shown(self) -> dict[str, Any]:
        """Return it as the control API writes it."""
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
        self._on: dict[str, Switch] = {}

    def set(self, wanted: Mapping[str, Any]) -> None:
        """Switch on or change; a null or false switches off.

        Raises:
            FaultError: unknown switch or bad value; nothing is changed then.
        """
        made = {name: _switch(name, spec) for name, spec in wanted.items()}
        for name, switch in made.items():
            if switch is None:
                self._on.pop(name, None)
            else:
                self._on[name] = switch

    def clear(self, names: frozenset[str] = frozenset()) -> None:
        """Switch these off; all when none is named."""
        for name in names or frozenset(self._on):
            self._on.pop(name, None)

    def shown(self) -> dict[str, Any]:
        """Return what is on."""
        return {name: one.shown() for name, one in self._on.items() if not one.is_over}

    def next_end(self) -> float | None:
        """Return in how many seconds the next switch goes off by itself, if one will."""
        now = time.monotonic()
        ends = [one.until - now for one in self._on.values() if one.until is not None]
        return min((end for end in ends if end > 0), default=None)

    def is_on(self, name: str, *, account: str | None = None, cm: str | None = None) -> bool:
        """Tell without using up one of its times."""
        switch = self._on.get(name)
        return switch is not None and self._applies(switch, account, cm)

    def take(
        self, name: str, default: Any = None, *, account: str | None = None, cm: str | None = None
    ) -> Any:
        """Return the switch's value if it applies now, using up one of its times; else `default`."""
        if not self._on:
            return default
        switch = self._on.get(name)
        if switch is None or not self._applies(switch, account, cm):
            return default
        if switch.chance < 1.0 and self._rng.random() >= switch.chance:
            return default
        if switch.times is not None:
            switch.times -= 1
            if switch.times == 0:
                del self._on[name]
        return switch.value

    def _applies(self, switch: Switch, account: str | None, cm: str | None) -> bool:
        if switch.is_over:
            return False
        if switch.accounts is not None and account not in switch.accounts:
            return False
        return switch.cms is None or cm in switch.cms


def _switch(name: str, spec: Any) -> Switch | None:
    if name not in SWITCHES:
        raise FaultError(f"no switch {name!r}; there are {', '.join(sorted(SWITCHES))}")
    kind = SWITCHES[name][0]
    if spec is None or spec is False:
        return None
    if kind is bool and isinstance(spec, list):  # shorthand: the accounts it is on for
        spec = {"accounts": spec}
    if kind is bool and isinstance(spec, int) and not isinstance(spec, bool):  # how many times
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
    return _limited(name, value, spec)


def _limited(name: str, value: Any, spec: Mapping[str, Any]) -> Switch | None:
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
